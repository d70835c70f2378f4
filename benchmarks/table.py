"""Write the tables of the last results into docs/benchmarks.md, between its two markers."""

import argparse
import json
from pathlib import Path

from benchmarks.sides import DEFAULT_FOLDER, HEADER, ROOT, Row, table

DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
BENCHMARKS = (
    "reading",
    "describe",
    "preprocess",
    "executors",
    "padding",
    "training",
    "prediction",
    "neural",
    "neural_keras",
)


def filled(document: str, results: dict[str, dict[str, object]]) -> str:
    """The document with the tables of `results` (benchmark → content of its JSON) between the markers."""
    before, _, rest = document.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise SystemExit(f"{DOCUMENT} has no markers '{BEGIN}' and '{END}'")
    parts = [_section(name, content) for name, content in results.items()] or ["No results yet."]
    tables = "\n\n".join(parts)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def _section(name: str, content: dict) -> str:  # type: ignore[type-arg]
    rows = [Row(**{key: value for key, value in row.items() if key != "met"}) for row in content["table"]]
    options, machine = content["options"], content["machine"]
    runs = [
        [side, f"{run['seconds']:.2f} s", f"{run['cpu_seconds']:.1f} s", f"{run['peak_bytes'] / 1e6:,.0f} MB"]
        for side, done in content["runs"].items()
        for run in sorted(done, key=lambda run: run["seconds"])[len(done) // 2 : len(done) // 2 + 1]
    ]
    return "\n\n".join(
        [
            f"### {name.capitalize()}",
            (
                f"{options['events']:,} events, median of {options['repeats']}, {options['threads']} threads, "
                f"{machine['cpus']} cores, {content['when'][:10]}."
            ),
            table(HEADER, [row.cells() for row in rows]),
            table(["side (the median run)", "time", "CPU with start and imports", "peak memory"], runs),
        ]
    )


def main() -> None:
    """Fill the document in."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="of the results (%(default)s)")
    folder = options.parse_args().folder
    paths = {name: folder / f"{name}.json" for name in BENCHMARKS}
    results = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), results))
    print(f"{DOCUMENT}: {', '.join(results) or 'no results'}")


if __name__ == "__main__":
    main()
