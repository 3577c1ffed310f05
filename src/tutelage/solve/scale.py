"""Which path a pool takes, and what it will cost on this machine."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tutelage.data.inputs import Inputs, Shape, rows
from tutelage.exceptions import SettingError
from tutelage.kernels import Kernel
from tutelage.kernels import Sequential as ClosedForm
from tutelage.lazy import extra
from tutelage.progress import Progress, remark
from tutelage.solve.checkpoint import Checkpoint
from tutelage.solve.cost import SPARE, Cost, flops_per_second, free_memory, seconds_per_number, size
from tutelage.solve.pool import DensePool, Pool
from tutelage.solve.tiled import COLUMNS, TiledPool
from tutelage.solve.workers import Workers

KINDS = ("auto", "dense", "dask")
_TILES, _LEAST, _MOST = 20, 128, 2500  # along a side, and rows of one
_FEW = 20  # classes
# Arrays of N × columns held at once: targets, solutions, coefficients, left-out logits, …
_HELD = 7


@dataclass(frozen=True)
class Work:
    """What is to be done: samples, held-out inputs, columns of targets, sizes, orderings, bytes of
    a number, and classes.

    A column is a class at a setting and a teacher's epoch.
    """

    n: int
    held_out: int
    columns: int
    sizes: int
    orderings: int
    itemsize: int
    classes: int = 1

    @property
    def flops(self) -> float:
        """Of factorisations, solves and leave-one-out."""
        return (self.orderings + 1) * self.n**3 / 3 + self.orderings * self.n**2 * (
            self.held_out + self.columns
        )

    def seconds(self, dtype: torch.dtype) -> float:
        """Of all but the kernel, by short runs on this machine."""
        effective, risk = seconds_per_number(self.classes, dtype)
        evaluated = self.orderings * self.sizes * (self.held_out or self.n)
        per_column = (self.n + self.held_out) * effective + evaluated * risk
        return self.flops / flops_per_second(dtype) + self.columns * per_column

    @property
    def dense(self) -> int:
        """Bytes of all that the dense path holds; more orderings than one need a copy to begin
        with.
        """
        copies = 2 if self.orderings > 1 else 1
        return self.itemsize * self.n * (_HELD * self.columns + copies * (self.n + self.held_out))

    def beside(self, workers: Workers) -> int:
        """Bytes of targets, solutions, a part of the test block and its predictions, and of tiles
        that are worked on.
        """
        rows = _HELD * self.columns + 4 * min(self.held_out, workers.columns(COLUMNS))
        tiles = 4 * workers.side_by_side * self.chunk**2
        return self.itemsize * (self.n * rows + tiles + self.sizes * self.held_out * self.columns)

    @property
    def chunk(self) -> int:
        """Rows of a tile."""
        return max(_LEAST, min(_MOST, -(-self.n // _TILES)))

    @property
    def lower(self) -> int:
        """Bytes of the tiles on and below the diagonal."""
        across = -(-self.n // self.chunk)
        return across * (across + 1) // 2 * self.chunk**2 * self.itemsize


@dataclass(frozen=True)
class Scale:
    """How a pool is to be dealt with.

    Attributes
    ----------
    path : {"auto", "dense", "dask"}
        `auto` takes the dense path where memory has room for it.
    scheduler : str, optional
        Address of a running Dask cluster.
    checkpoint : path, optional
        Folder of what is done, from which a run that is killed goes on: tiles, or theory and pilots
        of a plan within a budget.
    memory : float, optional
        Bytes that may be used; by default four fifths of what is free. Beyond it tiles lie in
        files.

    Examples
    --------
    >>> import numpy as np, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> task = tu.Task(x_train=x, teacher_logits_train=x[:, 0])
    >>> scale = Scale(memory=1e9)
    >>> found = tu.curves(task, "mlp:depth=1", soft_ratio=[1.0], orderings=1, scale=scale)
    >>> scale.room, found.sizes["n"]
    (1000000000.0, 16)
    """

    path: str = "auto"
    scheduler: str | None = None
    checkpoint: str | Path | None = None
    memory: float | None = None

    def __post_init__(self) -> None:
        if self.path not in KINDS:
            raise SettingError(f"The scale is {self.path!r}; expected one of {', '.join(KINDS)}.")
        if self.path == "dense" and (self.scheduler or self.checkpoint):
            raise SettingError(
                "A scheduler or a checkpoint is for the dask path; leave out the scale dense."
            )
        if self.memory is not None and not self.memory > 0:
            raise SettingError(
                f"The memory limit is {self.memory:g} bytes; expected a positive number."
            )

    @property
    def room(self) -> float:
        """Bytes that may be used."""
        return SPARE * free_memory() if self.memory is None else self.memory

    def cost(
        self,
        work: Work,
        kernel: Kernel | None,
        input_shape: Shape,
        dtype: torch.dtype,
        *,
        timed: bool = True,
    ) -> Cost:
        """Say which path is taken and what it costs, its time by short runs; that nothing fits is
        an error.

        Raises
        ------
        SettingError
            If there is no room, with what would fit.
        """
        path, in_files, held = self._held(work)
        disk = work.lower * work.orderings if in_files else 0
        if held > self.room:
            raise SettingError(
                f"A pool of {work.n:,} samples needs {size(held)} on the {path} path, and"
                f" {size(self.room)} of memory may be used here. {self._advice(work, path)}"
            )
        if in_files:
            self._check_disk(work, disk)
        seconds = None
        if timed:
            seconds = work.seconds(dtype) + _kernel_seconds(kernel, input_shape, work, dtype, path)
        return Cost(path, seconds, held, disk)

    def _held(self, work: Work) -> tuple[str, bool, int]:
        """The path, whether its tiles lie in files, and bytes of memory."""
        path = self.path
        if path == "auto":
            path = (
                "dask" if self.scheduler or self.checkpoint or work.dense > self.room else "dense"
            )
        if path == "dense":
            return path, False, work.dense
        working = work.beside(Workers())
        elsewhere = self.scheduler is not None
        in_files = self.checkpoint is not None or (
            not elsewhere and working + work.lower > self.room
        )
        return path, in_files, working + (0 if in_files or elsewhere else work.lower)

    def _advice(self, work: Work, path: str) -> str:
        fewer = (replace(work, n=round(work.n * 0.95**k)) for k in range(1, 100))
        fits = next((less.n for less in fewer if self._held(less)[2] <= self.room), 0)
        by_columns = _HELD * work.columns > work.n + work.held_out
        advice = ["the scale dask (--scale dask)"] if path == "dense" and not by_columns else []
        if by_columns:
            advice += [
                "fewer settings (--soft-ratio, --temperature; there are"
                f" {work.columns // work.classes:,})"
            ]
        if by_columns and work.classes > _FEW:
            advice += [
                f"fewer classes than {work.classes:,} (those that are among the teacher's most"
                " probable ones for some sample)"
            ]
        advice += ["float32 (--dtype float32)"] if work.itemsize > 4 else []
        advice += [f"fewer samples (about {fits:,} fit)"] if fits else []
        if not by_columns:
            advice += ["features in place of the kernel (--features 4096)"]
        return f"Give {', '.join(advice[:-1])}{', or ' if len(advice) > 1 else ''}{advice[-1]}."

    def _check_disk(self, work: Work, needed: int) -> None:
        """What a run that was killed has left in the checkpoint need not be written again."""
        there = [] if self.checkpoint is None else Path(self.checkpoint).rglob("*.npy")
        missing, folder = (
            needed - sum(tile.stat().st_size for tile in there),
            self._existing_folder(),
        )
        free = shutil.disk_usage(folder).free
        if missing > free:
            raise SettingError(
                f"The tiles of {work.n:,} samples and {work.orderings} orderings need"
                f" {size(missing)} of files, and {folder} has {size(free)} free. Give a folder on a"
                " larger disk (--checkpoint DIR), fewer orderings (--orderings 1), or float32"
                " (--dtype float32)."
            )

    def _existing_folder(self) -> Path:
        folder = (
            Path(tempfile.gettempdir())
            if self.checkpoint is None
            else Path(self.checkpoint).absolute()
        )
        return next(p for p in (folder, *folder.parents) if p.exists())

    @contextmanager
    def pool(
        self,
        cost: Cost,
        work: Work,
        kernel: Kernel,
        x: Inputs,
        test: Inputs | None,
        fingerprint: Mapping[str, Any],
        progress: Progress,
        *,
        dtype: torch.dtype,
        device: torch.device,
        number: int = 0,
    ) -> Iterator[Pool]:
        """Open the pool of a start, by its number, on the path that the cost names.

        Raises
        ------
        TaskError
            If the checkpoint is of another run.
        """
        if cost.path == "dense":
            yield DensePool(kernel, x, test, dtype, progress, device)
            return
        with (
            cluster(self.scheduler) as client,
            _folder(self.checkpoint, needed=cost.disk > 0) as folder,
        ):
            kept = None
            if folder is not None:
                # Weights, of which a name does not tell, show in the kernel's values.
                values = [f"{v:.5g}" for v in kernel.diag(rows(x, slice(0, 4))).tolist()]
                whole = Checkpoint.of(folder, fingerprint)
                kept = Checkpoint.of(whole.folder / f"start-{number}", {"kernel": values})
            if client is not None and client.dashboard_link:
                remark(progress, f"Dask's dashboard: {client.dashboard_link}")
            yield TiledPool(kernel, x, test, dtype, work.chunk, Workers(client), kept, progress)


def _kernel_seconds(
    kernel: Kernel | None, shape: Shape, work: Work, dtype: torch.dtype, path: str
) -> float:
    if not isinstance(kernel, ClosedForm) or isinstance(shape, dict):
        return 0.0  # a kernel of the user's own says nothing of its cost
    once = kernel.cost(shape, work.n, dtype=dtype).seconds
    between = (
        kernel.cost(shape, work.n, work.held_out, dtype=dtype).seconds if work.held_out else 0.0
    )
    return (work.orderings if path == "dask" else 1) * (once + between)


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Open a client of a running Dask cluster, or None without an address.

    Raises
    ------
    SettingError
        If none answers.
    MissingExtraError
        If `distributed` is not installed.
    """
    if address is None:
        yield None
        return
    distributed = extra("distributed", "A cluster needs Dask's distributed", "scale")
    try:
        client = distributed.Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise SettingError(
            f"No Dask scheduler answers at {address!r}; give the address that it printed, such as"
            " tcp://10.0.0.1:8786."
        ) from error
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _folder(checkpoint: str | Path | None, *, needed: bool) -> Iterator[Path | None]:
    if checkpoint is not None:
        yield Path(checkpoint)
    elif not needed:
        yield None
    else:
        with tempfile.TemporaryDirectory(prefix="tutelage-tiles-") as folder:
            yield Path(folder)
