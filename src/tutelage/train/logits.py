"""Tables with what a teacher says of each row, for plans and trainings to read."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tutelage.data.columns import IDS, MASK, Columns, Given, Rows
from tutelage.data.tables import Table, lib, tables_at, tables_of
from tutelage.exceptions import SettingError, TaskError
from tutelage.outputs import as_json, written
from tutelage.progress import Progress, silent
from tutelage.train._teach import teacher_logits

COLUMN = "teacher_logits"
_CLAIM = "teacher.json"
_KINDS = ("float16", "float32")


def write_logits(
    network: nn.Module,
    data: Any,
    folder: str | Path,
    *,
    columns: Given | None = None,
    batch_size: int = 64,
    rows: int = 8192,
    dtype: str = "float32",
    prepare: Callable[[Any], Any] | None = None,
    progress: Progress = silent,
) -> Path:
    """Write tables again with a teacher's logits beside each row, as `Task.load` reads them.

    The tables are cut into parquet files of `rows` rows. Killed and started again, it goes on after
    the last file that is whole.

    Parameters
    ----------
    network : torch.nn.Module
        The teacher, used in evaluation mode where its weights are.
    data : str, Path, or table
        A parquet file, a folder of them or from `save_to_disk`; or what `Task.of` takes. All of its
        splits that a task has are written.
    folder : str or Path
        Gets files such as ``train-00000.parquet``.
    columns : mapping, optional
        Which columns are x, see `Task.of`. Several inputs, and input_ids, go to the network's
        `forward` by name.
    batch_size : int
    rows : int
        Of a file.
    dtype : {"float16", "float32"}
        Of what is written.
    prepare : callable, optional
        From the inputs of a batch, an array (n, ...) or a dict of arrays, to what the network
        takes. By default whole numbers stay as they are; images of bytes go with their channels
        first and from 0 to 1, all else in float32.
    progress : Progress
        Told of the rows.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    TaskError
        If a table has such a column already, the network does not fit the inputs, or the folder
        holds what another teacher said, or of other rows.

    Examples
    --------
    >>> import numpy as np, tempfile, torch
    >>> pool = {"x": np.ones((5, 3)), "label": np.array([0, 1, 0, 1, 1])}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     where = write_logits(torch.nn.Linear(3, 2), pool, folder)
    ...     sorted(path.name for path in where.iterdir())
    ['teacher.json', 'train-00000.parquet']
    """
    if batch_size < 1 or rows < 1 or dtype not in _KINDS:
        raise SettingError(
            f"A batch of {batch_size}, files of {rows} rows and {dtype} were asked for; expected 1"
            f" or more, and one of {', '.join(_KINDS)}."
        )
    folder, given = Path(folder), prepare or _as_networks_take_it
    tables = tables_at(Path(data)) if isinstance(data, str | Path) else tables_of(data)
    for table in tables.values():
        if COLUMN in table.names:
            raise TaskError(
                f"{table.where} has a column {COLUMN} already; rename it, or leave it out."
            )
    found = Columns.of(tables["train"], columns, taught=False)
    counts = {part: table.n for part, table in tables.items()}
    _claim(folder, {"rows": counts, "file": rows, "dtype": dtype, "weights": _weights(network)})
    with progress("teacher", sum(counts.values())) as advance:
        for part, table in tables.items():
            for number, start in enumerate(range(0, table.n, rows)):
                stop = min(start + rows, table.n)
                path = folder / f"{part}-{number:05d}.parquet"
                if not path.exists():
                    batches = _batches(Rows(found), table, start, stop, batch_size, given)
                    with np.errstate(over="ignore"):  # said below
                        logits = teacher_logits(network, batches).astype(dtype)
                    _write(path, table.arrow(table.names, start, stop), logits)
                advance(stop - start)
    return folder


def _batches(
    rows: Rows, table: Table, start: int, stop: int, size: int, prepare: Callable[[Any], Any]
) -> Iterator[Any]:
    for at in range(start, stop, size):
        x = rows.inputs(table, at, min(at + size, stop))
        if isinstance(x, dict) and IDS in x:  # a batch of equal lengths has no mask of its own
            x.setdefault(MASK, np.ones_like(x[IDS]))
        yield prepare(x)


def _as_networks_take_it(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _as_networks_take_it(values) for name, values in x.items()}
    if x.dtype == np.uint8 and x.ndim == 4:
        return torch.as_tensor(x).movedim(-1, 1).float() / 255
    found = torch.as_tensor(x)
    return found.float() if found.is_floating_point() else found


def _write(path: Path, read: Any, logits: np.ndarray) -> None:
    pa = lib()
    wide = logits if logits.ndim == 2 else logits[:, None]
    if not np.isfinite(wide).all():
        row = int(np.flatnonzero(~np.isfinite(wide).all(1))[0])
        raise TaskError(
            f"The teacher gave {wide[row].tolist()} for a row of {path.name}; expected finite"
            " numbers that fit the type that is written."
        )
    values: Any = pa.array(wide.reshape(-1))
    if logits.ndim == 2:
        values = pa.FixedSizeListArray.from_arrays(values, wide.shape[1])
    with written(path) as partial:
        lib("parquet").write_table(read.append_column(COLUMN, values), partial)


def _weights(network: nn.Module) -> str:
    """By which a teacher is known again."""
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        plain = value.detach().cpu().contiguous().reshape(-1)
        found.update(name.encode())
        found.update(plain.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _claim(folder: Path, known: dict[str, Any]) -> None:
    """Say whose logits these are, or see that they are the same."""
    path = folder / _CLAIM
    if path.exists():
        if path.read_text(encoding="utf-8") == as_json(known):
            return
    elif not folder.exists() or all(p.name.startswith(".") for p in folder.iterdir()):
        as_json(known, path)
        return
    raise TaskError(
        f"{folder} holds other files than those of this teacher and these rows; choose another"
        " folder, or remove it."
    )
