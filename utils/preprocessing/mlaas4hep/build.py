"""From MLaaS4HEP's files to a config that says the same in our keys; the whole of it is stored in the skims."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.describing.global_specs import FILE_NAME, GlobalSpecs
from utils.errors import ConfigError
from utils.factory import Factory
from utils.logs import get_logger
from utils.preprocessing.mixing import drawn_entries
from utils.preprocessing.mlaas4hep.features import Vector, check_specs, event_vector, matching, require_names
from utils.preprocessing.mlaas4hep.first_pass import Work, first_pass, require_label
from utils.preprocessing.mlaas4hep.inputs import Listed, open_listed, record_preprocessing
from utils.preprocessing.mlaas4hep.lists import Labelling, classes_of, read_files, read_labels
from utils.preprocessing.mlaas4hep.params import CARRIED, Params, load_json
from utils.preprocessing.mlaas4hep.preproc import Preprocessing
from utils.preprocessing.mlaas4hep.records import RecordPreprocessing, column_types, file_digest
from utils.preprocessing.mlaas4hep.spec import Mlaas4hepFiles
from utils.preprocessing.spec import MinMaxSpec, PreprocessSpec, Sample
from utils.readers.spec import ChunkSize
from utils.writers.atomic import atomic_output

logger = get_logger(__name__)

# Under `vars` of the recorded config: what the skims were made from.
MADE_FROM = "mlaas4hep"
# The sample, and the class, of events that have no labels.
ALL = "all"
# Records of every file that are looked at to learn what a user's function gives.
_PEEKED = 100


def completed(spec: PreprocessSpec, config: Mapping[str, Any]) -> tuple[PreprocessSpec, dict[str, Any]]:
    """The spec that MLaaS4HEP's files amount to, and its config as plain values.

    Files are opened, and read once where no specs are given; `global-specs.json` is then written beside the skims.

    Raises
    ------
    CrossfoldError : for anything in these files that cannot be, with the file and the entry.
    """
    given = spec.mlaas4hep
    assert given is not None
    if spec.cont_features or spec.padded_features or spec.input_samples:
        raise ConfigError(
            "features and samples follow from params.json and labels.txt",
            where="mlaas4hep",
            remedy="Take cont_features, padded_features and input_samples out, or take mlaas4hep out.",
        )
    params, labelling, listed = listed_files(spec)
    made = _Made(spec, given, params, listed, labelling)
    keys = made.keys()
    own = {**spec.vars, MADE_FROM: made_from(given)}
    new = replace(spec, mlaas4hep=None, vars=own, **{name: _typed(name, value) for name, value in keys.items()})
    recorded = {**config, **keys, "mlaas4hep": None, "vars": own}
    return new, recorded


def listed_files(spec: PreprocessSpec) -> tuple[Params, Labelling, Listed]:
    """What params.json and labels.txt say, and the files of files.txt, each opened once."""
    given = spec.mlaas4hep
    assert given is not None
    params = Params.load(given.params)
    lines = read_files(given.files)
    labelling = read_labels(given.labels, lines) if spec.for_training else Labelling()
    access = replace(spec.access, redirector=spec.redirector or params.redirector)
    if given.dtype is not None and given.dtype != "avro" and spec.format == "auto":
        access = replace(access, format=given.dtype)
    return params, labelling, open_listed(lines, labelling.of_line, _folder(given.files), params.branch, access)


def made_from(given: Mlaas4hepFiles) -> dict[str, Any]:
    """What stands in MLaaS4HEP's files, as far as the skims depend on it; of code and specs a hash."""
    lines = read_files(given.files)
    params = {} if given.params is None else load_json(given.params, "params")
    labelling = read_labels(given.labels, lines)
    return {
        "files": lines,
        "labels": labelling.column if labelling.of_line is None else list(labelling.of_line),
        "params": {name: value for name, value in params.items() if name not in CARRIED},
        "preproc": _hash(given.preproc),
        "preproc_vectorised": given.preproc_vectorised,
        "specs": _hash(given.specs),
        "dtype": given.dtype,
    }


def _hash(path: str | None) -> str | None:
    """Of a file's content; of one that is not there, which is said elsewhere, its name."""
    if path is None:
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else path


