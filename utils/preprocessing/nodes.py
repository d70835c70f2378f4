"""The output nodes of one pass: their skims, what they count, and the columns that are only known at the end."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError
from utils.events import Column
from utils.preprocessing.images import dense
from utils.preprocessing.jagged import value_dtype
from utils.preprocessing.ordering import RowOrder, ordered_blocks
from utils.preprocessing.selection import Rows
from utils.preprocessing.spec import CLASS_WEIGHT_COLUMNS, PreprocessSpec, Sample
from utils.readers.skim import SkimFile
from utils.writers.jagged import ImageLayout
from utils.writers.skim import SkimSchema, SkimWriter

FILL_ROWS = 500_000
STORED_BYTES = 100_000_000
ORIGIN: dict[str, np.dtype[Any]] = {
    "file_index": np.dtype(np.int32),
    "entry": np.dtype(np.int64),
    "identity": np.dtype(np.uint64),
}


def output_file(spec: PreprocessSpec, node: str) -> Path:
    """The skim of a node: `train`, `test`, or a sample's name."""
    return Path(spec.output_path) / f"{spec.output_filename_template.format(sample_name=node)}.h5"


class OutputNodes:
    """The skims that one pass fills, side by side.

    Parameters
    ----------
    spec : the config.
    names : of the nodes.
    stack : closes the writers; what it closes without an error is put in place.
    folder : for skims that are only a part, named by number; None: the outputs themselves.
    durable : as for :func:`atomic_output`.
    order : of the rows in the end; None: as they come.
    """

    def __init__(
        self,
        spec: PreprocessSpec,
        names: tuple[str, ...],
        stack: ExitStack,
        folder: Path | None = None,
        order: RowOrder | None = None,
        durable: bool = True,
    ) -> None:
        self.spec = spec
        self.names = names
        self.paths = {
            node: output_file(spec, node) if folder is None else folder / f"{i}.h5" for i, node in enumerate(names)
        }
        self.class_counts = {node: np.zeros(spec.n_classes, np.int64) for node in names}
        self._stack = stack
        self._order = order
        self._durable = durable
        self._writers: dict[str, SkimWriter] = {}

    @property
    def n_rows(self) -> dict[str, int]:
        """node → events."""
        return {node: writer.n_rows for node, writer in self._writers.items()}

    def prepare(self, rows: Rows, where: str) -> None:
        """Open the skims with the types of the first chunk; later chunks must fit into them."""
        if not self._writers:
            self._misc = self._misc_types(rows)
            self._jagged = _jagged_types(rows)
            schema = self._schema()
            for node, path in self.paths.items():
                writer = (
                    self._writer(path, schema)
                    if self._order is None
                    else SkimWriter(path.with_name(f".{path.stem}.unordered.h5"), schema, overwrite=True, durable=False)
                )
                self._writers[node] = self._stack.enter_context(writer)
        for name, dtype in self._misc.items():
            if name in rows.columns and not np.can_cast(rows.columns[name].dtype, dtype, "safe"):
                raise _other_type(name, rows.columns[name].dtype, dtype, where)
        for group, types in _jagged_types(rows).items():
            for name, dtype in types.items():
                if not np.can_cast(dtype, self._jagged[group][name], "safe"):
                    raise _other_type(name, dtype, self._jagged[group][name], where)

    def _writer(self, path: Path, schema: SkimSchema) -> SkimWriter:
        return SkimWriter(
            path,
            schema,
            compression=self.spec.compression,
            overwrite=self.spec.overwrite is True,
            durable=self._durable,
        )

    def _misc_types(self, rows: Rows) -> dict[str, np.dtype[Any]]:
        types = {name: values.dtype for name, values in rows.columns.items()}
        types.update({name: np.dtype(np.float64) for name in CLASS_WEIGHT_COLUMNS})
        return {name: types[name] for name in self.spec.misc_columns}

    def _schema(self) -> SkimSchema:
        spec = self.spec
        names = [process.name.encode() for sample in spec.input_samples for process in sample.processes]
        targets: dict[str, np.dtype[Any]] = {"group_name": np.dtype(f"S{max(map(len, names))}")}
        if spec.for_training:
            targets["target"] = np.dtype(np.int64)
        return SkimSchema(
            {
                "cont_features": {name: np.dtype(np.float32) for name in spec.cont_columns},
                "cat_features": {name: np.dtype(np.int32) for name in spec.cat_features or ()},
                "misc_features": self._misc,
                "targets": targets,
                "origin": ORIGIN,
            },
            self._jagged,
            {name: ImageLayout(i.shape, tuple(i.channels), i.storage) for name, i in spec.images.items()},
        )

    def append(self, node: str, file_index: int, sample: Sample, rows: Rows) -> None:
        """Add rows of one file to a node; class weights are filled in later."""
        n_rows = len(rows)
        group_names = np.array([process.name.encode() for process in sample.processes])
        targets: dict[str, Column] = {"group_name": group_names[rows.process_R]}
        if self.spec.for_training:
            classes = np.array([process.target for process in sample.processes], np.int64)
            targets["target"] = classes[rows.process_R]
            self.class_counts[node] += np.bincount(targets["target"], minlength=self.spec.n_classes)
        unknown_yet = np.zeros(n_rows)
        self._writers[node].append(
            {
                "cont_features": rows.cont_RF,
                "cat_features": {name: rows.columns[name] for name in self.spec.cat_features or ()},
                "misc_features": {name: rows.columns.get(name, unknown_yet) for name in self._misc},
                "targets": targets,
                "origin": {
                    "file_index": np.full(n_rows, file_index, np.int32),
                    "entry": rows.entry_R,
                    "identity": rows.identity_R,
                },
                **{f"jagged/{name}": columns for name, columns in rows.jagged.items()},
                **{f"images/{name}": self._image(name, columns) for name, columns in rows.images.items()},
            }
        )

    def _image(self, name: str, columns: Mapping[str, Any]) -> Any:
        image = self.spec.images[name]
        return dense(image, columns) if image.storage == "dense" else columns

    def append_block(self, node: str, block: Mapping[str, Any]) -> None:
        """Add rows of a part of the same node, as they are."""
        if self.spec.for_training:
            self.class_counts[node] += np.bincount(block["targets"]["target"], minlength=self.spec.n_classes)
        self._writers[node].append(block)

    def fill_class_weights(self, class_sum_w: NDArray[np.float64]) -> None:
        """Fill `w_class_imbalance` = N / N_class of the node, `class_weight` = Σw / Σw_class of all nodes, signed, and
        `w_cp` = |w| · class_weight, where the config lists them.
        """
        wanted = [name for name in CLASS_WEIGHT_COLUMNS if name in self._misc]
        if not wanted:
            return
        if "class_weight" in wanted or "w_cp" in wanted:
            for name in [name for name, sum_w in zip(self.spec.class_names, class_sum_w, strict=True) if sum_w == 0]:
                raise DataError(
                    f"the weights of class {name} sum to zero, so it has no class_weight",
                    where=f"weight {self.spec.weight_name}",
                    remedy="Take class_weight and w_cp out, or the class.",
                )
        class_weight = class_sum_w.sum() / np.where(class_sum_w == 0, 1.0, class_sum_w)
        for node, writer in self._writers.items():
            imbalance = self.class_counts[node].sum() / np.maximum(self.class_counts[node], 1)
            for start in range(0, writer.n_rows, FILL_ROWS):
                target_R = writer.read("targets", "target", start, start + FILL_ROWS)
                values = {"w_class_imbalance": imbalance[target_R], "class_weight": class_weight[target_R]}
                if "w_cp" in wanted:
                    weight_R = writer.read(self._weight_group, str(self.spec.weight_name), start, start + FILL_ROWS)
                    values["w_cp"] = np.abs(weight_R) * values["class_weight"]
                for name in wanted:
                    writer.fill("misc_features", name, start, values[name])

    @property
    def _weight_group(self) -> str:
        if self.spec.weight_name in self._misc:
            return "misc_features"
        return "cont_features" if self.spec.weight_name in self.spec.cont_columns else "cat_features"

    def stored(self, node: str) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
        """What a node holds so far, per file: (file index, entries, continuous features)."""
        writer = self._writers[node]
        n_rows = max(1, min(FILL_ROWS, STORED_BYTES // (4 * max(1, len(self.spec.cont_columns)))))
        for start in range(0, writer.n_rows, n_rows):
            stop = start + n_rows
            file_R = writer.read("origin", "file_index", start, stop)
            entry_R = writer.read("origin", "entry", start, stop)
            cont_RF = writer.read_matrix("cont_features", start, stop)
            for index in np.unique(file_R):
                of_file = file_R == index
                yield int(index), entry_R[of_file], cont_RF[of_file]

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Store the metadata in every skim, with what is the node's own."""
        for node, writer in self._writers.items():
            counts = self.class_counts[node].tolist()
            own = {**metadata, "node": node, "n_rows": writer.n_rows, "class_counts": counts}
            writer.finish(own)
            if self._order is not None:
                self._put_in_order(self._order, self.paths[node], writer, own)

    def _put_in_order(self, order: RowOrder, path: Path, unordered: SkimWriter, metadata: Mapping[str, Any]) -> None:
        """Write the skim once more, its rows in order."""
        try:
            unordered.close()
            writer = self._stack.enter_context(self._writer(path, unordered.schema))
            with SkimFile(unordered.path) as rows:
                for block in ordered_blocks([rows], order, unordered.schema, path.parent):
                    writer.append(block)
            writer.finish(metadata)
        finally:
            unordered.path.unlink(missing_ok=True)


def _jagged_types(rows: Rows) -> dict[str, dict[str, np.dtype[Any]]]:
    """Group → column → type of its values."""
    return {
        group: {name: value_dtype(values) for name, values in columns.items()} for group, columns in rows.jagged.items()
    }


def _other_type(name: str, dtype: np.dtype[Any], first: np.dtype[Any], where: str) -> DataError:
    return DataError(
        f"branch '{name}' is {dtype} here, but {first} in the first file",
        where=where,
        remedy="Convert it in new_variables, or produce the files alike.",
    )
