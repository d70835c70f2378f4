"""What rows hold beside single values: padded features, jagged groups and images, all from jagged columns."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from utils.events import Column
from utils.logs import get_logger
from utils.preprocessing.images import draw
from utils.preprocessing.jagged import Finite, check_same_counts, objects_of
from utils.preprocessing.padding import Kept
from utils.preprocessing.spec import PreprocessSpec

logger = get_logger(__name__)

JaggedColumns = Mapping[str, Mapping[str, ak.Array]]


@dataclass(frozen=True)
class RowLists:
    """Of R rows.

    Parameters
    ----------
    padded : the objects of each padded column that are kept.
    jagged : group → column → (R, objects) Awkward array.
    images : name → columns of the occupied cells, as in :class:`Images`.
    tallies : what is reported at the end, as `truncated/COLUMN` and `images/NAME/…`.
    dropped_R : (R,) rows with NaN or infinities that the policy drops; None where there are none.
    """

    padded: tuple[Kept, ...] = ()
    jagged: JaggedColumns = field(default_factory=dict)
    images: JaggedColumns = field(default_factory=dict)
    tallies: Mapping[str, int] = field(default_factory=dict)
    dropped_R: NDArray[np.bool_] | None = None


def used_by_lists(spec: PreprocessSpec) -> tuple[str, ...]:
    """The columns that they are made from."""
    names = [*spec.padded_features]
    for columns in spec.jagged_features.values():
        names += columns
    for image in spec.images.values():
        names += image.uses
    return tuple(dict.fromkeys(names))


def lists_of(spec: PreprocessSpec, values: Mapping[str, Column], entry_R: NDArray[np.int64], where: str) -> RowLists:
    """The lists of the rows with these values and entries; `where` names the file, for messages."""
    names = used_by_lists(spec)
    if not names:
        return RowLists()
    finite = Finite(spec.non_finite, entry_R, where)
    objects = {name: objects_of(values[name], name, where) for name in names}
    tallies: Counter[str] = Counter()
    padded = []
    for name, length in spec.padded_features.items():
        kept = Kept.of(objects[name], length, spec.clip.get(name, (None, None)), finite, name)
        tallies[f"truncated/{name}"] += kept.n_truncated
        padded.append(kept)
    jagged = {}
    for group, columns in spec.jagged_features.items():
        members = {name: objects[name] for name in columns}
        check_same_counts(members, entry_R, f"jagged group '{group}'", where)
        jagged[group] = {name: finite.applied(column.stored(), name).to_awkward() for name, column in members.items()}
    images = {}
    for name, image in spec.images.items():
        used = {column: objects[column] for column in image.uses}
        check_same_counts(used, entry_R, f"image '{name}'", where)
        drawn = draw(image, {column: finite.applied(values, column) for column, values in used.items()})
        images[name] = drawn.columns
        tallies[f"images/{name}/objects"] += drawn.n_objects
        tallies[f"images/{name}/overflow"] += drawn.n_overflow
        tallies[f"images/{name}/collisions"] += drawn.n_collisions
    return RowLists(tuple(padded), jagged, images, tallies, finite.dropped_R)


def report_lists(spec: PreprocessSpec, tallies: Mapping[str, int]) -> None:
    """Log what did not fit: objects beyond a padded length, outside an image, or in one cell."""
    for name, length in spec.padded_features.items():
        if n := tallies.get(f"truncated/{name}", 0):
            logger.warning("%s: %s events have more than %s objects; the others are left out", name, f"{n:,}", length)
    for name in spec.images:
        total, overflow, collisions = (
            tallies.get(f"images/{name}/{what}", 0) for what in ("objects", "overflow", "collisions")
        )
        logger.info(
            "image %s: %s objects, %s outside the range, %s in a cell with another",
            name,
            f"{total:,}",
            f"{overflow:,}",
            f"{collisions:,}",
        )
