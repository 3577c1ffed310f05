"""Tables with a row for each sample: parquet files, data sets of Hugging Face, frames, loaders."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from tutelage.exceptions import TaskError
from tutelage.lazy import extra

SPLITS = {"train": ("train",), "test": ("test", "validation", "valid", "dev")}
_NAMED = 3  # tasks of a folder
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle"}


class Table(Protocol):
    """Rows that lie somewhere, and are read as an Arrow table."""

    @property
    def where(self) -> str:
        """What errors call it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns."""

    @property
    def n(self) -> int:
        """Its rows."""

    def arrow(self, names: Sequence[str], start: int, stop: int) -> Any:
        """Some columns of some rows, as a `pyarrow.Table`."""


@dataclass(frozen=True)
class Parquet:
    """Parquet files one after another, read row group by row group; picklable, for a cluster."""

    paths: tuple[Path, ...]

    @property
    def where(self) -> str:
        """See `Table`."""
        return str(self.paths[0] if len(self.paths) == 1 else self.paths[0].parent)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """See `Table`."""
        return tuple(self._files[0].schema_arrow.names)

    @property
    def n(self) -> int:
        """See `Table`."""
        return self._groups[-1][-1]

    def arrow(self, names: Sequence[str], start: int, stop: int) -> Any:
        """See `Table`."""
        pa = lib()

        wanted = [g for g in self._groups if g[2] < stop and g[3] > start] or self._groups[:1]
        try:
            read = [self._files[f].read_row_group(k, columns=list(names)) for f, k, *_ in wanted]
        except (OSError, ValueError) as error:
            raise _unreadable(self.where, error) from error
        begin = max(0, start - wanted[0][2])
        return pa.concat_tables(read).slice(begin, max(0, stop - start))

    @cached_property
    def _files(self) -> list[Any]:
        try:
            return [lib("parquet").ParquetFile(path) for path in self.paths]
        except (OSError, ValueError) as error:
            raise _unreadable(self.where, error) from error

    @cached_property
    def _groups(self) -> list[tuple[int, int, int, int]]:
        """File, number, first row and the one after the last of every row group."""
        found, first = [], 0
        for f, file in enumerate(self._files):
            for k in range(file.num_row_groups):
                rows = file.metadata.row_group(k).num_rows
                found.append((f, k, first, first + rows))
                first += rows
        return found or [(0, 0, 0, 0)]

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths}


@dataclass(frozen=True)
class Frame:
    """An Arrow table in memory."""

    table: Any
    where: str = "The table"

    @property
    def names(self) -> tuple[str, ...]:
        """See `Table`."""
        return tuple(self.table.column_names)

    @property
    def n(self) -> int:
        """See `Table`."""
        return int(self.table.num_rows)

    def arrow(self, names: Sequence[str], start: int, stop: int) -> Any:
        """See `Table`."""
        return self.table.select(list(names)).slice(start, stop - start)


@dataclass(frozen=True)
class HubDataset:
    """A `datasets.Dataset`, whose rows stay on disk until they are read."""

    data: Any
    where: str = "The data set"

    @property
    def names(self) -> tuple[str, ...]:
        """See `Table`."""
        return tuple(self.data.column_names)

    @property
    def n(self) -> int:
        """See `Table`."""
        return len(self.data)

    def arrow(self, names: Sequence[str], start: int, stop: int) -> Any:
        """See `Table`."""
        return self.data.select_columns(list(names)).with_format("arrow")[start:stop]


def tables_of(data: Any, test: Any = None) -> dict[str, Table]:
    """Give the pool, and the test part if there is one, of what a person has in memory.

    Parameters
    ----------
    data : datasets.Dataset or DatasetDict, pyarrow.Table, frame of pandas or Polars, mapping of
        arrays, or DataLoader
    test : the same, optional

    Raises
    ------
    TaskError
        If it is none of these.
    """
    kind = type(data).__name__
    if kind == "DatasetDict":
        if test is not None:
            raise TaskError("A DatasetDict has its own test part; give one of the two.")
        return {part: HubDataset(data[name]) for part, name in _splits(list(data)).items()}
    return {
        part: _table_of(value, part)
        for part, value in (("train", data), ("test", test))
        if value is not None
    }


def _table_of(data: Any, part: str) -> Table:
    module = type(data).__module__.partition(".")[0]
    said = {"train": "The pool", "test": "The test part"}[part]
    if module == "datasets" and hasattr(data, "column_names") and hasattr(data, "select_columns"):
        if not hasattr(data, "__len__"):
            raise TaskError(
                f"{said} is an IterableDataset, whose rows have no numbers; give a Dataset, such as"
                " datasets.Dataset.from_generator makes of it."
            )
        return HubDataset(data, said)
    if module == "pyarrow":
        return Frame(data, said)
    if module == "polars":
        return Frame(data.to_arrow(), said)
    if module == "pandas":
        return Frame(lib().Table.from_pandas(data, preserve_index=False), said)
    if isinstance(data, Mapping):
        return Frame(lib().table({k: _column_of(v) for k, v in data.items()}), said)
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        return Frame(_of_batches(data, said), said)
    raise TaskError(
        f"{said} is a {type(data).__name__}; expected a datasets.Dataset, a table of pyarrow,"
        " pandas or Polars, a mapping of arrays, or a DataLoader."
    )


def _column_of(value: Any) -> Any:
    """An array as a column, of lists where it has more than one axis."""
    pa = lib()
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype.is_floating_point and value.itemsize < 4 else value
    found = value if isinstance(value, list | tuple) else np.asarray(value)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf" or found.ndim == 1:
        return pa.array(found)
    flat = pa.array(np.ascontiguousarray(found).reshape(-1))
    for size in found.shape[:0:-1]:
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat


def _of_batches(loader: Iterable[Any], said: str) -> Any:
    """Batches of a DataLoader: dicts, or tuples of inputs and of what else is known."""
    pa, parts = lib(), []
    for batch in loader:
        named = batch if isinstance(batch, Mapping) else _named(batch, said)
        parts.append(pa.table({name: _column_of(value) for name, value in named.items()}))
    if not parts:
        raise TaskError(f"{said} is a DataLoader without batches.")
    return pa.concat_tables(parts, promote_options="permissive")


def _named(batch: Any, said: str) -> dict[str, Any]:
    """A tuple's tensors by what they are: whole numbers are labels, rows of others logits."""
    if isinstance(batch, Tensor) or not isinstance(batch, list | tuple) or len(batch) < 2:
        raise TaskError(
            f"{said} is a DataLoader whose batches are {type(batch).__name__}; expected dicts, or"
            " tuples of inputs, labels and teacher logits."
        )
    inputs, *others = batch
    found = dict(inputs) if isinstance(inputs, Mapping) else {"x": inputs}
    for tensor in map(np.asarray, others):
        name = role_of(tensor)
        if name in found:
            raise TaskError(
                f"{said} is a DataLoader with two tensors that could be {name}; give batches that"
                " are dicts, with names."
            )
        found[name] = tensor
    return found


