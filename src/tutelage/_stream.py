"""Pools of any size in one pass: the student in D features, and its risk at every size
(docs/scale.md).
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from tutelage._curves import SOFT_RATIOS, TEMPERATURES, curves
from tutelage.exceptions import SettingError, TaskError, TutelageError
from tutelage.grid import Grid
from tutelage.kernels import Kernel
from tutelage.kernels import Sequential as ClosedForm
from tutelage.progress import Progress, remark, silent
from tutelage.scale import (
    SPARE,
    Cost,
    Landmarks,
    Scale,
    Source,
    cluster,
    flops_per_second,
    free_memory,
    held_out,
    size,
)
from tutelage.scale.source import Rows
from tutelage.task import Task
from tutelage.task_checks import fill_value
from tutelage.theory import data_inefficiency, sweep, transfer_risk
from tutelage.variables import DESCRIPTIONS
from tutelage.version import __version__

_CHUNK = 8192
_HELD_OUT, _RIDGE_BY = 2000, 1000  # test samples, and those that choose the ridge
_EXACT = (2000, 10_000)  # samples of the exact path, at least and at most
_RIDGES = (1.0, 0.1, 0.01)  # of what the landmarks leave of the kernel's diagonal
_LEAST = 1e-6  # ridge, of the kernel's diagonal: features come in float32
_WELL_BELOW = 4


@dataclass(frozen=True)
class _Reader:
    """Chunks of a source as features and targets."""

    source: Source
    landmarks: Landmarks
    grid: Grid
    mean: Tensor
    scale: float
    fill: float | None
    held_out: frozenset[bytes]

    def inputs(self, x: np.ndarray, start: int = 0) -> Tensor:
        """Standardised, of samples from `start` on."""
        found = (torch.as_tensor(np.array(x, dtype=np.float32)) - self.mean) * self.scale
        bad = ~torch.isfinite(found.flatten(1)).all(1)
        if bool(bad.any()):
            number = start + int(bad.nonzero()[0])
            raise TaskError(
                f"The inputs of sample {number:,} are too large for float32; bring them to ordinary"
                " numbers, such as 0 to 1."
            )
        return found

    def targets(self, rows: Rows) -> Tensor:
        """Effective logits, (n, settings, C)."""
        logits = np.asarray(rows[1], dtype=np.float64)
        teacher = logits[None] if logits.ndim == 2 else logits[None, :, None]
        return self.grid.effective(teacher, rows[2], self.fill)[:, 0].float()

    def sums(self, start: int, stop: int) -> list[Tensor]:
        """ΦᵀΦ, ΦᵀZ, what the landmarks leave, and how many are held out, too; of some samples."""
        rows = self.source.rows(start, stop)
        x = self.inputs(rows[0], start)
        try:
            z = self.targets(rows).flatten(1)
        except TutelageError as error:
            raise type(error)(
                f"{error} (Samples are counted from the stream's sample {start:,} on.)"
            ) from error
        phi = self.landmarks(x)
        copied = sum(digest in self.held_out for digest in digests(rows[0]))
        return [
            phi.mT @ phi,
            phi.mT @ z,
            self.landmarks.left(x, phi).double().sum(),
            torch.tensor(float(copied)),
        ]


@dataclass(frozen=True)
class _Part:
    """Features and targets that are evaluated on."""

    features: Tensor
    left: Tensor
    targets: Tensor
    decision: Tensor
    labels: Tensor | None

    @classmethod
    def of(cls, reader: _Reader, rows: Rows, start: int = 0) -> "_Part":
        x = reader.inputs(rows[0], start)
        phi, logits = reader.landmarks(x), torch.as_tensor(rows[1])
        decision = logits.argmax(-1) if logits.ndim == 2 else (logits > 0).long()
        labels = None if rows[2] is None else torch.as_tensor(rows[2])
        return cls(
            phi.double(),
            reader.landmarks.left(x, phi).double(),
            reader.targets(rows).double(),
            decision,
            labels,
        )

    def logits(self, weights: Tensor) -> Tensor:
        """Of the students, (m, settings, C)."""
        return (self.features @ weights).reshape(self.targets.shape)

    def variance(self, lower: Tensor, ridge: float) -> Tensor:
        """σ_n², (m,): what the landmarks leave, and what n samples leave of the features."""
        seen = torch.linalg.solve_triangular(lower, self.features.mT, upper=False)
        return self.left + ridge * seen.square().sum(0)


def stream(
    source: Source,
    kernel: Kernel,
    soft_ratio: Sequence[float] = SOFT_RATIOS,
    temperature: Sequence[float] = TEMPERATURES,
    t_power: int = 2,
    sizes: Sequence[int] | None = None,
    features: int = 4096,
    pool: int | None = None,
    scheduler: str | None = None,
    progress: Progress = silent,
) -> xr.Dataset:
    """Compute error, agreement and expected risk of every setting at sizes that no kernel matrix
    could hold.

    One pass over the samples in the order that they lie in sums up Gram matrices of D features, on
    this machine or a cluster; memory does not depend on their number. With K ≈ ΦΦᵀ + rI, where r is
    what the landmarks leave of the kernel's diagonal on average, the student of n samples is a
    ridge regression on the features. Its ridge is r, the tail of the student's own kernel, or a
    tenth or hundredth of it: whichever predicts samples best that are kept apart for this. (Without
    a ridge, D features would interpolate at n = D, and be at their worst there.) The same samples
    tell the scale s² of the expected risk, (4.4).

    Parameters
    ----------
    source : Source
        See `tutelage.scale.open_source`. Its first D samples are the landmarks. Without a test part
        its last samples are it.
    kernel : Kernel
    soft_ratio, temperature, t_power, sizes
        As for `curves`.
    features : int
        D.
    pool : int, optional
        Samples to use, by default all.
    scheduler : str, optional
        Address of a Dask cluster whose workers can read the source.
    progress : Progress

    Returns
    -------
    xarray.Dataset
        `error`, `transfer_risk`, `expected_transfer_risk`, `ridge` (over r) and `data_inefficiency`
        over `soft_ratio`, `temperature` and `n`. `attrs["in_test_too"]` counts samples that are
        held out, too: what is measured on those is no error of held-out ones. `data_inefficiency`
        is NaN where n is not well below D (a quarter): D features learn less and less from a
        sample, whatever the student does. `attrs` has by how much error and agreement differ from
        the exact path's at a size where both run.

    Raises
    ------
    SettingError
        If there are too many features for the samples or for memory, or a setting lies outside its
        range.
    TaskError
        If inputs or logits are no finite numbers, or the test part lacks the labels that the pool
        has.
    """
    started = time.perf_counter()
    test, left = held_out(source, _HELD_OUT)
    most = left - min(_RIDGE_BY, left // 20)
    pool = most if pool is None else min(pool, most)
    if not 2 <= features <= pool:
        raise SettingError(
            f"{features} features were asked for; expected 2 … {pool:,}, the samples of the pool."
        )
    labelled = source.rows(0, 1)[2] is not None
    ratios = soft_ratio if labelled else [1.0]
    if test[2] is None and any(rho != 1 for rho in ratios):
        raise TaskError(
            "The pool has labels and the test part has none (y_test), so that soft ratios below 1"
            " cannot be evaluated on it. Give its labels, a soft ratio of 1, or no test part: the"
            " stream's last samples are then kept for it."
        )
    grid = Grid.of(ratios, temperature, t_power, sizes, pool, count=8)
    cost = _cost(
        kernel,
        source,
        pool,
        features,
        len(test[0]) + left - most,
        grid,
        timed=progress is not silent,
    )
    if progress is not silent:
        remark(progress, f"{pool:,} samples, {features:,} features: {cost}")
    reader = _reader(source, kernel, grid, features, test[0])
    held, apart = _Part.of(reader, test), _Part.of(reader, source.rows(most, left), most)
    exact = _exact_path(
        reader, kernel, test, _exact_size(pool, features), (ratios, temperature, t_power)
    )
    all_sizes = sorted({*grid.sizes, exact.attrs["n"]})
    rows, sums, begin = [], None, 0
    with cluster(scheduler) as client, progress(f"stream of {pool:,} samples", pool) as advance:
        if client is not None and client.dashboard_link:
            remark(progress, f"Dask's dashboard: {client.dashboard_link}")
        # Once: scattered anew it would have the same name, and could be let go of as the old one
        # is.
        there = None if client is None else client.scatter([reader], broadcast=True)[0]
        for n in all_sizes:
            sums = _added(sums, reader, begin, n, client, there, advance)
            rows.append(
                _evaluated(
                    sums, n, held, apart, features, (len(grid.soft_ratios), len(grid.temperatures))
                )
            )
            begin = n
    found = _labelled(rows, all_sizes, grid)
    at = found.sel(n=exact.attrs["n"])
    off = {
        f"apart_{k}": float(abs(at[k] - exact[k]).max())
        for k in ("error", "transfer_risk")
        if k in exact and k in found
    }
    found = found.sel(n=grid.sizes)
    found.attrs = {
        "tutelage": __version__,
        "student": str(getattr(kernel, "spec", kernel)),
        "features": features,
        "t_power": t_power,
        "n_test": len(held.features),
        "in_test_too": int(sums[3]) if sums else 0,
        "exact_at": exact.attrs["n"],
        **off,
        "seconds": time.perf_counter() - started,
    }
    return found


def digests(x: np.ndarray) -> list[bytes]:
    """A short hash of each sample's inputs, the same in every process."""
    rows = np.ascontiguousarray(x, dtype=np.float32).reshape(len(x), -1)
    return [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]


