"""Config keys: fields of a spec that carry the line `--help` prints for them."""

from dataclasses import field
from typing import Any, Literal


def key(doc: str, *, unresolved: Literal["keep"] | None = None, **options: Any) -> Any:
    """A dataclass field with its documentation; `options` as for `dataclasses.field`, without default: required.

    `unresolved="keep"` is for a config that is only carried along: values that it lacks (`???`) are no error here.
    """
    metadata = {"doc": doc} if unresolved is None else {"doc": doc, "unresolved": unresolved}
    return field(metadata=metadata, **options)