def role_of(values: Any) -> str:
    """What a batch's tensor or array beside its inputs is, by its numbers."""
    whole = values.dtype.kind in "iub" if isinstance(values, np.ndarray) else not (
        values.is_floating_point()
    )  # fmt: skip
    return "labels" if whole else "teacher_logits"


def is_table(path: Path) -> bool:
    """Whether tables lie there, rather than a task file."""
    try:
        is_file = path.suffix == ".parquet" and path.is_file()
        return is_file or (path.is_dir() and _holds_tables(path))
    except OSError:  # no name of a file
        return False


def _holds_tables(folder: Path) -> bool:
    marks = ("dataset_dict.json", "state.json")
    inside = [folder, *(folder / name for names in SPLITS.values() for name in names)]
    return any((place / mark).exists() for place in inside for mark in marks) or any(
        next(place.glob("*.parquet"), None) for place in [*inside, folder / "data"]
    )


def tables_at(path: Path) -> dict[str, Table]:
    """Give the pool, and the test part if there is one, of a parquet file, a folder of them, or
    what `save_to_disk` wrote.

    Raises
    ------
    TaskError
        If there is no pool there.
    """
    try:
        return _tables_at(path)
    except (OSError, ValueError) as error:
        if isinstance(error, TaskError):
            raise
        raise _unreadable(str(path), error) from error


def _tables_at(path: Path) -> dict[str, Table]:
    if path.is_file():
        return {"train": Parquet((path,))}
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        found = extra("datasets", f"{path} needs datasets", "data").load_from_disk(str(path))
        one = not isinstance(found, Mapping)
        splits = {"train": found} if one else {
            part: found[name] for part, name in _splits(list(found), path).items()
        }  # fmt: skip
        return {part: HubDataset(data, str(path)) for part, data in splits.items()}
    folders = [p.name for p in path.iterdir() if p.is_dir() and _holds_tables(p)]
    if any(name in names for names in SPLITS.values() for name in folders):
        return {
            part: _tables_at(path / name)["train"] for part, name in _splits(folders, path).items()
        }
    files = sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))
    if not files:
        raise TaskError(f"{path} holds no parquet files and nothing that save_to_disk wrote.")
    by_split = {file: file.stem.partition("-")[0] for file in files}
    known = {name for names in SPLITS.values() for name in names}
    if not set(by_split.values()) & known:
        return {"train": Parquet(tuple(files))}
    return {
        part: Parquet(tuple(file for file, split in by_split.items() if split == name))
        for part, name in _splits(sorted(set(by_split.values())), path).items()
    }


