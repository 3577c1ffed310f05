"""The factor of `theory/factor.py` in tiles, by Dask's blocked Cholesky factorisation and
triangular solves (docs/scale.md).

Only half of the tiles is ever computed, those on one side of the diagonal, each of the kernel where
it is needed. Where the tiles do not divide N the last ones are padded: the kernel with the
identity, right-hand sides with zeros, which changes nothing of the rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.inputs import Inputs, length, rows, split
from tutelage.kernels import Kernel
from tutelage.lazy import extra
from tutelage.progress import Progress, silent
from tutelage.solve.checkpoint import Checkpoint
from tutelage.solve.workers import Graph, Workers
from tutelage.theory.factor import Factored, jitters, redundant, walk_in_parts
from tutelage.theory.stage import Walk

COLUMNS = 256  # of a right-hand side that are solved for together: memory holds all of their rows


@dataclass(frozen=True)
class TiledFactor:
    """The Cholesky factor of Θ + λI in tiles.

    Attributes
    ----------
    tiles : dict
        From (i, j), j ≤ i, to a tile of L or its future.
    chunk : int
        Rows of a tile.
    n : int
        Samples.
    jitter, relative_jitter : float
        See `Factor`.
    workers : Workers
    checkpoint : Checkpoint, optional
        Where tiles lie, and what leave-one-out has come to is kept.
    dtype : torch.dtype
    """

    tiles: dict[tuple[int, int], Any]
    chunk: int
    n: int
    jitter: float
    relative_jitter: float
    workers: Workers
    checkpoint: Checkpoint | None
    dtype: torch.dtype

    def __len__(self) -> int:
        return self.n

    @property
    def diagonal(self) -> Float[Tensor, " N"]:
        """Of L."""
        blocks = self.workers.arrays([self.tiles[i, i] for i in range(self._across)])
        return torch.as_tensor(np.concatenate([block.diagonal() for block in blocks])[: self.n])

    @property
    def redundant(self) -> int:
        """Samples that only the jitter tells from those before them."""
        return redundant(self.diagonal, self.jitter)

    def leading(self, n: int) -> "TiledFactor":
        """The factor of the first n samples."""
        across = -(-n // self.chunk)
        tiles = {(i, j): tile for (i, j), tile in self.tiles.items() if i < across}
        rows = n - (across - 1) * self.chunk
        if rows < self.chunk:
            for j in range(across):
                [tile] = self.workers.arrays([tiles[across - 1, j]])
                tiles[across - 1, j] = _bounded(tile, rows, diagonal=j == across - 1)
        return TiledFactor(
            tiles, self.chunk, n, self.jitter, self.relative_jitter, self.workers, None, self.dtype
        )

    def forward(self, rhs: Float[Tensor, "N columns"]) -> Float[Tensor, "N columns"]:
        """L⁻¹ of the right-hand side."""
        return self._solve(rhs, lower=True)

    def backward(self, rhs: Float[Tensor, "N columns"]) -> Float[Tensor, "N columns"]:
        """L⁻ᵀ of the right-hand side."""
        return self._solve(rhs, lower=False)

    def columns(self, start: int, stop: int) -> Iterator[tuple[slice, Float[Tensor, "N width"]]]:
        """Some columns of L, tile by tile."""
        for j in range(start // self.chunk, -(-stop // self.chunk)):
            first = j * self.chunk
            wanted = slice(max(start, first), min(stop, first + self.chunk))
            below = self.workers.arrays([self.tiles[i, j] for i in range(j, self._across)])
            whole = np.zeros(
                (self._across * self.chunk, wanted.stop - wanted.start), below[0].dtype
            )
            for k, tile in enumerate(below):
                rows = slice(first + k * self.chunk, first + (k + 1) * self.chunk)
                whole[rows] = tile[:, wanted.start - first : wanted.stop - first]
            yield wanted, torch.as_tensor(whole[: self.n])

    def inverse_diagonal(self, progress: Progress) -> Float[Tensor, " N"]:
        """Of (L Lᵀ)⁻¹: squares of L⁻¹, a few of its columns at a time, from the diagonal down."""
        kept, across = self.checkpoint, range(self._across)
        found: dict[int, list[np.ndarray]] = {j: [] for j in across}
        with progress("leave-one-out", self._across**2) as advance:
            missing = [j for j in across if kept is None or not kept.has(f"inverse-{j}")]
            advance(self._across**2 - sum(self._columns_below(j) for j in missing))
            pieces = [(j, first) for j in missing for first in range(0, self.chunk, COLUMNS)]
            for start in range(0, len(pieces), self.workers.side_by_side):
                together = pieces[start : start + self.workers.side_by_side]
                for (j, first), squares in zip(together, self._squares(together), strict=True):
                    found[j].append(squares)
                    if first + COLUMNS >= self.chunk:
                        if kept is not None:
                            kept.save(f"inverse-{j}", np.concatenate(found[j]))
                        advance(self._columns_below(j))
        whole = [
            np.concatenate(found[j]) if kept is None else kept.load(f"inverse-{j}") for j in across
        ]
        return torch.as_tensor(np.concatenate(whole)[: self.n])

    @property
    def _across(self) -> int:
        return -(-self.n // self.chunk)

    def _columns_below(self, j: int) -> int:
        """Share of the j-th column of tiles in the work of all of L⁻¹, as of a square."""
        return 2 * (self._across - j) - 1

    def _squares(self, pieces: list[tuple[int, int]]) -> list[np.ndarray]:
        """Sums of squares of some columns of L⁻¹: of the j-th column of tiles those from `first`
        on.
        """
        linalg, dtype = _dask_array().linalg, _numpy(self.dtype)
        whole: Graph = {}
        keys = []
        for j, first in pieces:
            below, width = self._across - j, min(COLUMNS, self.chunk - first)
            graph: Graph = {("unit", 0, 0): (np.eye, self.chunk, width, -first, dtype)}
            graph |= {
                ("unit", i, 0): (np.zeros, (self.chunk, width), dtype) for i in range(1, below)
            }
            unit = self._array(graph, "unit", below, [width])
            solved = linalg.solve_triangular(self._lower(j), unit, lower=True)
            squares = {
                (f"square-{solved.name}", i): (_column_squares, (solved.name, i, 0))
                for i in range(below)
            }
            keys.append((f"squares-{solved.name}", j))
            whole |= {**solved.dask, **squares, keys[-1]: (sum, list(squares))}
        return self.workers.arrays(self.workers.get(whole, keys))

    def _solve(self, rhs: Tensor, *, lower: bool) -> Tensor:
        linalg, across = _dask_array().linalg, self._across
        matrix, width = self._lower(0), self.workers.columns(COLUMNS)
        for start in range(0, rhs.shape[1], width):
            part = rhs[:, start : start + width]
            padded = np.zeros((across * self.chunk, part.shape[1]), _numpy(self.dtype))
            padded[: self.n] = part.numpy()
            cuts = [*range(0, part.shape[1], COLUMNS), part.shape[1]]
            blocks = list(enumerate(pairwise(cuts)))
            rows = [slice(i * self.chunk, (i + 1) * self.chunk) for i in range(across)]
            graph = {
                ("rhs", i, k): padded[rows[i], low:high]
                for i in range(across)
                for k, (low, high) in blocks
            }
            right = self._array(graph, "rhs", across, [high - low for _, (low, high) in blocks])
            solved = linalg.solve_triangular(matrix if lower else matrix.T, right, lower=lower)
            keys = [(solved.name, i, k) for k, _ in blocks for i in range(across)]
            found = self.workers.arrays(self.workers.get(dict(solved.dask), keys))
            for k, (low, high) in blocks:
                column = np.concatenate(found[k * across : (k + 1) * across])
                part[:, low:high].copy_(torch.as_tensor(column[: self.n]))
        return rhs

    def _lower(self, first: int) -> Any:
        """L from a tile of the diagonal on, as an array of Dask; what is above the diagonal is
        asked for by nobody.
        """
        across = self._across - first
        nothing = np.broadcast_to(np.zeros((), _numpy(self.dtype)), (self.chunk, self.chunk))
        graph = {
            ("lower", i, j): self.tiles[i + first, j + first] if j <= i else nothing
            for i in range(across)
            for j in range(across)
        }
        return self._array(graph, "lower", across, [self.chunk] * across)

    def _array(self, graph: Graph, name: str, rows: int, widths: list[int]) -> Any:
        """An array of Dask, under a name of its own: what is made of it is named after it, and a
        cluster goes by names.
        """
        unique = f"{name}-{uuid4().hex}"
        renamed = {(unique, *key[1:]): value for key, value in graph.items()}
        chunks = ((self.chunk,) * rows, tuple(widths))
        return _dask_array().Array(renamed, unique, chunks, dtype=_numpy(self.dtype))


class TiledPool:
    """With tiles of each ordering's kernel, and of that of the test part, computed where they are
    needed.
    """

    def __init__(
        self,
        kernel: Kernel,
        x: Inputs,
        test: Inputs | None,
        dtype: torch.dtype,
        chunk: int,
        workers: Workers,
        kept: Checkpoint | None,
        progress: Progress,
    ) -> None:
        self._kernel, self._x, self._test, self._chunk = kernel, x, test, chunk
        self._workers, self._kept, self._progress = workers, kept, progress
        self.prior = kernel.diag(x).to(dtype)

    def _factored(self, name: str, order: Tensor, *, last: bool, ridge: float) -> TiledFactor:
        return tiled_factor(
            self._kernel,
            self._x if last else rows(self._x, order),
            self.prior[order],
            ridge=ridge,
            chunk=self._chunk,
            workers=self._workers,
            checkpoint=None if self._kept is None else self._kept.inner(name),
            progress=self._progress,
        )

    def ridged(
        self, ridge: float, dtype: torch.dtype, order: Tensor, number: int, *, last: bool
    ) -> Factored:
        """See `Pool`; in the kernel's own dtype."""
        name = f"ridged-{number}-{ridge:.9e}"  # another training time has another one
        return self._factored(name, order, last=last, ridge=ridge)

    def factor(self, order: Tensor, number: int, *, last: bool) -> Factored:
        """See `Pool`."""
        return self._factored(f"ordering-{number}", order, last=last, ridge=0.0)

    def predictions(
        self,
        factored: Factored,
        solution: Tensor,
        prior: Tensor,
        order: Tensor,
        sizes: list[int],
        *,
        last: bool,
    ) -> Walk:
        """See `Pool`."""
        kernel, x, test = self._kernel, self._x, self._test
        assert test is not None

        def between() -> Iterator[Tensor]:
            with self._progress("test part", len(prior)) as advance:
                for part in split(test, self._workers.columns(COLUMNS)):
                    found = kernel(x, part).to(prior.dtype)
                    yield found if last else found[order]
                    advance(found.shape[1])

        return walk_in_parts(factored, solution, between, prior, sizes)


