"""Tasks that are read in chunks: folders of .npy files, zarr groups, tables."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tutelage.data import checks as check
from tutelage.data.columns import CHUNK, Given, rows_of
from tutelage.data.columns import Rows as TableRows
from tutelage.data.inputs import Shape, length
from tutelage.data.preprocessing import channels_first, tensor_of
from tutelage.data.tables import Table, is_table, tables_at
from tutelage.data.task import Task, Taught
from tutelage.exceptions import TaskError, nearest
from tutelage.lazy import extra

POOL = ("x_train", "teacher_logits_train", "y_train")
TEST = ("x_test", "teacher_logits_test", "y_test")
Rows = tuple[check.Arrays, np.ndarray, np.ndarray | None]
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
        known = check.inputs(x, POOL[0])
        logits = check.teacher_logits(z, POOL[1], length(known), None)
        if y is not None:
            check.labels(y, POOL[2], length(known), _classes(logits))

    def _checked(self, names: Sequence[str], start: int, stop: int | None) -> Rows:
        try:
            x, z, y = self.stored.rows(names, start, stop)
        except (OSError, ValueError, IndexError) as error:
            if isinstance(error, TaskError):
                raise
            raise TaskError(f"{self.stored.path} cannot be read as a stream ({error}).") from error
        inputs = {
            key.partition(".")[2]: self._laid(check.features(array, key, start))
            for key, array in check.named(x, names[0]).items()
        }
        n = length(inputs)
        logits = check.scores(z, names[1], n, start=start)
        labels = None if y is None else check.labels(y, names[2], n, _classes(logits), start)
        if names is TEST:
            check.labelled_test(labels)
        return (inputs if isinstance(x, Mapping) else inputs[""]), logits, labels

    def _laid(self, x: np.ndarray) -> np.ndarray:
        return channels_first(tensor_of(x), self.image_layout).numpy()


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
class Tables:
    """A pool, and perhaps a test part, that are tables; picklable where they are files."""

    path: Path
    tables: dict[str, Table]
    reader: TableRows
    columns: Given | None = None
    classes: int | None = None

    @classmethod
    def of(cls, path: Path, columns: Given | None = None, classes: int | None = None) -> "Tables":
        """Look at what the tables say of themselves."""
        tables = tables_at(path)
        return cls(path, tables, rows_of(tables, columns, classes), columns, classes)

    @property
    def n(self) -> int:
        """See `Stored`."""
        return self.tables["train"].n

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Of the classes, where labels are text."""
        return None if self.reader.names is None else tuple(self.reader.names)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done when they are read."""
        return tuple(self.reader.notes)

    def text(self, index: int) -> str | None:
        """What a sample of the pool says, where it is a text."""
        return self.reader.text(self.tables["train"], index)

    def rows(self, names: Sequence[str], start: int, stop: int | None) -> list[Any]:
        """See `Stored`."""
        part = "test" if names[0] in TEST else "train"
        table = self.tables.get(part)
        if table is None:
            return [None] * len(names)
        rows, stop = self.reader, table.n if stop is None else stop
        read = (rows.inputs, rows.teacher, rows.labels)
        return [one(table, start, stop) for one, _ in zip(read, names, strict=False)]


READERS: dict[str, Callable[[Path], Stored]] = {
    "": lambda path: Arrays(path, zarr=False),
    ".zarr": lambda path: Arrays(path, zarr=True),
}
"""What reads files of an ending, if they are no tables; a folder has none."""


def open_source(
    path: str | Path, *, columns: Given | None = None, classes: int | None = None
) -> Source:
    """Open a task that may be larger than memory.

    Parameters
    ----------
    path : str or Path
        A folder of .npy files or a zarr group (`.zarr`) with the keys of a task file; or a parquet
        file, a folder of them, or what `datasets` wrote with `save_to_disk`, see `Task.of`. Rows
        lie in a random order. Images are channels last, unless the key image_layout says
        otherwise.
    columns, classes
        Of tables, see `Task.of`.

    Raises
    ------
    TaskError
        If it cannot be read so.
    MissingExtraError
        If what reads it is not installed.

    Examples
    --------
    >>> import numpy as np, tempfile, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
    >>> y = (x[:, 0] > 0).astype(int)
    >>> arrays = {"x_train": x, "teacher_logits_train": x[:, 0], "y_train": y}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, array in arrays.items():
    ...         np.save(f"{folder}/{name}.npy", array)
    ...     source = open_source(folder)
    ...     tu.curves(source, "mlp:depth=1", soft_ratio=[1.0], features=20).attrs["features"]
    20
    """
    path = Path(path).absolute()  # the workers of a cluster stand elsewhere
    try:
        if not path.exists():
            raise TaskError(f"There is no pool at {path}{nearest(path.name, _siblings(path))}.")
        stored = _stored(path, columns, classes)
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


def _stored(path: Path, columns: Given | None, classes: int | None) -> Stored:
    if is_table(path):
        return Tables.of(path, columns, classes)
    reader = READERS.get(path.suffix)
    if reader is not None and (path.suffix or path.is_dir()):
        return reader(path)
    raise TaskError(
        f"{path} cannot be streamed; expected a folder of .npy files, a zarr group (.zarr), a"
        " parquet file or a folder of them, or what save_to_disk wrote."
    )


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


def open_pool(
    path: str | Path, *, whole: bool = True, columns: Given | None = None,
    classes: int | None = None,
) -> Task | Source:  # fmt: skip
    """Read a task, or open it to be read in parts, as zarr groups always are.

    Parameters
    ----------
    path : str or Path
    whole : bool
        Whether a folder of .npy files, or tables, are read into memory.
    columns, classes
        Of tables, see `Task.of`.

    Raises
    ------
    TaskError
        If there is no such pool.
    """
    path = Path(path)
    can_be = is_table(path) or path.is_dir()
    if in_parts(path) or (can_be and not whole):
        return open_source(path, columns=columns, classes=classes)
    return Task.load(path, columns=columns, classes=classes)


def in_parts(path: Path) -> bool:
    """Whether what lies there is always read in parts."""
    return path.suffix != "" and path.suffix in READERS


def streams(path: Path) -> bool:
    """Whether what lies there can be read in parts."""
    try:
        return in_parts(path) or is_table(path) or path.is_dir()
    except OSError:  # no name of a file
        return False


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
        cuts = range(0, self._n_train, CHUNK)
        parts = [source.rows(at, min(at + CHUNK, self._n_train)) for at in cuts]
        known = [y for *_, y in parts if y is not None]
        self.teacher_logits_train = np.concatenate([z for _, z, _ in parts])
        self.y_train = np.concatenate(known) if known else None
        self.teacher_epochs, (_, self.teacher_logits_test, self.y_test) = None, self.test
        self.stored, self.source = source, str(source.stored.path)
        self._tables = source.stored if isinstance(source.stored, Tables) else None
        self.class_names, self.columns, self.classes, self.notes = None, None, None, ()
        if self._tables is not None:
            self.class_names, self.notes = self._tables.class_names, self._tables.notes
            self.columns, self.classes = self._tables.columns, self._tables.classes
        self._first = parts[0][0]

    @property
    def n_train(self) -> int:
        """See `Taught`."""
        return self._n_train

    @property
    def n_test(self) -> int:
        """See `Taught`."""
        return len(self.test[1])

    @property
    def input_shape(self) -> Shape:
        """See `Taught`; channels first."""
        if isinstance(self._first, Mapping):
            return {name: tuple(x.shape[1:]) for name, x in self._first.items()}
        return tuple(self._first.shape[1:])

    @property
    def fingerprint(self) -> str:
        """Of logits, labels and the first inputs."""
        digest = hashlib.blake2b(digest_size=16)
        for value in (self._first, self.teacher_logits_train, self.y_train, *self.test):
            for array in () if value is None else check.named(value, "").values():
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def image(self, index: int) -> np.ndarray | None:
        """See `Taught`."""
        x = self.stored.rows(index, index + 1)[0]
        if isinstance(x, Mapping):
            return None
        return np.moveaxis(x[0], 0, -1) if x[0].ndim == 3 else x[0]

    def text(self, index: int) -> str | None:
        """See `Taught`."""
        return None if self._tables is None else self._tables.text(index)


def held_out(source: Source, most: int) -> tuple[Rows, int]:
    """Give the test part, or the stream's last samples where it has none, and how many samples are
    left.
    """
    test = source.test()
    if test is not None:
        return test, source.n
    count = min(most, source.n // 10)
    last = source.rows(source.n - count, source.n)
    check.all_labelled(last[2])
    return last, source.n - count
