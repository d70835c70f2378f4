"""Files described as one: what is found, where they differ, what cannot be read, and what is kept of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from utils.describing.collect import describe_files
from utils.describing.description import Description, prefix_of
from utils.describing.files import FilePart, Reading, describe_part
from utils.describing.global_specs import GlobalSpecs, collect_specs
from utils.describing.report import page, to_dict
from utils.describing.run import PARTS, run_describe
from utils.describing.spec import DescribeSpec
from utils.describing.storing import load_part, part_name, save_part
from utils.describing.tables import aligned, branch_lines, collection_lines, difference_groups, difference_lines
from utils.errors import ConfigError, InputFileError, MissingColumnError

Ntuple = Callable[..., Path]


# Of three samples: every seventh, unless it is infinite.
N_NAN = 3 * sum(i % 7 == 0 and i % 50 != 1 for i in range(3000))


def columns(seed: int, n: int = 3000) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    pt = rng.exponential(30, n).astype(np.float32)
    pt[::7] = np.nan
    pt[1::50] = np.inf
    counts = rng.integers(0, 4, n)
    return {
        "event": np.arange(n, dtype=np.uint64) + np.uint64(2**60 * seed),
        "pt": pt,
        "trigger": rng.random(n) < 0.2,
        "Muon_pt": ak.unflatten(rng.normal(size=int(counts.sum())), counts),
        "label": ak.Array([f"sample{seed}"] * n),
    }


@pytest.fixture
def files(ntuple: Ntuple, tmp_path: Path) -> list[str]:
    return [str(ntuple(tmp_path / f"{name}.root", columns(seed))) for seed, name in ((1, "a"), (2, "b"), (3, "c"))]


def content(description: Description) -> dict[str, Any]:
    """What must not depend on how it was found."""
    return {name: value for name, value in to_dict(description).items() if name in ("branches", "n_events", "n_read")}


def test_the_numbers_are_those_of_the_data(files: list[str]) -> None:
    description = describe_files(files)
    pt = np.concatenate([columns(seed)["pt"] for seed in (1, 2, 3)])
    muons = ak.concatenate([columns(seed)["Muon_pt"] for seed in (1, 2, 3)])
    found = description.branches["pt"].known
    assert (found.n_nan, found.n_infinite) == (np.isnan(pt).sum(), np.isinf(pt).sum())
    assert (found.minimum, found.maximum) == (pt[np.isfinite(pt)].min(), pt[np.isfinite(pt)].max())
    found = description.branches["Muon_pt"].known
    assert (found.n_values, found.lengths) == (ak.count(muons), (3,))
    assert (found.minimum, found.maximum) == (ak.min(muons), ak.max(muons))
    assert description.branches["event"].known.maximum == 3 * 2**60 + 2999
    assert description.branches["trigger"].known.n_zero == sum((~columns(s)["trigger"]).sum() for s in (1, 2, 3))
    assert description.branches["label"].known.texts == {f"sample{seed}": 3000 for seed in (1, 2, 3)}
    assert [b.kind for b in description.branches.values()][:3] == ["flat", "flat", "flat"]
    assert (description.branches["Muon_pt"].kind, description.branches["label"].kind) == ("jagged", "text")
    assert description.n_events == description.n_read == 9000


def test_neither_chunks_nor_the_order_of_files_show(files: list[str]) -> None:
    expected = content(describe_files(files))
    assert content(describe_files(files, chunk_size=77)) == expected
    assert content(describe_files(files[::-1])) == expected


def test_first_events_of_every_file(files: list[str]) -> None:
    description = describe_files(files, nevts=100)
    assert (description.n_read, description.n_events) == (300, 9000)
    assert description.branches["event"].known.n_events == 300


def test_parts_of_a_file_are_the_file(files: list[str], tmp_path: Path) -> None:
    whole, parts = Description(), Description()
    whole.add(describe_part(FilePart(0, files[0], None), Reading()))
    for first, last in ((0, 1100), (1100, 1101), (1101, 3000)):
        part = FilePart(0, files[0], None, first, last)
        path = tmp_path / part_name(part, Reading())
        save_part(describe_part(part, Reading()), path)
        parts.add(load_part(path))
    assert content(parts) == content(whole)
    assert len(parts.files) == 1


def test_where_files_differ(ntuple: Ntuple, tmp_path: Path) -> None:
    new = columns(3) | {"pt": np.arange(3000), "extra": np.ones(3000)}
    del new["trigger"]
    paths = [str(ntuple(tmp_path / "a.root", columns(1))), str(ntuple(tmp_path / "b.root", columns(2)))]
    paths.append(str(ntuple(tmp_path / "c.root", new)))
    description = describe_files(paths)
    found = {difference.name: difference.found for difference in description.differences()}
    assert found == {
        "pt": {"float32": tuple(paths[:2]), "int64": (paths[2],)},
        "trigger": {"bool": tuple(paths[:2]), "missing": (paths[2],)},
        "extra": {"float64": (paths[2],), "missing": tuple(paths[:2])},
    }
    assert (
        dict(difference_lines(description))["trigger"] == "missing in 1 of 3 (c.root); bool in 2 of 3 (a.root, b.root)"
    )
    assert ["trigger", "missing in 1 of 3 (c.root)"] in difference_groups(description)
    assert "Where the files differ: 3 branches" in page(description, "three", 0)
    assert describe_files(paths[:2]).differences() == []


def damaged(path: Path, branch: str) -> str:
    """The file with the first basket of a branch overwritten."""
    with uproot.open(path) as file:
        place = int(file["events"][branch].member("fBasketSeek")[0])
    content = bytearray(path.read_bytes())
    content[place + 70 : place + 170] = b"\xaa" * 100
    path.write_bytes(content)
    return str(path)


def test_a_branch_that_cannot_be_read_says_why_and_spares_the_others(ntuple: Ntuple, tmp_path: Path) -> None:
    path = damaged(ntuple(tmp_path / "a.root", columns(1)), "pt")
    description = describe_files([path])
    assert description.of_kind("unreadable") == ["pt"]
    assert "branch 'pt' cannot be read" in str(description.branches["pt"].unreadable)
    assert description.branches["event"].known.n_events == 3000
    assert description.notes()[0] == "1 branch that cannot be read: pt"
    specs = GlobalSpecs.of(description)
    assert "pt" not in specs.fkeys and "pt" in specs.excluded
    assert "branch 'pt' cannot be read" in page(description, "damaged", 0)


def test_a_file_of_which_nothing_can_be_read_is_an_error(ntuple: Ntuple, tmp_path: Path) -> None:
    path = damaged(ntuple(tmp_path / "a.root", {"x": np.random.default_rng(1).random(3000)}), "x")
    with pytest.raises(InputFileError, match="branch 'x' cannot be read") as caught:
        describe_files([path])
    assert caught.value.where == f"{path}:events"


def test_a_file_without_events_or_without_branches(ntuple: Ntuple, tmp_path: Path) -> None:
    path = ntuple(tmp_path / "a.root", {"x": np.empty(0), "Jet_pt": ak.Array([[1.0]])[:0]})
    description = describe_files([str(path)])
    assert description.n_events == 0
    assert GlobalSpecs.of(description).minv == {"x": 0.0, "nJet_pt": 0.0, "Jet_pt": 0.0}
    assert page(description, "empty", 0)
    assert json.dumps(to_dict(description), allow_nan=False)


def test_of_several_trees_events_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "nano.root"
    with uproot.recreate(path) as file:
        file["Runs"] = {"run": np.ones(1)}
        file["Events"] = {"pt": np.ones(5)}
    assert describe_files([str(path)]).n_events == 5
    assert describe_files([str(path)], "Runs").n_events == 1
    with uproot.recreate(path) as file:
        file["one"] = {"run": np.ones(1)}
        file["two"] = {"pt": np.ones(5)}
    spec = DescribeSpec(input=str(path), output_path=str(tmp_path / "out"))
    with pytest.raises(InputFileError, match="more than one tree.* Set tree; the file holds one.*two"):
        run_describe(spec)


def test_specs_are_those_of_mlaas4hep(files: list[str], tmp_path: Path) -> None:
    specs = collect_specs(files, None, chunk_size=500)
    assert specs.fkeys == ("event", "nMuon_pt", "pt", "trigger")
    assert specs.jkeys == ("Muon_pt",)
    assert specs.jdim == {"Muon_pt": 3}
    assert specs.excluded == {"label": "text"}
    assert specs.nans == {"pt": N_NAN}
    assert (specs.minv["trigger"], specs.maxv["trigger"]) == (0.0, 1.0)
    stored = specs.to_dict()
    assert {"jdim", "minv", "maxv", "fkeys", "jkeys", "nans", "events"} <= set(stored)
    assert stored["events"] == {**dict.fromkeys(files, 3000), "total": 9000}
    assert stored["inputs"][files[0]]["size"] == Path(files[0]).stat().st_size
    path = tmp_path / "global-specs.json"
    path.write_text(json.dumps(stored))
    assert GlobalSpecs.load(path) == specs


def test_specs_of_mlaas4hep_itself_are_read_and_others_refused(tmp_path: Path) -> None:
    theirs = {"jdim": {"j": 2}, "minv": {"j": 0, "f": 1}, "maxv": {"j": 5, "f": 2}, "fkeys": ["f"], "jkeys": ["j"]}
    specs = GlobalSpecs.from_dict({**theirs, "nans": {}, "events": {"a.root": 3, "total": 3}}, "specs")
    assert (specs.events, specs.maxv["f"]) == ({"a.root": 3}, 2.0)
    for wrong, says in ((theirs, "no key 'events'"), ({**theirs, "events": 3}, "no specs")):
        with pytest.raises(InputFileError, match=says):
            GlobalSpecs.from_dict(wrong, "specs")
    for text in ("[1]", "{", ""):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputFileError, match=r"x\.json"):
            GlobalSpecs.load(tmp_path / "x.json")


def test_the_page_loads_nothing_and_no_name_can_break_it(ntuple: Ntuple, tmp_path: Path) -> None:
    values = {"text": ak.Array(["</script><b>", "x"]), "pt": np.array([1.0, np.inf])}
    shown = page(describe_files([str(ntuple(tmp_path / "a.root", values))]), "<title> & more", 10**8)
    assert shown.count("</script>") == 2
    assert "<h1>&lt;title&gt; &amp; more</h1>" in shown
    data = shown.partition('id="data">')[2].partition("</script>")[0]
    rows = json.loads(data)["rows"]
    assert [row["name"] for row in rows] == ["text", "pt"]
    assert rows[0]["texts"] == [["</script><b>", 1], ["x", 1]]
    assert (rows[1]["histogram"]["counts"], rows[1]["n_infinite"]) == ([1], 1)
    for word in ("http:", "https:", " src=", "@import", "fetch("):
        assert word not in shown


def test_without_histograms(files: list[str]) -> None:
    description = describe_files(files, hists=False)
    assert "histogram" not in to_dict(description)["branches"]["pt"]
    assert content(description)["branches"]["pt"]["min"] == content(describe_files(files))["branches"]["pt"]["min"]


def test_branches_are_selected(files: list[str], tmp_path: Path) -> None:
    spec = DescribeSpec(input=files[0], selected_branches=("Muon_*", "pt"), exclude_branches=("pt",))
    assert list(describe_files([files[0]], access=spec.access).branches) == ["Muon_pt"]
    spec = DescribeSpec(input=files[0], selected_branches=("Moun_*",), output_path=str(tmp_path / "out"))
    with pytest.raises(MissingColumnError, match="Moun_"):
        run_describe(spec)


def test_what_is_done_is_not_done_again_unless_the_file_changed(
    files: list[str], ntuple: Ntuple, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    reading = Reading()
    part = FilePart(0, files[0], None)
    done = folder / PARTS / part_name(part, reading)
    marked = describe_part(part, reading)
    marked.statistics["pt"].n_nan = 12_345
    save_part(marked, done)
    spec = DescribeSpec(input=tuple(files), output_path=str(folder))
    assert run_describe(spec).description.branches["pt"].known.n_nan > 12_345
    assert not (folder / PARTS).exists()
    save_part(marked, done)
    ntuple(Path(files[0]), columns(4))
    assert run_describe(spec).description.branches["pt"].known.n_nan == N_NAN


def test_what_is_written_replaces_what_was_there(files: list[str], tmp_path: Path) -> None:
    for names in (files[:1], files):
        described = run_describe(DescribeSpec(input=tuple(names), output_path=str(tmp_path / "out")))
        assert GlobalSpecs.load(described.outputs["specs"]).events == dict.fromkeys(names, 3000)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "description.json", "global-specs.json", "index.html",
    ]  # fmt: skip


def test_tables(files: list[str]) -> None:
    description = describe_files(files)
    lines = {line[0]: line for line in branch_lines(description)}
    assert lines["Muon_pt"][1:3] == ["float64", "var"]
    assert lines["Muon_pt"][5] == "3"
    assert lines["label"][4] == "7 characters"
    assert sum(int(line[1] or 0) + int(line[2] or 0) + int(line[3] or 0) for line in collection_lines(description)) == 6
    assert aligned([["a", "1"], ["bb", "10"]], ["branch", "n"])[0] == [["a", " 1"], ["bb", "10"]]


@pytest.mark.parametrize(
    ("name", "prefix"), [("Muon_pt", "Muon"), ("nMuon", "Muon"), ("jet.pt", "jet"), ("run", "run"), ("_x", "_x")]
)
def test_collections(name: str, prefix: str) -> None:
    assert prefix_of(name) == prefix


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a/ttbar.v2.root", "ttbar"),
        ("data/nano/*.root", "nano"),
        ("/data/nano/", "nano"),
        ("root://host//store/x.root", "x"),
        (("b.root", "c.root"), "b"),
        ("*.root", "input"),
    ],
)
def test_names(given: Any, name: str) -> None:
    assert DescribeSpec(input=given).folder == f"descriptions/{name}"


@pytest.mark.parametrize(
    "keys", [{"input": ()}, {"input": ""}, {"input": "a", "nevts": 0}, {"input": "a", "missing_branches": "fill"}]
)
def test_what_makes_no_sense_is_refused(keys: dict[str, Any]) -> None:
    from utils.config.build import build_spec

    with pytest.raises(ConfigError):
        build_spec(DescribeSpec, keys)
