"""Predict with a run: friend trees for datacards, or tables for evaluation."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from utils.config import stage

if TYPE_CHECKING:
    from utils.inference.predict import SamplePrediction
    from utils.inference.spec import PredictSpec


@stage(
    config_path="configs/predict",
    config_name="for_datacards",
    spec="utils.inference.spec:PredictSpec",
    examples=(
        "python predict.py run_id=RUN_ID",
        "python predict.py --config-name for_evaluation run_id=RUN_ID",
    ),
)
def main(spec: "PredictSpec") -> "list[SamplePrediction]":
    """Predict with a run: friend trees for datacards, or tables for evaluation.

    The run ID is enough: paths, samples and features are those the run was trained with.
    """
    from utils.inference.parallel import Scorer
    from utils.inference.predict import default_misc, predict_friend, predict_table
    from utils.inference.scoring import TrainingInputs, check_pipe_file
    from utils.tracking.tracked_run import PREDICTION_CONFIG, TrackedRun

    run = TrackedRun.open(spec.run_id, spec.experiment_id, spec.tracking_uri)
    train_config, skim_metadata = run.config(), run.skim_metadata()
    for_datacards = spec.kind == "for_datacards"
    source = run.config(PREDICTION_CONFIG) if for_datacards else skim_metadata["config"]
    complete = spec.completed(source, train_config["train_file"], train_config.get("year"))
    ensemble = run.ensemble()
    spec.check_features(ensemble.pipe.inputs, ensemble.cat_features)
    check_pipe_file(spec.input_pipe_file, ensemble)
    training = TrainingInputs.of(skim_metadata)
    results = []
    skims = [complete.input_of(sample) for sample in complete.names]
    kept = Path(spec.output_path) / f".{run.run_id}.scores"
    with (
        tempfile.TemporaryDirectory() as scratch,
        Scorer(ensemble, training, spec, skims, spec.executor_spec, kept) as scorer,
    ):
        folder = Path(spec.output_path) / run.run_id if for_datacards else Path(scratch)
        for sample in complete.names:
            skim, output = complete.input_of(sample), folder / complete.output_of(sample)
            if for_datacards:
                result = predict_friend(
                    sample, skim, complete.original_of(sample), output, ensemble, training,
                    tree_name=spec.orig_tree_name, friend_tree_name=spec.output_tree_name,
                    misc_features=spec.misc_features, reading=spec, scorer=scorer, overwrite=spec.overwrite,
                )  # fmt: skip
            else:
                misc = default_misc(skim, train_config) if spec.misc_features is None else spec.misc_features
                result = predict_table(
                    sample, skim, output, ensemble, training, misc,
                    reading=spec, scorer=scorer, overwrite=spec.overwrite,
                )  # fmt: skip
            if spec.log_predictions or not for_datacards:
                run.log_prediction(output, sample)
            results.append(result)
    report(results, ensemble.class_names if ensemble.task == "classification" else (), spec)
    return results


def report(results: "list[SamplePrediction]", class_names: tuple[str, ...], spec: "PredictSpec") -> None:
    """Print what was written, how fast, and the next command."""
    from utils.logs import rate, summary

    summary(
        "Predictions",
        [
            [r.sample, r.n_entries, r.n_scored, *r.per_class, ", ".join(map(str, r.missing_folds)) or "-",
             rate(r.n_scored, r.seconds)]
            for r in results
        ],
        ["sample", "entries", "scored", *class_names, "folds missed", "speed"],
    )  # fmt: skip
    if spec.kind == "for_datacards":
        summary("Friend trees", [[str(r.path)] for r in results])
    else:
        names = {r.sample: f"python evaluate.py run_id={spec.run_id} dataset={r.sample}" for r in results}
        summary("Next", names)


if __name__ == "__main__":
    main()
