"""The numbers of a tiny toy analysis, from ntuples to areas: `python -m tests.golden.tiny_run` writes them anew.

Do that only for a change that is meant to change them, and say in the commit why they moved.
"""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from examples.make_htt_toy import write_toy
from utils.config.compose import load_spec
from utils.evaluation.training import HeldOut
from utils.loading import SkimData
from utils.models.crosstrain import cross_train, event_weights, open_training_set
from utils.models.spec import TrainSpec
from utils.preprocessing.flow import run_preprocessing
from utils.preprocessing.spec import PreprocessSpec
from utils.readers.skim import SkimFile

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("tiny_run.json")
SCALE, ROUNDS = 0.05, 10


def tiny_run() -> dict[str, Any]:
    """Toy ntuples, skims and a cross-training in a temporary folder; what they come to."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_toy(Path("data/htt/2018/original"), seed=1, scale=SCALE)
        made = run_preprocessing(
            load_spec(PreprocessSpec, REPOSITORY / "configs/preprocess/training_data", "htt", ["year=2018"]).spec
        )
        content: dict[str, Any] = {
            "cutflow": {f"{s.sample}/{s.process}/{s.step}": [s.n_events, s.sum_w, s.sqrt_sum_w2] for s in made.cutflow},
            "duplicates": {
                "within": dict(made.duplicates.within),
                "across": {" & ".join(pair): n for pair, n in made.duplicates.across.items()},
            },
            "classes": {node: [int(n) for n in counts] for node, counts in made.class_counts.items()},
            "pipe": made.pipe.to_dict() if made.pipe is not None else None,
        }
        overrides = ["year=2018", f"model_param.num_iterations={ROUNDS}", "model_param.num_threads=1"]
        spec = load_spec(TrainSpec, REPOSITORY / "configs/train", "train", overrides).spec
        with SkimFile(spec.train_file) as skim:
            data = SkimData.open(skim)
            training = open_training_set(data, spec)
            held_out = HeldOut(training, event_weights(skim, spec.event_weight))
            folds = cross_train(
                training, spec, lambda: spec.model(params=spec.model_param), lambda _: lambda step, values: None
            )
            content["folds"] = [
                {"n_train": fold.train.n_events, "classes": fold.class_counts, "weight_factor": fold.weight_factor,
                 "rounds": fold.estimator.n_iterations, **held_out.add(fold)}
                for fold in folds
            ]  # fmt: skip
            content["areas"] = held_out.areas()
    return content


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(tiny_run(), indent=1) + "\n")
