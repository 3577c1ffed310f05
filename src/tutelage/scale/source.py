"""Tasks that are read in chunks: folders of .npy files, zarr groups, parquet files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tutelage import task_checks as check
from tutelage.exceptions import MissingExtraError, TaskError

POOL = ("x_train", "teacher_logits_train", "y_train")
TEST = ("x_test", "teacher_logits_test", "y_test")
Rows = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class Source(Protocol):
    """Samples in a random order that is theirs, read from where they lie; picklable, for a cluster."""

    @property
    def n(self) -> int:
        """Samples of the pool."""

    def rows(self, start: int, stop: int) -> Rows:
        """Inputs (images channels first), teacher logits, and labels if there are any."""

    def test(self) -> Rows | None:
        """The test part, if there is one."""


@dataclass(frozen=True)
class Arrays:
    """Arrays that can be sliced: .npy files mapped into memory, or a zarr group."""

    path: Path
    zarr: bool
    image_layout: str = "channels_last"

    @property
    def n(self) -> int:
        """See `Source`."""
        return int(self._array("x_train").shape[0])

    def rows(self, start: int, stop: int) -> Rows:
        """See `Source`."""
        x, z, y = (self._array(name)[start:stop] if self._has(name) else None for name in POOL)
        assert x is not None
        assert z is not None
        return self._channels_first(np.array(x)), np.array(z), None if y is None else np.array(y)

    def test(self) -> Rows | None:
        """See `Source`."""
        if not all(self._has(name) for name in TEST[:2]):
            return None
        x, z, y = (np.array(self._array(name)[:]) if self._has(name) else None for name in TEST)
        assert x is not None
        assert z is not None
        return self._channels_first(x), z, y

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the arrays that are there."""
        return {name: tuple(self._array(name).shape) for name in POOL + TEST if self._has(name)}

    def laid_out(self) -> "Arrays":
        """With the image layout that it says it has."""
        if not self._has("image_layout"):
            return self
        layout = str(np.asarray(self._array("image_layout")[()]))
        return replace(self, image_layout=check.image_layout(layout, f"{self.path}: image_layout"))

    def _channels_first(self, x: np.ndarray) -> np.ndarray:
        last = x.ndim == 4 and self.image_layout == "channels_last"
        return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if last else x

    def _has(self, name: str) -> bool:
        return (self.path / (name if self.zarr else f"{name}.npy")).exists()

    def _array(self, name: str) -> Any:
        if self.zarr:
            return _zarr().open_array(str(self.path / name), mode="r")
        return np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True)
class Parquet:
    """A parquet file with the columns x_train and teacher_logits_train (lists, or numbers) and y_train, row group by row group."""

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
        """See `Source`."""
        return self.first[-1]

    def rows(self, start: int, stop: int) -> Rows:
        """See `Source`."""
        groups = [k for k in range(len(self.first) - 1) if self.first[k] < stop and self.first[k + 1] > start]
        known = [name for name in POOL if name in self.columns]
        table = _parquet().ParquetFile(self.path).read_row_groups(groups, columns=known)
        begin = start - self.first[groups[0]]
        part = table.slice(begin, stop - start)
        found = {
            name: np.stack(part[name].to_numpy()) if _is_list(part, name) else part[name].to_numpy() for name in known
        }
        return found["x_train"], found["teacher_logits_train"], found.get("y_train")

    def test(self) -> Rows | None:
        """See `Source`."""
        return None


def open_source(path: str | Path) -> Source:
    """Open a task that may be larger than memory.

    Parameters
    ----------
    path : str or Path
        A folder of .npy files or a zarr group (`.zarr`) with the keys of a task file, or a parquet file (`.parquet`) with
        the columns x_train, teacher_logits_train and, if there are labels, y_train. Rows lie in a random order. Images are channels
        last, unless the key image_layout says otherwise.

    Raises
    ------
    TaskError
        If it cannot be read so.
    MissingExtraError
        If what reads it is not installed.
    """
    path = Path(path).absolute()  # the workers of a cluster stand elsewhere
    try:
        if path.suffix == ".parquet" and path.is_file():
            source: Source = Parquet.of(path)
            missing = [name for name in POOL[:2] if name not in source.columns]  # type: ignore[attr-defined]
        elif path.is_dir():
            source = Arrays(path, zarr=path.suffix == ".zarr")
            missing = [name for name in POOL[:2] if not source._has(name)]
        else:
            raise TaskError(
                f"{path} cannot be streamed; expected a folder of .npy files, a zarr group (.zarr), or a parquet file (.parquet)."
            )
        if missing:
            raise TaskError(f"{path} has no {missing[0]}; a stream needs {' and '.join(POOL[:2])}.")
        if isinstance(source, Arrays):
            source = source.laid_out()
            _check_shapes(path, source.shapes)
        _check(path, source)
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{path} cannot be read as a stream ({error}).") from error
    return source


def _check(path: Path, source: Source) -> None:
    if source.n < 100:
        raise TaskError(f"{path} holds {source.n} samples; a stream has 100 or more.")
    x, z, _ = source.rows(0, 64)
    if z.ndim > 2 or x.ndim < 2:
        raise TaskError(
            f"{path} holds inputs of shape {x.shape[1:]} and teacher logits of shape {z.shape[1:]}; a stream takes inputs of one axis "
            "or more, and the logits of one epoch: (N,) or (N, C)."
        )


def _check_shapes(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    for names in (POOL, TEST):
        lengths = {name: shapes[name][0] if shapes[name] else 0 for name in names if name in shapes}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
            raise TaskError(f"{path} holds arrays of different lengths ({said}); each sample needs one row in each.")
    for pool, test in zip(POOL[:2], TEST[:2], strict=True):
        if test in shapes and shapes[test][1:] != shapes[pool][1:]:
            raise TaskError(
                f"{path}: a sample of {test} has shape {shapes[test][1:]}, and one of {pool} {shapes[pool][1:]}; "
                "they have to be alike."
            )


def _is_list(table: Any, name: str) -> bool:
    return bool(table[name].type.num_fields)


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingExtraError(
            "A zarr group needs zarr, which is not installed: pip install 'tutelage[scale]' -c constraints.txt"
        ) from error
    return zarr


def _parquet() -> Any:
    try:
        import pyarrow.parquet as found
    except ImportError as error:
        raise MissingExtraError(
            "A parquet file needs pyarrow, which is not installed: pip install 'tutelage[data]' -c constraints.txt"
        ) from error
    return found


def held_out(source: Source, most: int) -> tuple[Rows, int]:
    """Give the test part, or the stream's last samples where it has none, and how many samples are left."""
    test = source.test()
    if test is not None:
        return test, source.n
    count = min(most, source.n // 10)
    return source.rows(source.n - count, source.n), source.n - count
