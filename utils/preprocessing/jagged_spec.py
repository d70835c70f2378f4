"""What a preprocessing config says about jagged data: padding, jagged groups, images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from utils.errors import ConfigError
from utils.keys import key

View = Literal["xy", "yz", "zx"]

# In a skim, what tells where the values of the columns belong.
RESERVED = ("offsets", "cells")


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """Objects of an event on a grid of cells in two of their coordinates, a channel per quantity.

    With several views, as in X-Y, Y-Z and Z-X, the channels of all views are those of one image, view after view.
    """

    x: str = key("column of the first coordinate, such as Jet_eta")
    y: str = key("column of the second one, such as Jet_phi")
    z: str | None = key("column of the third one, for views yz and zx", default=None)
    range: tuple[tuple[float, float], ...] = key("[low, high] of each coordinate; what lies outside is counted")
    bins: tuple[int, ...] = key("cells along each coordinate")
    channels: Mapping[str, str | None] = key("channel: column whose sum a cell holds; null: the number of objects")
    views: tuple[View, ...] = key("xy | yz | zx; the first coordinate runs along a row of cells", default=("xy",))
    storage: Literal["dense", "sparse"] = key("dense: every cell; sparse: those with objects", default="dense")

    @property
    def axes(self) -> Mapping[str, str]:
        """Letter of the coordinate → its column."""
        return {"x": self.x, "y": self.y} | ({} if self.z is None else {"z": self.z})

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W): channels of all views, cells along the second and the first coordinate of a view."""
        first, second = ("xyz".index(letter) for letter in self.views[0])
        return len(self.views) * len(self.channels), self.bins[second], self.bins[first]

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns it is made from: coordinates, then quantities."""
        quantities = [column for column in self.channels.values() if column is not None]
        return tuple(dict.fromkeys([*self.axes.values(), *quantities]))

    def check(self, where: str) -> None:
        """ConfigError for an image that cannot be made."""
        n_axes = len(self.axes)
        for name, given in (("range", len(self.range)), ("bins", len(self.bins))):
            if given != n_axes:
                raise ConfigError(
                    f"{given} values for {n_axes} coordinates", where=f"{where}.{name}", remedy="Give one for each."
                )
        for low, high in self.range:
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ConfigError(f"[{low}, {high}] is no range", where=f"{where}.range", remedy="Write [low, high].")
        if min(self.bins) < 1:
            raise ConfigError(f"bins are {list(self.bins)}", where=f"{where}.bins", remedy="Use 1 or more.")
        if not self.channels or not self.views or len(set(self.views)) < len(self.views):
            raise ConfigError(
                "an image needs channels, and views that differ", where=where, remedy="Write channels: {count: null}."
            )
        _check_names(self.channels, f"{where}.channels")
        if self.z is None and self.views != ("xy",):
            raise ConfigError(
                f"views {', '.join(self.views)} need a third coordinate", where=f"{where}.views", remedy="Set z."
            )
        sizes = {tuple(self.bins["xyz".index(letter)] for letter in view) for view in self.views}
        if len(sizes) > 1:
            raise ConfigError(
                "views of several sizes are no channels of one image",
                where=f"{where}.bins",
                remedy="Use the same number of cells along all coordinates, or one image for each view.",
            )


def padded_names(padded: Mapping[str, int]) -> tuple[str, ...]:
    """COLUMN_0 … COLUMN_{LENGTH − 1} of every column, in order."""
    return tuple(f"{name}_{i}" for name, length in padded.items() for i in range(length))


def check_jagged(
    padded: Mapping[str, int], groups: Mapping[str, tuple[str, ...]], images: Mapping[str, ImageSpec]
) -> None:
    """ConfigError for what cannot be padded, kept, or drawn."""
    for name, length in padded.items():
        if length < 1:
            raise ConfigError(
                f"length {length}", where=f"padded_features.{name}", remedy="Use the number of objects to keep, 1 …"
            )
    for group, columns in groups.items():
        where = f"jagged_features.{group}"
        if not columns or len(set(columns)) < len(columns):
            raise ConfigError("a group needs columns that differ", where=where, remedy="List each column once.")
        _check_names(columns, where)
    _check_names(groups, "jagged_features")
    for name, image in images.items():
        image.check(f"images.{name}")
    _check_names(images, "images")


def _check_names(names: Mapping[str, object] | tuple[str, ...], where: str) -> None:
    for name in names:
        if name in ("", ".", *RESERVED) or "/" in name:
            raise ConfigError(
                f"'{name}' cannot be a name in a skim",
                where=where,
                remedy="Choose another name, in new_variables for a column.",
            )


def branches_of_columns(padded: Mapping[str, int]) -> dict[str, str]:
    """COLUMN_i → COLUMN, for what a branch's padded positions share."""
    return {f"{name}_{i}": name for name, length in padded.items() for i in range(length)}