def _exact_size(pool: int, features: int) -> int:
    """Where the exact path runs too: with samples that are no landmarks, as of those nothing is
    left to be off by.
    """
    least, most = _EXACT
    return min(pool, most, max(least, 2 * features))


def _cost(
    kernel: Kernel,
    source: Source,
    n: int,
    features: int,
    evaluated: int,
    grid: Grid,
    *,
    timed: bool,
) -> Cost:
    """What the stream will cost here; that memory has no room for it is an error."""
    x, z, _ = source.rows(0, 1)
    classes, settings = (
        z.shape[1] if z.ndim == 2 else 1,
        len(grid.soft_ratios) * len(grid.temperatures),
    )
    columns = classes * settings

    def held(features: int) -> int:
        sums = 8 * features * (4 * features + 2 * evaluated + 4 * columns)
        exact = _exact_size(n, features)
        chunk = _CHUNK * (2 * features + 2 * columns + x[0].size)
        return sums + 4 * max(chunk, exact * (exact + evaluated + 4 * columns))

    room = SPARE * free_memory()
    if held(features) > room:
        fits = next(
            (fewer for k in range(1, 200) if held(fewer := round(features * 0.95**k)) <= room), 0
        )
        raise SettingError(
            f"A stream in {features:,} features needs {size(held(features))} of memory, and"
            f" {size(room)} may be used here. "
            + (
                f"Give fewer features (about {fits:,} fit)."
                if fits > 1
                else "Fewer features would not fit either."
            )
        )
    seconds = None
    if timed:
        seconds = n * features * (3 * features + 2 * columns) / flops_per_second(torch.float32)
        # Each ridge is solved for once to be chosen, and once more if it is.
        per_size = (
            2 * len(_RIDGES) * features * (features**2 / 3 + 2 * features * columns)
            + features**2 * evaluated
        )
        seconds += (len(grid.sizes) + 2) * per_size / flops_per_second(torch.float64)
        if isinstance(kernel, ClosedForm):  # a kernel of the user's own says nothing of its cost
            seconds += kernel.cost(x.shape[1:], n, features, dtype=torch.float32).seconds
    return Cost("stream", seconds, held(features), 0)


