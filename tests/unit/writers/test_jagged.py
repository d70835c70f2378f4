"""Jagged groups and images of a skim come back as they were given, under every compression and any cutting."""

from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import MissingColumnError, SkimError
from utils.readers.skim import SkimFile
from utils.writers.jagged import ImageLayout
from utils.writers.skim import SkimSchema, SkimWriter

N = 300
SCHEMA = SkimSchema(
    {"cont_features": {"pt": np.dtype("f4")}, "targets": {"target": np.dtype("i8")}},
    {"jets": {"pt": np.dtype("f4"), "id": np.dtype("i8")}, "none": {"x": np.dtype("u1")}},
    {
        "dense": ImageLayout((2, 3, 4), ("a", "b"), "dense"),
        "sparse": ImageLayout((2, 3, 4), ("a",), "sparse"),  # two views
    },
)


def rows(seed: int = 0, n: int = N) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, n)
    cells = [np.sort(rng.permutation(24)[:k]) for k in counts]

    def lists(values: np.ndarray) -> ak.Array:
        return ak.unflatten(values, counts)

    n_all = int(counts.sum())
    return {
        "cont_features": rng.normal(size=(n, 1)).astype(np.float32),
        "targets": {"target": np.arange(n)},
        "jagged/jets": {
            "pt": lists(rng.normal(size=n_all).astype(np.float32)),
            "id": lists(rng.integers(2**60, 2**61, n_all)),
        },
        "jagged/none": {"x": ak.unflatten(np.empty(0, np.uint8), np.zeros(n, np.int64))},
        "images/dense": rng.normal(size=(n, 2, 3, 4)).astype(np.float32),
        "images/sparse": {
            "cells": lists(np.concatenate([*cells, np.empty(0)]).astype(np.int32)),
            "a": lists(rng.normal(size=n_all).astype(np.float32)),
        },
    }


def cut(values: Any, piece: slice) -> Any:
    return {name: cut(v, piece) for name, v in values.items()} if isinstance(values, dict) else values[piece]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    return ak.type(one) == ak.type(other) and ak.to_list(one) == ak.to_list(other)


def write(path: Path, content: dict[str, Any], edges: list[int], **options: Any) -> Path:
    with SkimWriter(path, SCHEMA, overwrite=True, **options) as writer:
        for start, stop in zip([0, *edges], [*edges, N], strict=True):
            writer.append(cut(content, slice(start, stop)))
        writer.finish({})
    return path


@settings(max_examples=15, deadline=None)
@given(edges=st.lists(st.integers(0, N), max_size=4).map(sorted), compression=st.sampled_from(["none", "blosc:lz4"]))
def test_what_was_written_comes_back(tmp_path_factory: Any, edges: list[int], compression: Any) -> None:
    content = rows()
    path = write(tmp_path_factory.mktemp("skim") / "s.h5", content, edges, compression=compression)
    with SkimFile(path) as skim:
        block = skim.block(0, N)
        assert equal(block, content)
        assert equal(skim.block(*sorted((*edges, 7, 90))[:2]), cut(content, slice(*sorted((*edges, 7, 90))[:2])))
        dense = np.zeros((N, 2, 12), np.float32)
        for event in range(N):
            columns = content["images/sparse"]
            for cell, value in zip(columns["cells"][event], columns["a"][event], strict=True):
                dense[event, cell // 12, cell % 12] = value
        assert np.array_equal(skim.images("sparse"), dense.reshape(N, 2, 3, 4))
        assert np.array_equal(skim.images("dense", 10, 20), content["images/dense"][10:20])


def test_picked_rows_are_packed(tmp_path: Path) -> None:
    content = rows()
    order = np.random.default_rng(3).permutation(N)
    picked = {
        name: {n: v[order] for n, v in v.items()} if isinstance(v, dict) else v[order] for name, v in content.items()
    }
    with SkimFile(write(tmp_path / "s.h5", picked, [100])) as skim:
        assert skim.jagged("jets", ["id"])["id"].to_list() == content["jagged/jets"]["id"][order].to_list()
        assert skim.block(0, N)["images/sparse"]["cells"].to_list() == picked["images/sparse"]["cells"].to_list()


def test_plain_pandas_reads_the_flat_groups(tmp_path: Path) -> None:
    content = rows()
    frame = pd.read_hdf(write(tmp_path / "s.h5", content, [5]), key="cont_features")
    assert np.array_equal(frame.to_numpy(), content["cont_features"])


def test_names_that_do_not_exist(tmp_path: Path) -> None:
    with SkimFile(write(tmp_path / "s.h5", rows(), [])) as skim:
        with pytest.raises(MissingColumnError, match="no jagged group 'jet'.*did you mean 'jets'.*jagged_features"):
            skim.jagged("jet")
        with pytest.raises(MissingColumnError, match="no column 'ptt', in .*jagged/jets; did you mean 'pt'"):
            skim.jagged("jets", ["ptt"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file["jagged/jets/offsets"].resize(N, axis=0),
        lambda file: file["jagged/jets/pt"].resize(3, axis=0),
        lambda file: file["jagged/jets/offsets"].write_direct(np.array([5]), dest_sel=np.s_[0:1]),
        lambda file: file["images/dense"].resize(N - 1, axis=0),
        lambda file: file["images/sparse/a"].resize(0, axis=0),
        lambda file: file["images/dense"].attrs.clear(),
        lambda file: file["jagged/jets"].attrs.clear(),
    ],
)
def test_a_damaged_skim_is_told_at_once(tmp_path: Path, damage: Any) -> None:
    path = write(tmp_path / "s.h5", rows(), [])
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(SkimError, match="damaged skim.*Run preprocess.py again"):
        SkimFile(path)


def test_offsets_that_go_back(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", rows(), [])
    with h5py.File(path, "r+") as file:
        file["jagged/jets/offsets"][10] = 10**6
    with SkimFile(path) as skim, pytest.raises(SkimError, match="damaged skim: its offsets do not fit"):
        skim.jagged("jets")
