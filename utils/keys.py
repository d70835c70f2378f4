"""Config keys: fields of a spec that carry the line `--help` prints for them."""

from dataclasses import field
from typing import Any


def key(doc: str, **options: Any) -> Any:
    """A dataclass field with its documentation; `options` as for `dataclasses.field`, without default: required."""
    return field(metadata={"doc": doc}, **options)