def _unreadable(where: str, error: Exception) -> TaskError:
    return TaskError(
        f"{where} cannot be read; it is truncated, corrupted, or not what its name says. Write it"
        f" again ({error})."
    )


def _splits(there: list[str], path: Path | None = None) -> dict[str, str]:
    """Which split is the pool, and which the test part."""
    found = {
        part: next((name for name in names if name in there), None)
        for part, names in SPLITS.items()
    }
    if found["train"] is None:
        where = "The DatasetDict" if path is None else str(path)
        raise TaskError(
            f"{where} has the splits {', '.join(sorted(there))}; expected train, which is the pool,"
            f" and for the test part one of {', '.join(SPLITS['test'])}."
        )
    return {part: name for part, name in found.items() if name is not None}


def check_folder(path: Path) -> None:
    """Refuse a folder that holds pickles, a script or several tasks in place of a task.

    Raises
    ------
    TaskError
        If it does.
    """
    tasks = sorted(p.name for p in path.iterdir() if p.suffix in (".npz", ".safetensors"))
    if tasks:
        raise TaskError(
            f"{path} is a folder with {', '.join(tasks[:_NAMED])}; expected one task. Name the"
            " file."
        )
    pickled = sorted(p.name for p in path.iterdir() if p.suffix in _PICKLES)
    if pickled:
        raise TaskError(
            f"{path} holds {pickled[0]}, pickled Python objects, which can run code when they are"
            " loaded and so are never read; save arrays as .npy, .safetensors or parquet."
        )
    scripts = sorted(p.name for p in path.glob("*.py"))
    if scripts:
        raise TaskError(
            f"{path} is a data set that is a script ({scripts[0]}), which is never run; load it"
            " yourself, and write it with save_to_disk or to_parquet."
        )


def column(values: Any, name: str, where: str, start: int = 0) -> np.ndarray:
    """A column of numbers, of lists of equal lengths (of lists, …), or of images, as one array.

    Raises
    ------
    TaskError
        If values are missing, of different shapes, or no numbers.
    """
    pa = lib()
    pc = lib("compute")

    values, shape = values.combine_chunks(), [len(values)]
    while True:
        if isinstance(values, pa.ExtensionArray):  # Array2D and the like of Hugging Face
            values = values.storage
        if values.null_count:
            missing = np.flatnonzero(np.asarray(values.is_null()))[0] // max(
                1, int(np.prod(shape[1:]))
            )
            raise TaskError(
                f"{name} has no value in sample {missing + start}; expected numbers for every"
                " sample."
            )
        if _encoded(values.type):
            return _images(values, name, where, start)
        if not hasattr(values.type, "value_type") or pa.types.is_dictionary(values.type):
            break
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(lengths) > 1:
            raise TaskError(
                f"{name} holds lists of {min(lengths)} to {max(lengths)} values; expected as many"
                " for every sample. Pad or cut them."
            )
        shape.append(lengths[0] if lengths else 0)
        values = values.flatten()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    # Arrow's own cannot be written to.
    return np.array(values.to_numpy(zero_copy_only=False)).reshape(shape)


def _encoded(kind: Any) -> bool:
    """Whether a column holds files of images, as bytes or as `datasets.Image` has them."""
    pa = lib()

    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return bool(binary or struct)


def _images(values: Any, name: str, where: str, start: int) -> np.ndarray:
    """Decode files of images, to (n, H, W, C)."""
    pa = lib()

    reader = extra("PIL.Image", "Images in files need pillow", "data")
    files = values.field("bytes") if pa.types.is_struct(values.type) else values
    found: list[np.ndarray] = []
    for i, content in enumerate(files.to_pylist()):
        if content is None:
            raise TaskError(
                f"{name} of {where} names a file of sample {i + start} and does not hold it; write"
                " the data set with its images in it (datasets: embed_external_files)."
            )
        try:
            with reader.open(io.BytesIO(content)) as image:
                grey = image.mode in ("1", "L", "I;16", "I", "F")
                one = np.asarray(image if grey else image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise TaskError(
                f"{name} of {where} holds in sample {i + start} no image that can be read"
                f" ({error}); expected PNG or JPEG."
            ) from error
        one = one.astype(np.uint8) if one.dtype == bool else one
        found.append(one if one.ndim == 3 else one[..., None])
        if found[-1].shape != found[0].shape:
            sizes = [" × ".join(map(str, image.shape)) for image in (found[0], found[-1])]
            raise TaskError(
                f"{name} of {where} holds images of different sizes ({sizes[0]} in sample {start},"
                f" {sizes[1]} in sample {i + start}); bring them to one size and one mode."
            )
    return np.stack(found)


def lib(part: str = "") -> Any:
    """Give pyarrow, or a part of it, when it is used."""
    return extra(f"pyarrow.{part}".rstrip("."), "A table needs pyarrow", "data")
