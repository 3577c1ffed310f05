"""Writing results so that nothing half-written ever stands under its final name."""

import errno
import glob
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tutelage.exceptions import OutputError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a partial path beside `path` to write to, and move it there if all went well.

    Raises
    ------
    OutputError
        If the folder cannot be made or written to, or the disk is full.
    """
    with _as_sentences(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        _remove_what_was_killed(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        partial = Path(name)
        _WRITING.add(partial)
        try:
            with suppress(OSError):  # not every file system knows locks
                _lock(handle)  # as long as this process lives
            yield partial
            partial.chmod(0o666 & ~_umask())
            partial.replace(path)
        finally:
            os.close(handle)
            partial.unlink(missing_ok=True)
            _WRITING.discard(partial)


_WRITING: set[Path] = set()  # by this process, whose own locks do not keep it out


def _remove_what_was_killed(path: Path) -> None:
    """Partial files of runs that are no more: nobody holds their lock."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        if left not in _WRITING:
            with suppress(OSError), left.open("r+b") as file:
                _lock(file.fileno())
                left.unlink(missing_ok=True)


def _lock(handle: int) -> None:
    """Take a file for this process, or raise an OSError where another has it; of the kind that HDF5
    does not use, too.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, "files cannot be locked here")
    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def as_json(data: Mapping[str, Any], path: str | Path | None = None) -> str:
    """Give plain data as JSON, and write it to `path` if there is one.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if path is not None:
        with written(Path(path)) as partial:
            partial.write_text(text, encoding="utf-8")
    return text


def check_writable(folder: Path) -> None:
    """Raise an `OutputError` unless files can be written to `folder`; the folder itself is not made
    yet.
    """
    with _as_sentences(folder):
        existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file")
        with tempfile.TemporaryFile(dir=existing):
            pass


@contextmanager
def _as_sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(
            f"{path} cannot be made: a file stands where a folder should. Choose another folder."
        ) from error
    except IsADirectoryError as error:
        raise OutputError(
            f"{path} cannot be written: a folder of that name stands there. Choose another name."
        ) from error
    except PermissionError as error:
        raise OutputError(
            f"{path} cannot be written: permission denied. Choose a folder that you may write to."
        ) from error
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        if error.errno == errno.ENOSPC:
            raise OutputError(
                f"{path} cannot be written: the disk is full. Free some space, or choose another"
                " folder."
            ) from error
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. Choose another folder."
        ) from error


_ASKING = threading.Lock()


def _umask() -> int:
    with _ASKING:  # another thread that asks in between would be told 0, and leave it so
        current = os.umask(0)
        os.umask(current)
        return current
