"""Two or more sides of a comparison, each in a fresh process so that its peak memory is its own, in turn: A B A B.

A benchmark module has a mapping from the name of a side to a function that takes the options and gives a `Result`.
`run_benchmark` starts the module anew for every run of a side. The parent imports nothing heavy: on Linux, a child's
peak memory counts from that of the process it was forked from.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEFAULT_FOLDER = Path("data/benchmarks")


@dataclass(frozen=True)
class Result:
    """What a side reports: the time of its work without start and imports [s], its rows, and numbers to compare."""

    seconds: float
    n_rows: int
    checks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A `Result` with what the system counted for the process: peak memory [bytes], CPU time [s]."""

    seconds: float
    n_rows: int
    checks: Mapping[str, float]
    peak_bytes: int
    cpu_seconds: float


@dataclass(frozen=True)
class Row:
    """One line of the table: two sides, the ratio, and what it should be.

    Parameters
    ----------
    what : what is compared.
    ours, reference : the two values with their units, as text.
    ratio : of the two.
    target : what the ratio should be; positive: at least, negative: at most.
    """

    what: str
    ours: str
    reference: str
    ratio: float
    target: float

    @property
    def met(self) -> bool:
        """Whether the ratio is what it should be."""
        return self.ratio >= self.target if self.target > 0 else self.ratio <= -self.target

    def cells(self) -> list[str]:
        """The line as text."""
        sign = "≥" if self.target > 0 else "≤"
        met = "yes" if self.met else "no"
        return [self.what, self.ours, self.reference, f"{self.ratio:.2f}", f"{sign} {abs(self.target):g}", met]


HEADER = ["what", "ours", "reference", "ratio", "target", "met"]


def parser(description: str, events: int) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--events", type=int, default=events, help="default: %(default)s")
    options.add_argument("--repeats", type=int, default=3, help="runs of each side; the median counts (%(default)s)")
    options.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="inputs and results (%(default)s)")
    options.add_argument("--threads", type=int, default=2, help="of each side, as far as it can use them (%(default)s)")
    options.add_argument("--side", help=argparse.SUPPRESS)
    options.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    return options


Options = argparse.Namespace
Sides = Mapping[str, Callable[[Options], Result]]


def run_benchmark(
    module: str,
    options: Options,
    sides: Sides,
    compare: Callable[[Mapping[str, list[Run]]], Iterable[Row]],
    *,
    prepare: Sequence[str] = (),
) -> None:
    """Run the side that was asked for or, in the parent, all of them in turn; print the table and write the results.

    Parameters
    ----------
    module : the benchmark's module name, without the package.
    options : what `parser` parsed.
    sides : name → function.
    compare : the runs of every side → the lines of the table.
    prepare : sides that only make the input: they run once, first, and are not reported.
    """
    if options.side is not None:
        options.report.write_text(json.dumps(asdict(sides[options.side](options))))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    for side in prepare:
        run = _run(module, side, options)
        print(f"{side}: {run.n_rows:,} rows in {run.seconds:.1f} s", flush=True)
    runs: dict[str, list[Run]] = {side: [] for side in sides if side not in prepare}
    for repeat in range(options.repeats):
        for side, done in runs.items():
            done.append(_run(module, side, options))
            print(f"{repeat + 1}/{options.repeats} {side}: {_line(done[-1])}", flush=True)
    rows = list(compare(runs))
    print("\n" + table(HEADER, [row.cells() for row in rows]))
    path = options.folder / f"{module}.json"
    path.write_text(json.dumps(_content(options, runs, rows), indent=1) + "\n")
    print(f"\nwritten to {path}")


def _run(module: str, side: str, options: Options) -> Run:
    """One side in a process of its own, after the disk has taken what the side before left in memory."""
    os.sync()
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", "--side", side, "--report", str(report)]
        for name in vars(options):
            if name not in ("side", "report"):
                value = getattr(options, name)
                command += [f"--{name}", str(value.resolve() if isinstance(value, Path) else value)]
        threads = {"OMP_NUM_THREADS": str(options.threads)}
        child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **threads})
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit(f"side '{side}' of {module} failed with status {child.returncode}")
        result = Result(**json.loads(report.read_text()))
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(result.seconds, result.n_rows, result.checks, usage.ru_maxrss * unit, usage.ru_utime + usage.ru_stime)


def seconds(runs: Sequence[Run]) -> float:
    """The median time [s]."""
    return statistics.median(run.seconds for run in runs)


def peak(runs: Sequence[Run]) -> float:
    """The largest peak memory [MB]."""
    return max(run.peak_bytes for run in runs) / 1e6


def speedup(what: str, ours: Sequence[Run], reference: Sequence[Run], target: float) -> Row:
    """How many times faster than the reference (events/s over events/s)."""
    _check_rows(ours, reference)
    return Row(what, _time(ours), _time(reference), seconds(reference) / seconds(ours), target)


def slowdown(what: str, ours: Sequence[Run], reference: Sequence[Run], target: float) -> Row:
    """How many times the reference's time."""
    _check_rows(ours, reference)
    return Row(what, _time(ours), _time(reference), seconds(ours) / seconds(reference), -target)


def memory(what: str, ours: Sequence[Run], reference: Sequence[Run] | float, target: float) -> Row:
    """How many times the peak memory of the reference, which may be a number of MB."""
    limit = reference if isinstance(reference, float) else peak(reference)
    return Row(what, f"{peak(ours):,.0f} MB", f"{limit:,.0f} MB", peak(ours) / limit, -target)


def _check_rows(ours: Sequence[Run], reference: Sequence[Run]) -> None:
    counts = {run.n_rows for run in (*ours, *reference)}
    if len(counts) != 1:
        raise SystemExit(f"the sides did not do the same work: {sorted(counts)} rows")


def _time(runs: Sequence[Run]) -> str:
    return f"{seconds(runs):.2f} s"


def _line(run: Run) -> str:
    checks = "".join(f", {name} {value:.6g}" for name, value in run.checks.items())
    return (
        f"{run.seconds:.2f} s ({run.cpu_seconds:.1f} s CPU in all), {run.peak_bytes / 1e6:,.0f} MB, "
        f"{run.n_rows:,} rows{checks}"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, aligned for the terminal."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _content(options: Options, runs: Mapping[str, list[Run]], rows: Sequence[Row]) -> dict[str, object]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "load_average_1_min": os.getloadavg()[0]},
        "options": {name: getattr(options, name) for name in ("events", "repeats", "threads")},
        "runs": {side: [asdict(run) for run in done] for side, done in runs.items()},
        "table": [{**asdict(row), "met": row.met} for row in rows],
    }