def tiled_factor(
    kernel: Callable[[Any, Any], Tensor],
    pool: Inputs,
    diagonal: Float[Tensor, " N"],
    *,
    ridge: float = 0.0,
    chunk: int,
    workers: Workers | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Progress = silent,
) -> TiledFactor:
    """Factor Θ + λI = L Lᵀ as `theory.factor` does, without Θ ever being there as a whole.

    Parameters
    ----------
    kernel : callable
        Θ, of two sets of inputs or of one; picklable, for a cluster.
    pool : Inputs
        In its ordering.
    diagonal : Tensor of shape (N,)
        Θ(x, x), in the dtype to compute in.
    ridge : float
        Added to the kernel's diagonal.
    chunk : int
        Rows of a tile.
    workers : Workers, optional
        By default this process.
    checkpoint : Checkpoint, optional
        Tiles are kept there rather than in memory, and those that are there are not computed again.
    progress : Progress
        Told of the tiles done.

    Returns
    -------
    TiledFactor

    Raises
    ------
    NumericsError
        As `theory.factor`.

    Examples
    --------
    >>> from tutelage.kernels import mlp
    >>> x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> tiles = tiled_factor(mlp(), x, mlp().diag(x), chunk=16)
    >>> sorted(tiles.tiles)[-1], tiles.forward(torch.ones(50, 1, dtype=torch.float64)).shape
    ((3, 3), torch.Size([50, 1]))
    """
    workers, mean = workers or Workers(), float(diagonal.mean())
    for relative, jitter in jitters(diagonal + ridge):
        kept = None if checkpoint is None else checkpoint.inner(f"jitter-{relative:.0e}")
        if kept is None or not kept.has("failed"):
            try:
                tiles = _cholesky(
                    kernel,
                    pool,
                    ridge + jitter,
                    mean,
                    chunk,
                    diagonal.dtype,
                    workers,
                    kept,
                    progress,
                )
            except np.linalg.LinAlgError:
                if kept is not None:
                    kept.save("failed", np.ones(1))
            else:
                return TiledFactor(
                    tiles, chunk, len(diagonal), jitter, relative, workers, kept, diagonal.dtype
                )
    raise AssertionError  # jitters ends with an error of its own


