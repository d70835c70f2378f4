"""A config tree such as users of ml-framework have, with specs of its own, and a script beside it."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest

SPECS = '''
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from utils.errors import ConfigError


@dataclass(frozen=True)
class Scaler:
    """How features are scaled.

    Parameters
    ----------
    with_mean, with_std : subtract the mean, divide by the width
    """

    with_mean: bool = True
    with_std: bool = True


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    year: str | None = None
    input_path: str = field(metadata={"doc": "folder of the ntuples"})
    input_samples: tuple[Any, ...] = ()
    cont_features: tuple[str, ...]
    cat_features: tuple[str, ...] = ()
    train_size: float = 0.8
    scaler: Scaler | None = None
    seed: int = 0
    output_path: str = "skims/${year}"

    def __post_init__(self) -> None:
        if not 0 < self.train_size <= 1:
            raise ConfigError(f"train_size is {self.train_size}", where="train_size", remedy="Use a fraction.")


@dataclass(frozen=True, kw_only=True)
class Train:
    year: str | None = None
    train_file: str
    n_splits: int = 2
    cont_features: tuple[str, ...] = ()
    weight_name: str | None = None
    model: str = "bdt"
    model_param: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Predict:
    run_id: str
    year: str | None = None
    orig_path: str | None = None
    sample_names: tuple[str, ...] = ()
    misc_features: tuple[str, ...] = ()
    classes: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    preprocess_cfg: Mapping[str, Any] = field(default_factory=dict, metadata={"unresolved": "keep"})
'''

FILES = {
    "preprocess/features/zh.yaml": "cont_features: [pt_1, m_vis]\ncat_features: [njets]\n",
    "preprocess/features/tt.yaml": "cont_features: [pt_2]\ncat_features: null\n",
    "preprocess/training_data/zh.yaml": """\
        defaults: [../features@_global_: zh, _self_]
        year: ???
        input_path: /data/${year}
        tight_cut: "(pt_1>40.) & (veto<0.5)"
        input_samples:
          - ggH: {H_sig: {cut: '${tight_cut} & (nb>0)', class: 0}}
        train_size: 0.9
        scaler: {with_mean: False}
        """,
    "preprocess/prediction_data/zh.yaml": """\
        defaults: [../features@_global_: zh, _self_]
        year: ???
        input_path: /data/${year}
        input_samples: [ggH]
        vars: {elsewhere: '${not_in_this_stage}'}
        """,
    "train/train.yaml": """\
        defaults: [model@_global_: zh, analysis: htt, _self_]
        train_file: data/${year}/train.h5
        """,
    "train/model/zh.yaml": "model_param: {objective: multiclass}\n",
    "train/model/forest.yaml": "model_param: {n_trees: 100}\n",
    "train/analysis/htt.yaml": "# @package _global_\nweight_name: w\n",
    "predict/for_datacards.yaml": """\
        defaults:
          - ../preprocess/prediction_data@_global_.preprocess_cfg: zh.yaml
          - _self_
        run_id: ???
        orig_path: ${preprocess_cfg.input_path}
        sample_names: ${preprocess_cfg.input_samples}
        misc_features: [evt, run]
        classes: {0: {name: H, bin_size: 1e-2}, 1: {name: Z}}
        """,
}

SCRIPTS = {
    "preprocess": '("configs/preprocess/training_data", "zh", "crossfold_test_specs:Preprocess")',
    "train": '("configs/train", "train", "crossfold_test_specs:Train")',
    "predict": '("configs/predict", "for_datacards", "crossfold_test_specs:Predict")',
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of scripts and `configs/`; the working directory is another one."""
    root = tmp_path / "project"
    for name, text in FILES.items():
        file = root / "configs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    (root / "crossfold_test_specs.py").write_text(SPECS)
    for name, arguments in SCRIPTS.items():
        (root / f"{name}_stage.py").write_text(
            f'''from utils.config import stage
from utils.errors import DataError


@stage{arguments}
def main(spec, config):
    """Does its {name} work.

    Not part of the summary.
    """
    if config.get("seed") == 13:
        raise DataError("no events", where="ggH.root")
    if config.get("seed") == 14:
        raise KeyError("a bug")
    print("RAN", spec)


if __name__ == "__main__":
    main()
'''
        )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(root)
    before = set(sys.modules)
    yield root
    for name in set(sys.modules) - before:
        if name.startswith("crossfold_test_specs") or name.endswith("_stage"):
            del sys.modules[name]
