# make demo · make test · make benchmark · make nn-env · make root-env · make clean
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(shell for p in python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
ROOT_VENV := .venv-root
PIP_FLAGS := --quiet --disable-pip-version-check
STAGES := $(wildcard describe.py preprocess.py train.py predict.py evaluate.py)
# What a run on the toy needs; `make demo YEAR=2018 MODEL=torch_mlp`.
YEAR := 2018
MODEL := lightgbm

# The project's environment first: `mlflow run --env-manager local` starts whatever `python` is on the PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help env dev-env nn-env root-env demo test lint types check benchmark clean

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps, so that a repeated call installs nothing.
$(VENV)/.core: requirements.txt | $(BIN)/python
	@echo "Installing requirements.txt into $(VENV) (once, a few minutes)"
	@$(BIN)/python -m pip install $(PIP_FLAGS) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt | $(BIN)/python
	@echo "Installing requirements-dev.txt into $(VENV) (once, a few minutes)"
	@$(BIN)/python -m pip install $(PIP_FLAGS) -r requirements-dev.txt
	@touch $@ $(VENV)/.core

# In one resolution with all else that is there, so that no pin of the one moves a version of the other.
$(VENV)/.nn: requirements-nn.txt requirements.txt requirements-dev.txt | $(BIN)/python
	@echo "Installing requirements-nn.txt into $(VENV) (once, several minutes)"
	@$(BIN)/python -m pip install $(PIP_FLAGS) -r $(if $(wildcard $(VENV)/.dev),requirements-dev.txt,requirements.txt) -r requirements-nn.txt
	@touch $@ $(VENV)/.core

$(ROOT_VENV)/.root:
	@test -n "$(PYTHON)"
	$(PYTHON) -m venv $(ROOT_VENV)
	@$(ROOT_VENV)/bin/python -m pip install $(PIP_FLAGS) --pre ROOT==0.1a12 numpy
	@$(ROOT_VENV)/bin/python -c "import ROOT; print('ROOT', ROOT.gROOT.GetVersion())"
	@touch $@

env: $(VENV)/.core ## the core environment in .venv
dev-env: $(VENV)/.dev ## what checking and developing needs, too
nn-env: $(VENV)/.nn ## torch, Keras and TensorFlow as well
root-env: $(ROOT_VENV)/.root ## ROOT itself in .venv-root, for the tests that open friend trees with it

demo: $(VENV)/$(if $(filter torch% keras%,$(MODEL)),.nn,.core) ## toy ntuples through the whole chain; MODEL=torch_mlp
	@start=$$(date +%s)
	log=$$(mktemp)
	trap 'rm -f "$$log"' EXIT
	step() { printf '\n\033[1m$$ %s\033[0m\n' "$$*"; "$$@"; }
	step python examples/make_htt_toy.py --output data/htt/$(YEAR)/original
	step python preprocess.py --config-path configs/preprocess/training_data --config-name htt year=$(YEAR) overwrite=true
	step python preprocess.py --config-path configs/preprocess/prediction_data --config-name htt year=$(YEAR) overwrite=true
	step mlflow run . -P year=$(YEAR) -P overrides="model=$(MODEL)" --env-manager local 2>&1 | tee "$$log"
	run_id=$$(sed -n "s/.*Run (ID '\([0-9a-f]*\)') succeeded.*/\1/p" "$$log" | tail -n 1)
	test -n "$$run_id" || { echo "No run ID in what mlflow printed"; exit 1; }
	step python predict.py run_id=$$run_id overwrite=true
	step python predict.py --config-name for_evaluation run_id=$$run_id overwrite=true
	step python evaluate.py run_id=$$run_id dataset=train output_path=plots/$$run_id/train
	step python evaluate.py run_id=$$run_id dataset=test output_path=plots/$$run_id/test
	printf '\nThe demo took %d s.\n' $$(($$(date +%s) - start))
	printf '  run ID     %s\n' "$$run_id"
	printf '  figures    open plots/%s/test/index.html and …/train/index.html\n' "$$run_id"
	printf '  scores     predictions/%s/{sample}_pred.root\n' "$$run_id"
	printf '  MLflow     %s/mlflow ui    then open http://127.0.0.1:5000\n' "$(BIN)"

lint: $(VENV)/.dev ## ruff
	@ruff check .
	@ruff format --check .

types: $(VENV)/.dev ## mypy
	@mypy utils $(STAGES)

check: lint types ## everything but the tests
	@lint-imports --no-cache

# One worker takes a whole file, so that a file's chain of stages runs once. One thread each: two that compute with two
# threads on two cores wait for each other.
test: $(VENV)/.dev check ## everything that is checked
	@export CROSSFOLD_ROOT_PYTHON="$${CROSSFOLD_ROOT_PYTHON:-$$(test -e $(ROOT_VENV)/.root && echo $(CURDIR)/$(ROOT_VENV)/bin/python || true)}"; \
	export OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}"; \
	pytest -q -n 2 --dist loadfile $(PYTEST_FLAGS)

benchmark: $(VENV)/.dev ## what benchmarks/ measures, as ratios; after `make nn-env` of networks, too
	@for name in reading describe preprocess executors padding training prediction $(if $(wildcard $(VENV)/.nn),neural neural_keras); do echo "== $$name"; python -m benchmarks.$$name; done

clean: ## caches and the demo's data; runs and other data stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache outputs multirun data/htt
	find . -name __pycache__ -not -path './$(VENV)/*' -not -path './$(ROOT_VENV)/*' -prune -exec rm -rf {} +
