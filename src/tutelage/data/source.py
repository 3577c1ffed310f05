"""Tasks that are read in chunks: folders of .npy files, zarr groups, parquet files."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tutelage.data import checks as check
from tutelage.data.inputs import Shape
from tutelage.data.preprocessing import channels_first, tensor_of
from tutelage.data.task import Task, Taught
from tutelage.exceptions import TaskError, nearest
from tutelage.lazy import extra

POOL = ("x_train", "teacher_logits_train", "y_train")
TEST = ("x_test", "teacher_logits_test", "y_test")
Rows = tuple[np.ndarray, np.ndarray, np.ndarray | None]
_READ = 8192  # samples at a time
_LEAST, _FIRST = 100, 1024  # samples of a stream, and those that are looked at as a task's are


class Stored(Protocol):
    """Samples in a random order that is theirs, read from where they lie; picklable, for a
    cluster.
    """

    @property
    def path(self) -> Path:
        """Where they lie."""

    @property
    def n(self) -> int:
        """Samples of the pool."""

    def rows(self, names: Sequence[str], start: int, stop: int | None) -> list[Any]:
        """Arrays by name, of some samples; None for those that are not there."""


@dataclass(frozen=True)
class Source:
    """Chunks of a task that have passed a task's checks; picklable, for a cluster."""

    stored: Stored
    image_layout: str

    @property
    def n(self) -> int:
        """Samples of the pool."""
        return self.stored.n

    def rows(self, start: int, stop: int) -> Rows:
        """Inputs (images channels first), teacher logits, and labels if there are any.

        Raises
        ------
        TaskError
            If they are not what a task has.
        """
        return self._checked(POOL, start, stop)

    def test(self) -> Rows | None:
        """The test part, if there is one; its samples are counted on their own."""
        x, z, _ = self.stored.rows(TEST, 0, 1)
        if x is not None and z is None:
            raise TaskError(
                f"{self.stored.path} has x_test and no teacher_logits_test; the test part of a pool"
                " that is read in parts needs both. Give them, or leave x_test out."
            )
        return None if x is None else self._checked(TEST, 0, None)

    def check(self) -> None:
        """Look at the first samples as a task does at all of its own.

        Raises
        ------
        TaskError
            If they are no task's.
        """
        x, z, y = self.stored.rows(POOL, 0, _FIRST)
        check.inputs(x, POOL[0])
        logits = check.teacher_logits(z, POOL[1], len(x), None)
        if y is not None:
            check.labels(y, POOL[2], len(x), _classes(logits))

    def _checked(self, names: Sequence[str], start: int, stop: int | None) -> Rows:
        try:
            x, z, y = self.stored.rows(names, start, stop)
        except (OSError, ValueError, IndexError) as error:
            if isinstance(error, TaskError):
                raise
            raise TaskError(f"{self.stored.path} cannot be read as a stream ({error}).") from error
        inputs = check.features(x, names[0], start)
        logits = check.scores(z, names[1], len(inputs), start=start)
        labels = (
            None if y is None else check.labels(y, names[2], len(inputs), _classes(logits), start)
        )
        return channels_first(tensor_of(inputs), self.image_layout).numpy(), logits, labels


def _classes(logits: np.ndarray) -> int:
    return 2 if logits.ndim == 1 else logits.shape[1]


