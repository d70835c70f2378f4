"""Which of MLaaS4HEP's files there are. What stands in them is looked at when the stage runs."""

from dataclasses import dataclass
from typing import Any, Literal

from utils.errors import ConfigError
from utils.keys import key

Dtype = Literal["json", "csv", "parquet", "avro", "root"]


@dataclass(frozen=True)
class Mlaas4hepFiles:
    """MLaaS4HEP's command line."""

    files: Any = key("files.txt: a path a line, # comments; or a list of paths", default="files.txt")
    labels: Any = key("labels.txt: a label per file; or a list; or a column's name; null: none", default=None)
    params: str | None = key("params.json; null: all defaults", default=None)
    preproc: str | None = key("preproc.json, or a file with preprocessing(record)", default=None)
    preproc_vectorised: bool = key("preprocessing takes a chunk's arrays, not one record", default=False)
    specs: str | None = key("global-specs.json; null: collected in a first pass", default=None)
    dtype: Dtype | None = key("format; null: told by the content", default=None)

    def __post_init__(self) -> None:
        for name in ("files", "labels"):
            value = getattr(self, name)
            if value is None and name == "labels":
                continue
            if not isinstance(value, str | int | list | tuple) or value in ("", [], ()):
                raise ConfigError(
                    f"'{name}' must be a file or a list, not {value!r}", where=name, remedy=f"Give {name}={name}.txt."
                )
        if self.dtype == "avro":
            raise avro(None)


def avro(path: str | None) -> ConfigError:
    """The error for a format that MLaaS4HEP names and does not read, either."""
    return ConfigError(
        "Avro cannot be read",
        where="dtype" if path is None else path,
        remedy="Convert it to Parquet, for example with pandas and fastavro.",
    )
