"""Errors say what, where, the nearest name and the remedy, and keep them."""

import inspect
import pickle

import pytest

from utils import errors
from utils.errors import CrossfoldError, MissingColumnError, nearest_name

CHILDREN = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CrossfoldError) and kind is not CrossfoldError
]


def test_the_message_has_all_four_parts() -> None:
    error = MissingColumnError(
        "no branch 'jet_ptt'", where="ww.root:events", nearest="jet_pt", remedy="Edit features.yaml."
    )
    assert str(error) == "no branch 'jet_ptt', in ww.root:events; did you mean 'jet_pt'? Edit features.yaml."
    assert (error.what, error.where) == ("no branch 'jet_ptt'", "ww.root:events")
    assert (error.nearest, error.remedy) == ("jet_pt", "Edit features.yaml.")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "no events"),
        ({"where": "a.root"}, "no events, in a.root"),
        ({"nearest": "b"}, "no events; did you mean 'b'?"),
        ({"remedy": "Loosen the cut."}, "no events. Loosen the cut."),
        ({"where": "a.root", "remedy": "Loosen the cut."}, "no events, in a.root. Loosen the cut."),
    ],
)
def test_parts_that_are_missing_leave_no_trace(parts: dict[str, str], message: str) -> None:
    assert str(CrossfoldError("no events", **parts)) == message


@pytest.mark.parametrize("kind", CHILDREN)
def test_every_error_is_one_that_users_can_catch(kind: type[CrossfoldError]) -> None:
    with pytest.raises(ValueError, match="broken"):
        raise kind("broken")
    assert len(CHILDREN) >= 10


def test_errors_survive_a_process_border() -> None:
    error = MissingColumnError("no branch 'x'", where="a.root", nearest="y", remedy="Mend it.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is MissingColumnError
    assert str(copy) == str(error)
    assert (copy.what, copy.where, copy.nearest, copy.remedy) == ("no branch 'x'", "a.root", "y", "Mend it.")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("jet_ptt", "jet_pt"), ("JET_PT", "jet_pt"), ("met", "MET"), ("m_vis", None), ("", None)],
)
def test_the_nearest_name(name: str, nearest: str | None) -> None:
    assert nearest_name(name, ["jet_pt", "jet_eta", "MET"]) == nearest


def test_no_candidates_no_name() -> None:
    assert nearest_name("pt", iter(())) is None