@dataclass(frozen=True)
class Arrays:
    """Arrays that can be sliced: .npy files mapped into memory, or a zarr group."""

    path: Path
    zarr: bool

    @property
    def n(self) -> int:
        """See `Stored`."""
        return int(self._array("x_train").shape[0])

    def rows(self, names: Sequence[str], start: int, stop: int | None) -> list[Any]:
        """See `Stored`."""
        return [
            np.array(self._array(name)[start:stop]) if self.has(name) else None for name in names
        ]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the arrays that are there."""
        return {name: tuple(self._array(name).shape) for name in POOL + TEST if self.has(name)}

    @property
    def image_layout(self) -> str | None:
        """That it says it has."""
        return (
            str(np.asarray(self._array("image_layout")[()])) if self.has("image_layout") else None
        )

    def has(self, name: str) -> bool:
        """Whether an array is there."""
        return (self.path / (name if self.zarr else f"{name}.npy")).exists()

    def _array(self, name: str) -> Any:
        if self.zarr:
            return _zarr().open_array(str(self.path / name), mode="r")
        return np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True)
class Parquet:
    """A parquet file with the columns x_train and teacher_logits_train (lists, or numbers) and
    y_train, row group by row group.
    """

    path: Path
    first: tuple[int, ...]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "Parquet":
        """Look at what the file says of itself."""
        file = _parquet().ParquetFile(path)
        counts = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        return cls(path, (0, *np.cumsum(counts).tolist()), tuple(file.schema_arrow.names))

    @property
    def n(self) -> int:
        """See `Stored`."""
        return self.first[-1]

    def rows(self, names: Sequence[str], start: int, stop: int | None) -> list[Any]:
        """See `Stored`."""
        stop = self.n if stop is None else stop
        groups = [
            k
            for k in range(len(self.first) - 1)
            if self.first[k] < stop and self.first[k + 1] > start
        ]
        known = [name for name in names if name in self.columns]
        table = _parquet().ParquetFile(self.path).read_row_groups(groups, columns=known)
        begin = start - self.first[groups[0]] if groups else 0
        part = table.slice(begin, stop - start)
        return [_column(part[name], name) if name in known else None for name in names]


def _column(column: Any, name: str) -> np.ndarray:
    """A column of numbers, or of lists of equal lengths (of lists, …), as one array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values, shape = column.combine_chunks(), [len(column)]
    while True:
        if isinstance(values, pa.ExtensionArray):  # Array2D and the like of Hugging Face
            values = values.storage
        if values.null_count:
            missing = np.flatnonzero(np.asarray(values.is_null()))[0] // max(
                1, int(np.prod(shape[1:]))
            )
            raise TaskError(
                f"{name} has no value in sample {missing} of what was read; expected numbers for"
                " every sample."
            )
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
    return np.array(values.to_numpy(zero_copy_only=False)).reshape(
        shape
    )  # Arrow's own cannot be written to


READERS: dict[str, Callable[[Path], Stored]] = {
    "": lambda path: Arrays(path, zarr=False),
    ".zarr": lambda path: Arrays(path, zarr=True),
    ".parquet": Parquet.of,
}
"""What reads files of an ending; a folder has none."""


def open_source(path: str | Path) -> Source:
    """Open a task that may be larger than memory.

    Parameters
    ----------
    path : str or Path
        A folder of .npy files or a zarr group (`.zarr`) with the keys of a task file, or a parquet
        file (`.parquet`) with the columns x_train, teacher_logits_train and, if there are labels,
        y_train. Rows lie in a random order. Images are channels last, unless the key image_layout
        says otherwise.

    Raises
    ------
    TaskError
        If it cannot be read so.
    MissingExtraError
        If what reads it is not installed.
    """
    path = Path(path).absolute()  # the workers of a cluster stand elsewhere
    try:
        reader = READERS.get(path.suffix)
        if not path.exists():
            raise TaskError(f"There is no pool at {path}{nearest(path.name, _siblings(path))}.")
        if reader is None or (path.suffix == "" and not path.is_dir()):
            raise TaskError(
                f"{path} cannot be streamed; expected a folder of .npy files, a zarr group (.zarr),"
                " or a parquet file (.parquet)."
            )
        stored = reader(path)
        missing = [
            key
            for key, part in zip(POOL, stored.rows(POOL[:2], 0, 1), strict=False)
            if part is None
        ]
        if missing:
            raise TaskError(f"{path} has no {missing[0]}; a stream needs {' and '.join(POOL[:2])}.")
        if isinstance(stored, Arrays):
            _check_shapes(path, stored.shapes)
        if stored.n < _LEAST:
            raise TaskError(f"{path} holds {stored.n} samples; a stream has {_LEAST} or more.")
        layout = stored.image_layout if isinstance(stored, Arrays) else None
        [x] = stored.rows(POOL[:1], 0, 1)
        source = Source(stored, check.image_layout(layout, f"{path}: image_layout", x))
        source.check()
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{path} cannot be read as a stream ({error}).") from error
    return source


