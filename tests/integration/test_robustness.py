"""Every difficult file that we have gives its content, or an error that names file, object and reason."""

import json
from pathlib import Path

import pytest

from utils.describing.collect import describe_files
from utils.describing.description import Description
from utils.describing.global_specs import GlobalSpecs
from utils.describing.report import page, to_dict
from utils.errors import InputFileError

# File → events; and of its branches: flat, jagged, of fixed length, text, unreadable.
CONTENTS = {
    "robustness/string-example.root": (0, (0, 0, 0, 4, 0)),
    "robustness/uproot-HZZ-objects.root": (2421, (24, 23, 0, 0, 0)),
    "robustness/uproot-empty.root": (0, (2, 0, 0, 1, 0)),
    "robustness/uproot-issue-816.root": (100, (7, 35, 0, 0, 0)),
    "robustness/uproot-issue-880.root": (116, (22, 49, 3, 0, 34)),
    "robustness/uproot-issue261.root": (0, (0, 0, 0, 0, 0)),
    "robustness/uproot-issue335.root": (0, (1, 0, 0, 0, 0)),
    "robustness/uproot-issue513.root": (10, (16, 336, 0, 8, 1)),
    "robustness/uproot-issue64.root": (500, (27, 23, 0, 5, 0)),
    "robustness/uproot-leaflist.root": (5, (3, 0, 0, 0, 0)),
    "robustness/uproot-stl_containers.root": (5, (0, 19, 0, 21, 0)),
    "rntuple/Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root": (1000, (1, 5, 0, 0, 0)),
    "rntuple/cmsopendata2015_ttbar_19980_NANOAOD_RNTupleImporter_rntuple_v1-0-0-1.root": (10, (603, 344, 0, 0, 0)),
    "rntuple/ntpl001_staff_rntuple_v1-0-1-0.root": (3354, (9, 0, 0, 2, 0)),
    "nanoaod/NanoAODv5_sample.root": (1000, (1119, 360, 0, 0, 0)),
    "nanoaod/nanoAOD_2015_CMS_Open_Data_ttbar.root": (200, (603, 344, 0, 0, 0)),
    "nanoaod/open-data-example.root": (100_000, (1, 5, 0, 0, 0)),
    "hep-tutorial/qcd.root": (142, (28, 23, 0, 0, 0)),
    "hep-tutorial/single_top.root": (5684, (28, 23, 0, 0, 0)),
    "hep-tutorial/ww.root": (4580, (28, 23, 0, 0, 0)),
    "hep-tutorial/wz.root": (3367, (28, 23, 0, 0, 0)),
    "hep-tutorial/zz.root": (2421, (28, 23, 0, 0, 0)),
    "ntuples/uproot-HZZ-lz4.root": (2421, (28, 23, 0, 0, 0)),
    "ntuples/uproot-HZZ-lzma.root": (2421, (28, 23, 0, 0, 0)),
    "ntuples/uproot-HZZ-uncompressed.root": (2421, (28, 23, 0, 0, 0)),
    "ntuples/uproot-HZZ-zlib.root": (2421, (28, 23, 0, 0, 0)),
    "ntuples/uproot-HZZ-zstd.root": (2421, (28, 23, 0, 0, 0)),
    "ntuples/uproot-Zmumu.root": (2304, (19, 0, 0, 1, 0)),
    "ntuples/uproot-issue412.root": (1_000_000, (2, 0, 0, 0, 0)),
    "higgs/higgs.csv": (10_984, (29, 0, 0, 0, 0)),
}
# File → what the error says beside the file's name, and the objects in it that can be described by name.
ERRORS = {
    "robustness/bad_delphes.root": ("no tree", {}),
    "robustness/uproot-histograms.root": ("no tree", {}),
    "robustness/uproot-issue70.root": ("no tree", {}),
    "robustness/uproot-nesteddirs.root": (
        "one/two/tree, one/tree, three/tree",
        {"one/two/tree": 100, "three/tree": 100},
    ),
    "cabinetry/prediction.root": ("signal, background, background_varied", {"signal": 5000, "background": 5000}),
}
# File → a branch that cannot be read, and why.
DAMAGED = {
    "robustness/uproot-issue-880.root": ("Hit[6].Status", "wrong number of bytes"),
    "robustness/uproot-issue513.root": ("Particle.fBits", "wrong number of bytes"),
}
KINDS = ("flat", "jagged", "fixed", "text", "unreadable")


def kinds(description: Description) -> tuple[int, ...]:
    return tuple(len(description.of_kind(kind)) for kind in KINDS)


@pytest.mark.parametrize("name", CONTENTS)
def test_its_content_is_described(shared_data: Path, name: str) -> None:
    description = describe_files([str(shared_data / name)])
    n_events, expected = CONTENTS[name]
    assert (description.n_events, kinds(description)) == (n_events, expected)
    for branch_name, branch in description.branches.items():
        if branch.statistics is None:
            assert branch.unreadable, branch_name
        else:
            assert branch.known.n_events == n_events, branch_name
    content = json.dumps([to_dict(description), GlobalSpecs.of(description).to_dict()], allow_nan=False)
    shown = page(description, name, 0)
    for branch_name in description.of_kind("unreadable"):
        assert json.dumps(branch_name) in content
        assert branch_name in shown
    if name in DAMAGED:
        branch_name, reason = DAMAGED[name]
        assert reason in str(description.branches[branch_name].unreadable)


@pytest.mark.parametrize("name", ERRORS)
def test_its_error_names_file_and_reason(shared_data: Path, name: str) -> None:
    path = str(shared_data / name)
    words, objects = ERRORS[name]
    with pytest.raises(InputFileError) as caught:
        describe_files([path])
    assert path in str(caught.value)
    assert words in str(caught.value)
    assert {tree: describe_files([path], tree).n_events for tree in objects} == objects


def test_no_file_is_left_out(shared_data: Path) -> None:
    there = {str(path.relative_to(shared_data)) for path in shared_data.rglob("*.*") if path.suffix != ".md"}
    assert there == {*CONTENTS, *ERRORS}