def _cholesky(
    kernel: Callable[[Any, Any], Tensor],
    pool: Inputs,
    jitter: float,
    pad: float,
    chunk: int,
    torch_dtype: torch.dtype,
    workers: Workers,
    kept: Checkpoint | None,
    progress: Progress,
) -> dict[tuple[int, int], Any]:
    """Give the tiles of L, or raise LinAlgError."""
    array, across, dtype = _dask_array(), -(-length(pool) // chunk), _numpy(torch_dtype)
    token = uuid4().hex
    graph: Graph = {
        ("pool", token, i): rows(pool, slice(i * chunk, (i + 1) * chunk)) for i in range(across)
    }
    name = f"kernel-{token}"
    for i in range(across):
        for j in range(i, across):  # Dask's factorisation looks at what is above the diagonal
            graph[name, i, j] = (
                _tile,
                kernel,
                ("pool", token, i),
                None if i == j else ("pool", token, j),
                jitter,
                pad,
                chunk,
                torch_dtype,
            )
    theta = array.Array(graph, name, ((chunk,) * across,) * 2, dtype=dtype)
    lower, upper = (
        array.linalg.cholesky(theta, lower=True),
        array.linalg.cholesky(theta, lower=False),
    )
    graph = {**upper.dask, **lower.dask}
    if kept is not None:
        for i in range(across):
            for j in range(i, across):
                key = (lower.name, i, i) if i == j else (upper.name, i, j)
                tile = f"{i}-{j}"
                graph[key] = (kept.load, tile) if kept.has(tile) else (kept.save, tile, graph[key])
    places = [(i, j) for i in range(across) for j in range(i + 1)]
    keys = [(lower.name, i, j) for i, j in places]
    return dict(
        zip(places, workers.get(graph, keys, progress, "kernel and factor", len(keys)), strict=True)
    )


def _tile(
    kernel: Callable[[Any, Any], Tensor],
    left: Inputs,
    right: Inputs | None,
    jitter: float,
    pad: float,
    chunk: int,
    dtype: torch.dtype,
) -> np.ndarray:
    """One tile of Θ + λI, padded."""
    theta = kernel(left, right).to(dtype)
    if right is None:
        theta.diagonal().add_(jitter)
    if theta.shape == (chunk, chunk):
        return theta.numpy()
    padded = np.zeros((chunk, chunk), _numpy(theta.dtype))
    padded[: theta.shape[0], : theta.shape[1]] = theta.numpy()
    if right is None:
        rest = np.arange(theta.shape[0], chunk)
        padded[rest, rest] = pad
    return padded


def _bounded(tile: np.ndarray, rows: int, *, diagonal: bool) -> np.ndarray:
    """A tile of the last row, of which only so many rows belong to the factor."""
    bounded = np.array(tile)
    bounded[rows:] = 0
    if diagonal:
        bounded[np.arange(rows, len(tile)), np.arange(rows, len(tile))] = 1
    return bounded


def _column_squares(block: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->j", block, block)


def _numpy(dtype: torch.dtype) -> np.dtype[Any]:
    return torch.empty(0, dtype=dtype).numpy().dtype


def _dask_array() -> Any:
    return extra("dask.array", "A pool of this size needs Dask", "scale")
