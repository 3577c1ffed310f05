"""How many samples: the curve over n, the samples a target needs, the value of the next ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from tutelage.decisions.evidence import standard_error
from tutelage.decisions.labels import Labelling

INTERVAL = 0.9
_DRAWS, _EXPONENTS = 400, np.linspace(0.05, 2.0, 79)
# By how much more a doubling of the pool brought than the fitted law says, and how that differed
# (benchmarks/intervals.py), where errors are such that e (1 - e) is _TYPICAL.
_MORE, _MORE_SPREAD, _TYPICAL = 0.006, 0.009, 0.15


@dataclass(frozen=True)
class Target:
    """Samples needed for a target error.

    Attributes
    ----------
    error : float
        The target.
    n, n_low, n_high : int or None
        Samples and their 90 % interval; None where the forecast levels off above the target.
    extrapolated : bool
        Whether n lies beyond the pool.
    """

    error: float
    n: int | None
    n_low: int | None
    n_high: int | None
    extrapolated: bool


@dataclass(frozen=True)
class Forecast:
    """The error predicted for a larger pool, with its 90 % interval."""

    n: int
    error: float
    error_low: float
    error_high: float


@dataclass(frozen=True)
class Samples:
    """The recommended setting over n; lists go with `sizes`, None where there are no labels or no
    teacher, or nothing to measure on.

    `next_1000` forecasts the error after 1,000 more samples; `labelled` what labels would bring of
    all samples, where a part has them.
    """

    sizes: list[int]
    error: list[float] | None
    error_se: list[float] | None
    agreement: list[float | None] | None
    expected_transfer_risk: list[float | None]
    risk_bound: list[float | None]
    power_bound: list[float | None]
    target: Target | None
    next_1000: Forecast | None
    labelled: Labelling | None = None


def samples(data: xr.Dataset, target_error: float | None, seed: int) -> Samples:
    """Read the sample-size decisions off the curves of one setting.

    Parameters
    ----------
    data : xarray.Dataset
        With dims `ordering` and `n` only.
    target_error : float, optional
    seed : int
        Of the draws behind the intervals.

    Returns
    -------
    Samples
    """
    sizes = data.n.values
    mean = data.mean("ordering")

    def listed(name: str) -> list[float | None]:
        return [float(v) if np.isfinite(v) else None for v in mean[name].values]

    error: Any = None
    error_se: Any = None
    target, ahead = None, None
    if "error" in data:
        # Where copies of what was seen are all that is left of a pool, nothing can be measured.
        known = np.isfinite(data.error.values).all(data.error.dims.index("ordering"))
        curve = Curve.of(data.isel(n=known))
        error, error_se = (np.full(len(sizes), np.nan) for _ in range(2))
        error[known], error_se[known] = curve.error, curve.standard_error
        error, error_se = error.tolist(), error_se.tolist()
        draws = curve.draws(seed)
        target = None if target_error is None else _target(curve, draws, target_error)
        ahead = forecast(curve, draws, int(sizes[-1]) + 1000) if len(curve.sizes) >= 4 else None
    agreement = None
    if "transfer_risk" in data:
        agreement = [None if r is None else 1 - r for r in listed("transfer_risk")]
    return Samples(
        [int(n) for n in sizes],
        error,
        error_se,
        agreement,
        listed("expected_transfer_risk"),
        listed("risk_bound"),
        listed("power_bound"),
        target,
        ahead,
    )


@dataclass(frozen=True)
class Curve:
    """Error over n, with its standard error and the kinds of noise: the held-out samples' (shared
    by all n), the orderings', and the pool's.

    `pool_se` is how much the error at N would differ had another pool been drawn: what orderings
    differ by at smaller n, freed of their sharing a pool, and shrunk to N as 1/n.
    """

    sizes: np.ndarray
    error: np.ndarray
    standard_error: np.ndarray
    sampling_se: np.ndarray
    ordering_se: np.ndarray
    pool_se: float

    @classmethod
    def of(cls, data: xr.Dataset) -> "Curve":
        """From the curves of one setting."""
        values, counted = data.error.transpose("ordering", "n").values, data.evaluated.values
        total, alone = (standard_error(v, counted) for v in (values, values.mean(0)[None]))
        if "error_se" in data:  # after pilots
            total = data.error_se.values
            between = np.sqrt(np.clip(total**2 - alone**2, 0, None))
            return cls(data.n.values.astype(float), values.mean(0), total, alone, between, 0.0)
        # With one ordering its noise is unknown; a sample's own is then the best guess there is.
        between = np.sqrt(total**2 - alone**2) if len(values) > 1 else 0.5 * alone
        between[-1] *= len(values) > 1  # every ordering ends with the whole pool
        pool = _pool_se(data.n.values, values)
        return cls(data.n.values.astype(float), values.mean(0), total, alone, between, pool)

    def draws(self, seed: int) -> np.ndarray:
        """Curves that could as well have been seen, (draws, sizes)."""
        rng = np.random.default_rng(seed)
        shared = rng.standard_normal((_DRAWS, 1)) * self.sampling_se
        shared = shared + rng.standard_normal((_DRAWS, 1)) * self.pool_se
        own = rng.standard_normal((_DRAWS, len(self.sizes))) * np.hypot(
            self.ordering_se, 0.25 * self.sampling_se
        )
        return np.clip(self.error + shared + own, 0, 1)


def _pool_se(sizes: np.ndarray, values: np.ndarray) -> float:
    """From curves (orderings, sizes); a sample of n out of N varies by 1 - n/N of what a sample of
    n from afresh does.
    """
    share = sizes / sizes[-1]
    middle = (share >= 0.1) & (share <= 0.7)
    if len(values) < 2 or not middle.any():
        return 0.0
    variance = values.var(0, ddof=1)[middle] / (1 - share[middle]) * share[middle]
    return float(variance.mean() ** 0.5)


def power_law(
    sizes: np.ndarray, errors: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a + b n^-c to curves (draws, sizes) by weighted least squares; a, b >= 0 and c in [0.05,
    2].

    For a given c the rest is linear, so that c is found on a grid and a, b in closed form.
    """
    scaled = (sizes / sizes[-1])[None] ** -_EXPONENTS[:, None]  # (exponents, sizes)
    total = weights.sum()
    mean_x = scaled @ weights / total
    mean_y = errors @ weights / total
    centred_x = scaled - mean_x[:, None]
    covariance = (errors - mean_y[:, None]) @ (weights * centred_x).T  # (draws, exponents)
    spread = (weights * centred_x**2).sum(1)
    b = np.clip(
        covariance / np.where(spread > 0, spread, 1), 0, None
    )  # one size alone tells nothing of how errors fall
    a = mean_y[:, None] - b * mean_x
    # An error floor below 0 is none: the line through the origin then fits best.
    through = (errors * weights) @ scaled.T / (weights * scaled**2).sum(1)
    a, b = np.where(a < 0, 0, a), np.where(a < 0, np.clip(through, 0, None), b)
    residual = errors[:, None] - a[..., None] - b[..., None] * scaled
    best = (weights * residual**2).sum(-1).argmin(1)
    rows = np.arange(len(errors))
    c = _EXPONENTS[best]
    return a[rows, best], b[rows, best] * sizes[-1] ** c, c


