"""Merge ROOT ntuples into HDF5 skims: select, derive, split, and fit the input pipe, in one pass.

Training data become two skims, `train` and `test`; prediction data one skim per sample, with every entry.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from utils.config import stage

if TYPE_CHECKING:
    from utils.preprocessing.cutflow import CutflowStep
    from utils.preprocessing.flow import PreprocessResult
    from utils.preprocessing.spec import PreprocessSpec


LISTED_FILES = 20


@stage(
    config_path="configs/preprocess/training_data",
    config_name="htt",
    spec="utils.preprocessing.spec:PreprocessSpec",
    examples=(
        "python preprocess.py --config-path configs/preprocess/training_data --config-name htt year=2018",
        "python preprocess.py --config-path configs/preprocess/prediction_data --config-name htt year=2018",
    ),
)
def main(spec: "PreprocessSpec", config: Mapping[str, Any]) -> "PreprocessResult":
    """Merge ROOT ntuples into HDF5 skims: select, derive, split, and fit the input pipe, in one pass.

    Training data become two skims, train and test; prediction data one skim per sample, with every entry.
    """
    from utils.preprocessing.flow import run_preprocessing

    result = run_preprocessing(spec, config)
    report_files(result)
    report(result)
    return result


def report_files(result: "PreprocessResult") -> None:
    """Print what every file cost; of many files, the slowest."""
    from utils.logs import duration, rate, summary

    files, title = result.files, "Files"
    if len(files) > LISTED_FILES:
        title = f"The {LISTED_FILES} slowest of {len(files):,} files"
        files = tuple(sorted(files, key=lambda file: file.seconds, reverse=True)[:LISTED_FILES])
    rows = [[f.path, f.n_read, duration(f.seconds), rate(f.n_read, f.seconds), f.worker] for f in files]
    summary(title, rows, ["file", "events", "time", "speed", "by"])


def report(result: "PreprocessResult") -> None:
    """Print the cutflow, the duplicates and the skims."""
    from utils.logs import rate, size, summary

    steps = list(dict.fromkeys(step.step for step in result.cutflow))
    lines: dict[tuple[str, str], dict[str, CutflowStep]] = {(s.sample, s.process): {} for s in result.cutflow}
    for step in result.cutflow:
        lines[step.sample, step.process][step.step] = step
    rows = [
        [
            *key,
            *(by_step[name].n_events for name in steps),
            f"{by_step['cut'].sum_w:,.6g} ± {by_step['cut'].sqrt_sum_w2:.3g}",
        ]
        for key, by_step in lines.items()
    ]
    summary("Cutflow (events; yield after the cut)", rows, ["sample", "process", *steps, "yield"])
    duplicates = result.duplicates
    if duplicates.within or duplicates.across:
        rows = [[sample, "", n] for sample, n in duplicates.within.items()]
        rows += [[first, second, n] for (first, second), n in duplicates.across.items()]
        summary("Duplicated events (kept)", rows, ["sample", "also in", "events"])
    skims = []
    for node, path in result.outputs.items():
        counts = zip(result.class_names, result.class_counts.get(node, ()), strict=False)
        skims.append([str(path), result.n_rows[node], ", ".join(f"{name} {n:,}" for name, n in counts)])
    summary("Skims", skims, ["file", "events", "classes"])
    seconds, n_bytes = result.seconds, result.n_bytes
    totals = {"events": result.n_read, "speed": f"{rate(result.n_read, seconds)}, {size(n_bytes / seconds)}/s"}
    if result.peak_bytes:
        totals["workers"] = len(result.peak_bytes)
        totals["largest memory of a worker"] = size(max(result.peak_bytes.values()))
    summary("Read", totals)


if __name__ == "__main__":
    main()