def _reader(source: Source, kernel: Kernel, grid: Grid, features: int, test: np.ndarray) -> _Reader:
    x, z, _ = source.rows(0, features)
    first, fill = (
        torch.as_tensor(np.array(x, dtype=np.float32)),
        fill_value(z if z.ndim == 2 else z[:, None]),
    )
    mean = first.mean(0)
    scale = 1 / float((first - mean).square().mean().sqrt().clamp_min(1e-30))
    return _Reader(
        source,
        Landmarks.of(kernel, (first - mean) * scale),
        grid,
        mean,
        scale,
        fill,
        frozenset(digests(test)),
    )


def _exact_path(
    reader: _Reader,
    kernel: Kernel,
    test: Rows,
    n: int,
    settings: tuple[Sequence[float], Sequence[float], int],
) -> xr.Dataset:
    """What the exact path says of the first samples."""
    x, z, y = reader.source.rows(0, n)
    task = Task(
        reader.inputs(x).numpy(),
        z,
        y,
        reader.inputs(test[0]).numpy(),
        test[1],
        test[2],
        image_layout="channels_first",
    )
    ratios, temperatures, t_power = settings
    found = curves(
        task,
        kernel,
        ratios,
        temperatures,
        t_power,
        [n],
        orderings=1,
        dtype="float32",
        standardise=False,
        scale=Scale("dense"),
    )
    return found.isel(n=-1, ordering=0).drop_vars("n").assign_attrs(n=n)


def _added(
    sums: Any, reader: _Reader, begin: int, end: int, client: Any, there: Any, advance: Any
) -> list[Tensor]:
    """Add the samples from begin to end, on a cluster with the reader that is there."""
    chunks = [(start, min(start + _CHUNK, end)) for start in range(begin, end, _CHUNK)]
    if client is None:
        for start, stop in chunks:
            sums = _plus(sums, reader.sums(start, stop))
            advance(stop - start)
        return list(sums)
    futures = [client.submit(_Reader.sums, there, *chunk, pure=False) for chunk in chunks]
    while len(futures) > 1:
        pairs = [futures[k : k + 2] for k in range(0, len(futures), 2)]
        # Before more chunks: so that workers hold few sums, however many samples there are.
        futures = [
            client.submit(_both, *pair, pure=False, priority=1) if len(pair) == 2 else pair[0]
            for pair in pairs
        ]
    added = _plus(sums, futures[0].result())
    advance(end - begin)
    return added


