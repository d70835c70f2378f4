"""Show what files hold: events, branches and their values, in the terminal, as a page, and as MLaaS4HEP's specs."""

from typing import TYPE_CHECKING

from utils.config import stage

if TYPE_CHECKING:
    from utils.describing.run import Described
    from utils.describing.spec import DescribeSpec

# Of more branches than this, the terminal shows the collections; of more lines of another table, the first ones.
MOST_LINES = 60
MOST_OTHERS = 20


@stage(
    config_path="configs/describe",
    config_name="describe",
    spec="utils.describing.spec:DescribeSpec",
    examples=(
        "python describe.py input=ntuple.root",
        "python describe.py input='data/nano/*.root' tree=Events nevts=10000 selected_branches='[Muon_*]'",
    ),
)
def main(spec: "DescribeSpec") -> "Described":
    """Show what files hold: events, branches and their values, in the terminal, as a page, and as MLaaS4HEP's specs.

    Several files are described as one, and where they differ is shown.
    """
    from utils.describing.run import run_describe

    described = run_describe(spec)
    report(described)
    return described


def report(described: "Described") -> None:
    """Print the branches or their collections, where files differ, what to beware of, and where the page is."""
    from utils.describing import tables
    from utils.logs import summary

    description, page = described.description, described.outputs["page"]
    lists = {
        "Branches": (tables.branch_lines(description), tables.BRANCH_HEADER),
        "Collections": (tables.collection_lines(description), tables.COLLECTION_HEADER),
        "Cannot be read": (tables.unreadable_lines(description), tables.UNREADABLE_HEADER),
        "Files": (tables.file_lines(description), tables.FILE_HEADER),
        "Where the files differ": (tables.difference_groups(description), tables.DIFFERENCE_HEADER),
    }
    del lists["Branches" if len(description.branches) > MOST_LINES else "Collections"]
    if len(description.files) == 1:
        del lists["Files"]
    for title, (lines, header) in lists.items():
        most = MOST_LINES if title in ("Branches", "Collections") else MOST_OTHERS
        if lines:
            summary(title, *tables.aligned(lines[:most], header))
        if len(lines) > most:
            summary(f"… and {len(lines) - most:,} more, all in {page}", {})
    summary(str(described.name), tables.overview(description, described.peak_bytes))
    if description.notes():
        summary("Beware", [[note] for note in description.notes()])
    places = {"open": str(page), "for machines": str(described.outputs["statistics"])}
    if len(description.branches) > MOST_LINES:
        largest = tables.collection_lines(description)[0][0]
        places["some branches, here"] = f"selected_branches='[{largest}_*]'"
    summary("Look", places | {"MLaaS4HEP": str(described.outputs["specs"])})


if __name__ == "__main__":
    main()
