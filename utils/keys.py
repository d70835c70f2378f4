"""Config keys: fields of a spec that carry the line `--help` prints for them."""

from dataclasses import field
from typing import Any, Literal


def key(doc: str, *, unresolved: Literal["keep"] | None = None, templates: str | None = None, **options: Any) -> Any:
    """A dataclass field with its documentation; `options` as for `dataclasses.field`, without default: required.

    `unresolved="keep"` is for a config that is only carried along: values that it lacks (`???`) are no error here.
    `templates="executors"`: a value that the key does not accept names a YAML file in a folder `executors`, whose keys
    are put below those of the config.
    """
    further = {"unresolved": unresolved, "templates": templates}
    metadata = {"doc": doc, **{name: value for name, value in further.items() if value is not None}}
    return field(metadata=metadata, **options)