def _typed(name: str, value: Any) -> Any:
    """A value of a config as the spec holds it."""
    if name == "input_samples":
        return tuple(Sample.from_config(sample, name) for sample in value)
    if name == "minmax":
        return MinMaxSpec(**value)
    if name == "chunk_transform":
        return None if value is None else Factory.from_config(value, name)
    if name == "input_files":
        return {sample: tuple(paths) for sample, paths in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _folder(files: Any) -> str:
    """What relative paths of the list count from."""
    if isinstance(files, str) and Path(files).is_file() and read_files(files) != [files]:
        return str(Path(files).parent)
    return "."


@dataclass(frozen=True)
class _Made:
    """The keys that MLaaS4HEP's files amount to."""

    spec: PreprocessSpec
    given: Mlaas4hepFiles
    params: Params
    listed: Listed
    labelling: Labelling

    def keys(self) -> dict[str, Any]:
        """Key → plain value."""
        spec, params = self.spec, self.params
        transform, preprocessing = self._preproc()
        nevts = spec.nevts if spec.nevts != -1 else params.nevts
        if not spec.for_training:
            nevts = -1
        drawn = drawn_entries([file.n_entries for file in self.listed.files], nevts)
        new_variables = {**spec.new_variables, **preprocessing.new_variables}
        assert isinstance(spec.chunk_size, ChunkSize)
        work = Work(self.listed, drawn, transform, new_variables, preprocessing.cut, spec.chunk_size)
        types = self._types(work)
        if transform is not None:
            transform = RecordPreprocessing(transform.file, transform.uses, types, transform.is_vectorised)
            work = replace(work, transform=transform)
        label = self.labelling.column
        if label is not None:
            require_label(label, [*types, *new_variables], self.listed.noun)
        if params.identifier_given:
            require_names(params.identifier, self.listed.columns, "identifier")
        vector = event_vector(types, params, preprocessing, label)
        specs, labels = first_pass(work, vector.flat, vector.jagged, label, with_specs=self.given.specs is None)
        path, specs = self._specs(specs, vector, preprocessing.cut is not None)
        samples, paths = self._samples(labels, preprocessing.cut)
        identifiers = params.identifier if params.identifier_given else matching(params.identifier, types)
        return {
            "input_path": self.listed.folder,
            "input_files": paths,
            "input_tree_name": params.branch,
            "input_samples": samples,
            "format": self.listed.access.format,
            "redirector": self.listed.access.redirector,
            "cont_features": list(vector.flat),
            "padded_features": vector.padded(specs, path),
            "new_variables": new_variables,
            "misc_features": list(dict.fromkeys([*(spec.misc_features or ()), *identifiers])),
            "identity": list(params.identifier) if params.identifier_given else _plain_identity(spec),
            "minmax": {"specs": path},
            "nevts": nevts,
            "order": self._order(),
            "mixing_chunk": params.chunk_size,
            "chunk_transform": None if transform is None else _transform_config(transform),
            "train_params": {**params.carried, **spec.train_params},
        }

    def _order(self) -> str:
        if not self.spec.for_training or self.spec.order != "input":
            return self.spec.order
        return "shuffled" if self.params.shuffle else "mixed"

    def _preproc(self) -> tuple[RecordPreprocessing | None, Preprocessing]:
        """What `preproc` names: a file with a function, or a JSON file."""
        name = self.given.preproc
        if name is None:
            return None, Preprocessing()
        if not name.endswith(".py"):
            return None, Preprocessing.load(name)
        return record_preprocessing(self.listed, name, self.given.preproc_vectorised), Preprocessing()

    def _types(self, work: Work) -> dict[str, str]:
        """Column → type; after a user's function, those that it gives for the first events."""
        if work.transform is None:
            return {info.name: info.type for info in self.listed.columns.values() if info.unreadable is None}
        transform = work.transform
        assert isinstance(transform, RecordPreprocessing)
        for file, n_drawn in zip(self.listed.files, work.drawn, strict=True):
            if not n_drawn:
                continue
            with self.listed.open(file) as reader:
                for chunk in reader.chunks(transform.uses, ChunkSize(_PEEKED), 0, min(n_drawn, _PEEKED)):
                    return column_types(transform(chunk, reader.where))
        raise ConfigError("there are no events", where="files", remedy="List files with events.")

    def _specs(self, collected: GlobalSpecs | None, vector: Vector, is_cut: bool) -> tuple[str, GlobalSpecs]:
        """The specs and their file: given, or written now."""
        if collected is None:
            path = str(self.given.specs)
            specs = GlobalSpecs.load(path)
            counts = "none" if not self.spec.for_training else "below" if is_cut else "equal"
            check_specs(specs, vector, self.listed, path, counts=counts)
            return path, specs
        target = Path(self.spec.output_path) / FILE_NAME
        text = json.dumps(collected.to_dict(), indent=1) + "\n"
        if not target.is_file() or target.read_text() != text:
            with atomic_output(target, overwrite=self.spec.overwrite is True) as part:
                part.write_text(text)
        return str(target), collected

    def _samples(self, labels: tuple[Any, ...], cut: str | None) -> tuple[list[Any], dict[str, list[str]]]:
        """Samples as a config has them, and the files of each."""
        listed = self.listed
        if not self.spec.for_training:
            paths = listed.sample_names()
            return [{name: {name: {"cut": cut}}} for name in paths], paths
        if self.labelling.of_line is not None:
            classes = classes_of(self.labelling.of_line)
            paths = {}
            for file in listed.files:
                paths.setdefault(str(file.label), []).append(file.path)
            return [{name: {name: {"cut": cut, "class": classes[name]}}} for name in paths], paths
        paths = {ALL: listed.paths}
        column = self.labelling.column
        if column is None:
            return [{ALL: {ALL: {"cut": cut, "class": 0}}}], paths
        classes = classes_of(labels)
        processes = {}
        for label in classes:
            value = int(label) if isinstance(label, float) and label.is_integer() else label
            condition = f"branch({json.dumps(column)}) == {value!r}"
            processes[str(value)] = {
                "cut": condition if cut is None else f"({condition}) & {cut}",
                "class": classes[label],
            }
        return [{ALL: processes}], paths


def _plain_identity(spec: PreprocessSpec) -> Any:
    return spec.identity if isinstance(spec.identity, str) else list(spec.identity)


def _transform_config(transform: RecordPreprocessing) -> dict[str, Any]:
    return {
        "_target_": f"{RecordPreprocessing.__module__}.{RecordPreprocessing.__qualname__}",
        "file": transform.file,
        "uses": list(transform.uses),
        "types": dict(transform.types or {}),
        "vectorised": transform.is_vectorised,
        "digest": file_digest(transform.file),
    }