def _siblings(path: Path) -> list[str]:
    return [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []


def _check_shapes(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    for names in (POOL, TEST):
        lengths = {name: shapes[name][0] if shapes[name] else 0 for name in names if name in shapes}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise TaskError(
                f"{path} holds arrays of different lengths ({said}); each sample needs one row in"
                " each."
            )
    for pool, test in zip(POOL[:2], TEST[:2], strict=True):
        if test in shapes and shapes[test][1:] != shapes[pool][1:]:
            raise TaskError(
                f"{path}: a sample of {test} has shape {shapes[test][1:]}, and one of"
                f" {pool} {shapes[pool][1:]}; they have to be alike."
            )


def _zarr() -> Any:
    return extra("zarr", "A zarr group needs zarr", "scale")


def _parquet() -> Any:
    return extra("pyarrow.parquet", "A parquet file needs pyarrow", "data")


def open_pool(path: str | Path, *, whole: bool = True) -> Task | Source:
    """Read a task, or open what is read in parts: a zarr group, a parquet file.

    Parameters
    ----------
    path : str or Path
    whole : bool
        Whether a folder of .npy files is read into memory.

    Raises
    ------
    TaskError
        If there is no such pool.
    """
    path = Path(path)
    streamed = path.suffix != "" and path.suffix in READERS
    in_parts = streamed or (not whole and path.is_dir())
    return open_source(path) if in_parts else Task.load(path)


class StreamTask(Taught):
    """A source as a task: its teacher logits and labels in memory, its inputs where they lie.

    Parameters
    ----------
    source : Source
    most : int
        Samples that are held out where the source has no test part.
    """

    def __init__(self, source: Source, most: int) -> None:
        self.test, self._n_train = held_out(source, most)
        cuts = range(0, self._n_train, _READ)
        parts = [source.rows(at, min(at + _READ, self._n_train)) for at in cuts]
        known = [y for *_, y in parts if y is not None]
        self.teacher_logits_train = np.concatenate([z for _, z, _ in parts])
        self.y_train = np.concatenate(known) if known else None
        self.teacher_epochs, (_, self.teacher_logits_test, self.y_test) = None, self.test
        self.stored, self.source = source, str(source.stored.path)
        self._first = parts[0][0]

    @property
    def n_train(self) -> int:
        """See `Taught`."""
        return self._n_train

    @property
    def n_test(self) -> int:
        """See `Taught`."""
        return len(self.test[0])

    @property
    def input_shape(self) -> Shape:
        """See `Taught`; channels first."""
        return tuple(self._first.shape[1:])

    @property
    def fingerprint(self) -> str:
        """Of logits, labels and the first inputs."""
        digest = hashlib.blake2b(digest_size=16)
        for value in (self._first, self.teacher_logits_train, self.y_train, *self.test):
            digest.update(b"" if value is None else np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()

    def image(self, index: int) -> np.ndarray | None:
        """See `Taught`."""
        x = self.stored.rows(index, index + 1)[0][0]
        return np.moveaxis(x, 0, -1) if x.ndim == 3 else x


def held_out(source: Source, most: int) -> tuple[Rows, int]:
    """Give the test part, or the stream's last samples where it has none, and how many samples are
    left.
    """
    test = source.test()
    if test is not None:
        return test, source.n
    count = min(most, source.n // 10)
    return source.rows(source.n - count, source.n), source.n - count
