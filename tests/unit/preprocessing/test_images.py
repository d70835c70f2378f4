"""Objects on a grid of cells: sums per cell and channel, against a loop over objects."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import ConfigError, DataError, MissingColumnError
from utils.preprocessing.images import dense, draw
from utils.preprocessing.jagged import objects_of
from utils.preprocessing.jagged_spec import ImageSpec
from utils.preprocessing.spec import NonFinite
from utils.readers.skim import SkimFile

number = st.one_of(
    st.floats(-3, 3, width=32), st.sampled_from([-2.0, 2.0, -1.0, 1.0, 0.0, math.nan, math.inf, -math.inf])
)
events = st.lists(st.lists(st.tuples(number, number, number, st.floats(-5, 5, width=32)), max_size=6), max_size=6)
IMAGES = {
    "flat": ImageSpec(
        x="x", y="y", range=((-2.0, 2.0), (-1.0, 1.0)), bins=(4, 3), channels={"w": "w", "count": None, "y": "y"}
    ),
    "views": ImageSpec(
        x="x",
        y="y",
        z="z",
        range=((-2.0, 2.0), (-1.0, 1.0), (-2.0, 1.0)),
        bins=(3, 3, 3),
        channels={"count": None, "w": "w"},
        views=("xy", "yz", "zx"),
    ),
}


def columns_of(content: list[list[tuple[float, ...]]]) -> dict[str, ak.Array]:
    counts = np.array([len(objects) for objects in content], np.int64)
    flat = np.array([o for objects in content for o in objects], np.float32).reshape(-1, 4)
    return {name: ak.unflatten(np.ascontiguousarray(flat[:, i]), counts) for i, name in enumerate("xyzw")}


def naive(image: ImageSpec, columns: Mapping[str, ak.Array]) -> tuple[np.ndarray, dict[str, int]]:
    """One object after the other."""
    n_events = len(columns["x"])
    sums = np.zeros((n_events, *image.shape))
    lists = {name: values.to_list() for name, values in columns.items()}
    n = {"objects": 0, "overflow": 0, "collisions": 0}
    for event in range(n_events):
        used = set()
        for i in range(len(lists["x"][event])):
            for v, view in enumerate(image.views):
                n["objects"] += 1
                place = []
                for axis in view:
                    low, high = image.range["xyz".index(axis)]
                    value = lists[image.axes[axis]][event][i]
                    if not low <= value <= high:
                        break
                    bins = image.bins["xyz".index(axis)]
                    place.append(min(int((value - low) / (high - low) * bins), bins - 1))
                else:
                    first, second = place
                    n["collisions"] += (view, first, second) in used
                    used.add((view, first, second))
                    for k, column in enumerate(image.channels.values()):
                        value = 1 if column is None else lists[column][event][i]
                        sums[event, v * len(image.channels) + k, second, first] += value
                    continue
                n["overflow"] += 1
    return sums.astype(np.float32), n


@given(content=events, name=st.sampled_from(list(IMAGES)))
def test_an_image_is_a_loop_over_objects(content: list[list[tuple[float, ...]]], name: str) -> None:
    image = IMAGES[name]
    columns = columns_of(content)
    drawn = draw(image, {n: objects_of(values, n, "file") for n, values in columns.items()})
    sums, n = naive(image, columns)
    assert {"objects": drawn.n_objects, "overflow": drawn.n_overflow, "collisions": drawn.n_collisions} == n
    images = dense(image, drawn.columns)
    assert images.dtype == np.float32
    assert images.shape == (len(content), *image.shape)
    assert np.array_equal(images, sums, equal_nan=True)


def test_rows_are_the_second_coordinate() -> None:
    image = ImageSpec(x="x", y="y", range=((0.0, 3.0), (0.0, 2.0)), bins=(3, 2), channels={"n": None})
    columns = {"x": ak.Array([[2.5, 2.6]]), "y": ak.Array([[0.5, 0.1]])}
    drawn = draw(image, {name: objects_of(values, name, "file") for name, values in columns.items()})
    assert dense(image, drawn.columns)[0, 0].tolist() == [[0, 0, 2], [0, 0, 0]]
    assert drawn.n_collisions == 1


TOY: dict[str, Any] = {
    "new_variables": {"jet_x": "jet_pt/20 - 2", "jet_y": "jet_pt/100 - 1"},
    "images": {
        "jets": ImageSpec(
            x="jet_x", y="jet_y", range=((-2.0, 2.0), (-1.0, 1.0)), bins=(5, 4), channels={"pt": "jet_pt", "n": None}
        )
    },
}


def sparse(config: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import replace

    return {**config, "images": {name: replace(i, storage="sparse") for name, i in config["images"].items()}}


def read(done: Any, name: str = "jets") -> dict[str, np.ndarray]:
    images = {}
    for node, path in done.result.outputs.items():
        with SkimFile(path) as skim:
            images[node] = skim.images(name)
    return images


def test_both_storages_hold_the_same_images(skims: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        full = skims(**TOY)
    few = skims(**sparse(TOY))
    for node, images in read(full).items():
        assert images.shape == (full.result.n_rows[node], 2, 4, 5)
        assert np.array_equal(images, read(few)[node])
        n_jets = full.nodes[node]["njets"].sum()
        assert 0 < images[:, 1].sum() <= n_jets
    lists = full.metadata["train"]["lists"]
    inside = sum(images[:, 1].sum() for images in read(full).values())
    assert lists["images/jets/objects"] == full.both("njets").sum()
    assert lists["images/jets/overflow"] == lists["images/jets/objects"] - inside > 0
    assert lists["images/jets/collisions"] == sum((i[:, 1] - 1).clip(0).sum() for i in read(full).values()) > 0
    assert f"{lists['images/jets/overflow']} outside the range" in caplog.text
    assert full.metadata["train"]["images"]["jets"]["bins"] == [5, 4]
    with h5py.File(full.result.outputs["train"]) as file:
        assert file["images/jets"].shape == (full.result.n_rows["train"], 2, 4, 5)
    with h5py.File(few.result.outputs["train"]) as file:
        assert set(file["images/jets"]) == {"offsets", "cells", "pt", "n"}


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (5, 5), (200, None), (20, 10_000)])
def test_any_range_of_rows(skims: Callable[..., Any], start: int, stop: int | None) -> None:
    for config in (TOY, sparse(TOY)):
        done = skims(**config)
        with SkimFile(done.result.outputs["train"]) as skim:
            assert np.array_equal(skim.images("jets", start, stop), skim.images("jets")[start:stop])
            assert skim.image_shapes == {"jets": (2, 4, 5)}
            with pytest.raises(MissingColumnError, match="no image 'jet'.*did you mean 'jets'"):
                skim.images("jet")


def test_images_alone(skims: Callable[..., Any]) -> None:
    done = skims(**TOY, cont_features=(), cat_features=None, scaler=None)
    assert "cont_features" not in done.groups["train"]
    assert len(read(done)["train"]) == done.result.n_rows["train"]


def image(**changes: Any) -> ImageSpec:
    keys: dict[str, Any] = {"x": "a", "y": "b", "range": ((0.0, 1.0), (0.0, 1.0)), "bins": (2, 2)}
    return ImageSpec(**{**keys, "channels": {"n": None}, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bins": (2,)}, "1 values for 2 coordinates.*images.jets.bins"),
        ({"range": ((0.0, 1.0),) * 3}, "3 values for 2 coordinates.*images.jets.range"),
        ({"range": ((0.0, 1.0), (1.0, 1.0))}, r"\[1.0, 1.0\] is no range"),
        ({"bins": (2, 0)}, r"bins are \[2, 0\]"),
        ({"channels": {}}, "needs channels"),
        ({"views": ("xy", "xy")}, "views that differ"),
        ({"channels": {"cells": None}}, "'cells' cannot be a name"),
        ({"views": ("xy", "zx")}, "need a third coordinate"),
        ({"z": "c", "views": ("xy", "yz"), "bins": (2, 3, 4), "range": ((0.0, 1.0),) * 3}, "views of several sizes"),
    ],
)
def test_images_that_make_no_sense(skims: Callable[..., Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        skims(images={"jets": image(**changes)})


def test_columns_of_several_collections(skims: Callable[..., Any]) -> None:
    new = {"big": "jet_pt[jet_pt>30]"}
    with pytest.raises(DataError, match=r"entry 0 has 3 values of 'jet_pt', but 2 of 'big'; image 'jets' needs"):
        skims(new_variables=new, images={"jets": image(x="jet_pt", y="big")})


def test_values_that_are_not_finite(
    skims: Callable[..., Any], tmp_path: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    from utils.preprocessing.spec import Process, Sample

    columns = toy_file(40, 1)
    columns["jet_pt"] = ak.unflatten(np.where(np.arange(80) == 21, np.nan, 30).astype(np.float32), np.full(40, 2))
    ntuple(tmp_path / "signal.root", columns)
    options = {**TOY, "input_samples": (Sample("signal", (Process("S", None, 0),)),), "train_size": 1.0}
    with pytest.raises(DataError, match="NaN or infinite values of 'jet_[xy]', the first in entry 10"):
        skims(tmp_path, **options)
    assert skims(tmp_path, **options, non_finite=NonFinite("drop")).result.n_rows["train"] == 39