def forecast(curve: Curve, draws: np.ndarray, n: int) -> Forecast:
    """Predict the error at n beyond the pool, from `Curve.draws` with an interval."""
    central = _extrapolate(curve, curve.error[None], n)[0]
    low, high = np.quantile(_extrapolate(curve, draws, n, _more(curve)), _tails())
    return Forecast(n, float(central), float(min(low, central)), float(max(high, central)))


def _more(curve: Curve) -> np.ndarray:
    """Draws of what the first doubling beyond the pool brings more than the fitted law says."""
    last = float(np.clip(curve.error[-1], 0.002, 0.998))
    scale = (last * (1 - last) / _TYPICAL) ** 0.5
    normal = np.random.default_rng(_DRAWS).standard_normal(_DRAWS)
    return np.asarray(scale * (_MORE + _MORE_SPREAD * normal))


def _extrapolate(
    curve: Curve, errors: np.ndarray, n: int, more: np.ndarray | float = 0.0
) -> np.ndarray:
    a, b, c = _law_from_last(curve, errors, more)
    return np.clip(a + b * float(n) ** -c, 0, 1)


def _law_from_last(
    curve: Curve, errors: np.ndarray, more: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move on from the last point, which no ordering blurs, by what the fitted law says is still to
    be gained, and by so much more in the first doubling.
    """
    _, b, c = power_law(curve.sizes, errors, 1 / curve.standard_error**2)
    doubling = curve.sizes[-1] ** -c * (1 - 2**-c)
    b = np.clip(b + more / doubling, 0, None)
    return errors[:, -1] - b * curve.sizes[-1] ** -c, b, c


def _target(curve: Curve, draws: np.ndarray, target: float) -> Target:
    central = _crossing(curve, curve.error[None], target)[0]
    found = _crossing(curve, draws, target, _more(curve))
    low, high = np.quantile(found, _tails(), method="nearest")
    return Target(
        float(target),
        _count(central),
        _count(min(low, central)),
        _count(max(high, central)),
        bool(central > curve.sizes[-1]),
    )


def _crossing(
    curve: Curve, errors: np.ndarray, target: float, more: np.ndarray | float = 0.0
) -> np.ndarray:
    """The n at which each curve first stays at or below the target; inf where it never does."""
    falling = np.minimum.accumulate(errors, axis=1)
    a, b, c = _law_from_last(curve, errors, more)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        beyond = np.where(target > a, (b / (target - a)) ** (1 / c), np.inf)
    found = np.maximum(beyond, curve.sizes[-1] * (1 + 1e-9))
    log_n = np.log(curve.sizes)
    for row in np.flatnonzero(falling[:, -1] <= target):
        k = int(np.argmax(falling[row] <= target))
        if k == 0:
            found[row] = curve.sizes[0]
            continue
        above, below = falling[row, k - 1], falling[row, k]
        found[row] = np.exp(
            log_n[k - 1] + (log_n[k] - log_n[k - 1]) * (above - target) / (above - below)
        )
    return found


def _count(n: float) -> int | None:
    return int(np.ceil(n)) if n < 1e12 else None


def _tails() -> list[float]:
    return [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2]