def _both(sums: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    """In float64; a worker may need each of them again."""
    return [a.double() + b for a, b in zip(sums, more, strict=True)]


def _plus(sums: list[Tensor] | None, more: list[Tensor]) -> list[Tensor]:
    """In float64, in place of the first."""
    if sums is None:
        return [v.double() for v in more]
    return [a.double().add_(b) for a, b in zip(sums, more, strict=True)]


def _evaluated(
    sums: list[Tensor], n: int, test: _Part, apart: _Part, features: int, settings: tuple[int, int]
) -> dict[str, Tensor]:
    """Everything at one size, (settings,) each, at the ridge that is best for each setting."""
    gram, _, left, _ = sums
    least = _LEAST * float(gram.trace() + left) / n
    ridges = [max(float(left) / n * share, least) for share in _RIDGES]
    residuals = [apart.logits(_solved(sums, ridge)[1]) - apart.targets for ridge in ridges]
    best = torch.stack([residual.square().sum((0, 2)) for residual in residuals]).argmin(0)
    rows = {
        k: _at_ridge(sums, n, ridges[k], residuals[k], test, apart, features)
        for k in sorted(set(best.tolist()))
    }
    chosen = {
        name: torch.stack([rows[k][name][setting] for setting, k in enumerate(best.tolist())])
        for name in next(iter(rows.values()))
    }
    chosen["ridge"] = torch.tensor(_RIDGES, dtype=gram.dtype)[best]
    return {name: values.reshape(settings) for name, values in chosen.items()}


def _solved(sums: list[Tensor], ridge: float) -> tuple[Tensor, Tensor]:
    """The factor of ΦᵀΦ + ridge I, and the weights of all settings."""
    gram, cross, _, _ = sums
    lower = gram.clone()
    lower.diagonal().add_(ridge)
    lower = torch.linalg.cholesky(lower)
    return lower, torch.cholesky_solve(cross, lower)


def _at_ridge(
    sums: list[Tensor],
    n: int,
    ridge: float,
    residual: Tensor,
    test: _Part,
    apart: _Part,
    features: int,
) -> dict[str, Tensor]:
    """Everything at one size and ridge, for all settings."""
    lower, weights = _solved(sums, ridge)
    logits, variance = test.logits(weights), test.variance(lower, ridge)
    # s² of (4.4): by how much more than the power function says the samples miss that were kept
    # apart.
    scale = (residual.square() / apart.variance(lower, ridge)[:, None, None]).mean(0)
    row = _risks(logits, test)
    row["expected_transfer_risk"] = transfer_risk.expected_transfer_risk(
        logits.movedim(1, 0), scale * transfer_risk.centred_share(logits.shape[-1]), variance
    )
    row["data_inefficiency"] = torch.full(scale.shape[:1], torch.nan, dtype=scale.dtype)
    if n * _WELL_BELOW <= features:
        # All n samples are landmarks, and have no other features.
        norm = weights.square().sum(0).reshape(scale.shape).sum(-1)
        row["data_inefficiency"], _ = data_inefficiency.fresh_sample(
            norm, test.targets - logits, variance, 0.0, n
        )
    return row


def _risks(logits: Tensor, test: _Part) -> dict[str, Tensor]:
    decided = sweep.decide(logits.movedim(1, 0))
    row = {"transfer_risk": (decided != test.decision).double().mean(-1)}
    if test.labels is not None:
        row["error"] = (decided != test.labels).double().mean(-1)
    return row


def _labelled(rows: list[dict[str, Tensor]], sizes: list[int], grid: Grid) -> xr.Dataset:
    dims = ("soft_ratio", "temperature", "n")
    said = DESCRIPTIONS | {
        "ridge": ("ridge, of what the landmarks leave of the kernel's diagonal", "1")
    }
    variables = {
        name: (
            dims,
            torch.stack([row[name] for row in rows], -1).numpy(),
            dict(zip(("long_name", "units"), said[name], strict=True)),
        )
        for name in rows[0]
    }
    coords = {"soft_ratio": grid.soft_ratios, "temperature": grid.temperatures, "n": sizes}
    return xr.Dataset(variables, coords=coords)
