"""Pilots: a few real students of parts of the pool correct what theory predicts (docs/theory.md
§3.3).

Errors are shares. Where a student is, its `places`, is five numbers: its soft ratio, log2 of its
temperature, log2 of its samples over the pool's, its doubt and its haste. Doubt is the standard
deviation of a level that theory carries on to sizes that it has not looked at, alike for all
settings. Haste is how often its epochs would have to be doubled to be those of the student; it is
more where its errors still fall fast.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.polynomial.hermite_e import hermegauss

# How real students' errors were seen to differ from predicted ones (benchmarks/search.py), where
# errors are such that e (1 - e) is _TYPICAL; elsewhere times the root of what that is more or less.
_TYPICAL = 0.15
MEMORISED = 0.21  # of the wrong labels, at a soft ratio of 0: (3.12)
MEMORISED_UNSURE = 0.3  # how that differs by how long and fast a student is trained
_LEVEL, _TREND = 0.02, 0.015  # alike at all settings: at N, and for each doubling of n
_SLOPE = 0.02  # along the soft ratio, from 0 to 1, at all n
_SHAPE, WIDE = 0.01, (0.35, 3.0)  # at N; it grows as n does
_HASTY = 0.002  # by which those err more whose epochs are halved once, however they fall
_FALLING = 0.265  # of what errors fell by in the second half of their training, for each halving
_STEADY = 0.05  # a fall beyond which students are still far from their end
_HASTY_LEVEL, _HASTY_SHAPE = 0.005, 0.004  # how that differs: by task, and by setting
_MEMORISED_LATE = 0.15  # of the wrong labels, for each halving
_SURPRISING = 2.0  # standard deviations, beyond which theory is taken to miss the level
_SEED = 0.18  # over √n: initial weights, batches and which samples they are
_PAIRED = 0.1  # of the test part's noise: students err on the same samples
_DRAWS, _NODES = 2000, 16


def memorised(soft_ratio: np.ndarray, wrong: float, halvings: float = 0.0) -> np.ndarray:
    """Give what students err more than linearised ones where labels are wrong, (3.12): networks fit
    wrong labels in a way that harms them more. They do so late, so that those who are trained for
    fewer epochs err less.

    Parameters
    ----------
    soft_ratio : array
    wrong : float
        Share of the pool's labels that are wrong.
    halvings : float
        Of the epochs.
    """
    late = MEMORISED - _MEMORISED_LATE * halvings
    return np.asarray(late * wrong * (1 - soft_ratio) ** 3)


def hasty(halvings: float, fall: float, scale: float = 1.0) -> float:
    """Give how much more those err whose epochs were halved so often, (3.13).

    Parameters
    ----------
    halvings : float
    fall : float
        By how much errors fell in the second half of their training.
    scale : float
        See `scale`.
    """
    return halvings * (_HASTY * scale + _FALLING * max(0.0, fall))


def haste_of(halvings: float, fall: float) -> float:
    """Give the haste of students whose errors fell by so much in the second half of their training:
    halvings, in those of students that hardly change any more.
    """
    return halvings * float(np.hypot(1, fall / _STEADY))


Places = Float[ndarray, "_ 5"]


def places(
    soft_ratio: np.ndarray, temperature: np.ndarray, share: np.ndarray | float,
    doubt: np.ndarray | float = 0.0, haste: np.ndarray | float = 0.0,
) -> Places:  # fmt: skip
    """Where students of so large a share of the pool are."""
    axes = np.broadcast_arrays(soft_ratio, np.log2(temperature), np.log2(share), doubt, haste)
    return np.stack(axes, -1).astype(float).reshape(-1, 5)


@dataclass(frozen=True)
class Pilots:
    """Real students, and what is predicted of them.

    Attributes
    ----------
    at : array of shape (k, 5)
        Their `places`.
    error, predicted : array of shape (k,)
    noise : array of shape (k,)
        Variance of their errors, see `noise`.
    scale : float
        How much more errors differ here than elsewhere, see `scale`.
    wrong : float
        Share of the pool's labels that are wrong, where it is to be told how unsure errors are for
        it. Pilots are chosen without: they would all go to low soft ratios.
    """

    at: Places
    error: np.ndarray
    predicted: np.ndarray
    noise: np.ndarray
    scale: float = 1.0
    wrong: float = 0.0

    def corrected(
        self, where: Places, predicted: np.ndarray
    ) -> tuple[Float[ndarray, " m"], Float[ndarray, "m m"]]:
        """Give errors as they are to be expected now, and their covariance, (3.11).

        Of a Gaussian process whose prior mean is what is predicted, and whose noise is that of test
        part and seed.

        Parameters
        ----------
        where : array of shape (m, 5)
        predicted : array of shape (m,)
            What theory predicts of students there.

        Returns
        -------
        mean : array of shape (m,)
        covariance : array of shape (m, m)
        """
        if not len(self.at):
            return predicted, self._covariance(where, where)
        level = self.surprise
        prior, across = (self._covariance(a, where, level) for a in (where, self.at))
        known = self._covariance(self.at, self.at, level) + np.diag(self.noise)
        solved = np.linalg.solve(known, across)
        return predicted + (self.error - self.predicted) @ solved, prior - across.T @ solved

    @property
    def surprise(self) -> float:
        """By how much the variance of the level is to grow: the mean squared distance of pilots
        from what was predicted, over what two standard deviations allow; 1 where it is less.

        Where pilots are further off, theory is: it is the level that it can miss by far.
        """
        known = self._covariance(self.at, self.at) + np.diag(self.noise)
        off = self.error - self.predicted
        return max(1.0, float(off @ np.linalg.solve(known, off)) / len(off) / _SURPRISING**2)

    def _covariance(self, a: Places, b: Places, level: float = 1.0) -> Float[ndarray, "a b"]:
        """Of what real errors differ by from predicted ones."""
        late = np.outer((1 - a[:, 0]) ** 3, (1 - b[:, 0]) ** 3)
        memorised = (MEMORISED_UNSURE * self.wrong) ** 2 * late
        doubt = np.outer(a[:, 3], b[:, 3])
        more = (level - 1) * _LEVEL**2
        return np.asarray(self.scale**2 * (_covariance(a, b) + more) + memorised + doubt)


def scale(error: float) -> float:
    """Give how much more real students differ from predicted ones where errors are like this."""
    known = min(max(error, 0.002), 0.998)
    return float(np.sqrt(known * (1 - known) / _TYPICAL))


def noise(error: np.ndarray, n: np.ndarray, tested: int, scale: float = 1.0) -> np.ndarray:
    """Variance of real students' errors: their seeds, and a test part of so many samples."""
    known = np.clip(error, 0.5 / tested, 1 - 0.5 / tested)
    return np.asarray(_PAIRED * known * (1 - known) / tested + (scale * _SEED) ** 2 / n)


def _covariance(a: Places, b: Places) -> Float[ndarray, "a b"]:
    """Of what real errors differ by from predicted ones, but for the doubt of levels carried on."""
    size, other, near = a[:, 2], b[:, 2], _near(a, b)
    alike = _LEVEL**2 + _TREND**2 * np.outer(size, other)
    slope = _SLOPE**2 * np.outer(1 - a[:, 0], 1 - b[:, 0])
    shape = _SHAPE**2 * np.outer(2**size, 2**other) * near
    late = np.outer(a[:, 4], b[:, 4]) * (_HASTY_LEVEL**2 + _HASTY_SHAPE**2 * near)
    return np.asarray(alike + slope + shape + late)


def _near(a: Places, b: Places) -> Float[ndarray, "a b"]:
    """How much settings that are this far apart tell of each other."""
    apart = (a[:, None, :2] - b[None, :, :2]) / WIDE
    return np.asarray(np.exp(-0.5 * np.square(apart).sum(-1)))


def expected_regret(mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> float:
    """Give how much more the setting of the least mean is expected to err than the best one: the
    mean of `regrets`.
    """
    return float(regrets(mean, covariance, seed).mean())


def regrets(mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> Float[ndarray, " draws"]:
    """Draw how much more the setting of the least mean may err than the best one.

    Parameters
    ----------
    mean : array of shape (S,)
        Expected errors of the settings.
    covariance : array of shape (S, S)
    seed : int
        Of the draws behind it.
    """
    values, vectors = np.linalg.eigh(covariance)
    spread = vectors * np.sqrt(np.clip(values, 0, None))
    normal = np.random.default_rng(seed).standard_normal((_DRAWS, len(mean)))
    drawn = mean + normal @ spread.T
    return np.asarray(drawn[:, mean.argmin()] - drawn.min(1))


def gains(
    mean: Float[ndarray, " S"], covariance: Float[ndarray, "SP SP"], noises: Float[ndarray, " P"]
) -> Float[ndarray, " P"]:
    """Give what one more pilot is expected to take off the error of the setting then chosen.

    The knowledge gradient: Frazier, Powell and Dayanik, *The knowledge-gradient policy for
    correlated normal beliefs*, INFORMS Journal on Computing 2009.

    Parameters
    ----------
    mean : array of shape (S,)
        Expected errors of the settings at N.
    covariance : array of shape (S + P, S + P)
        Of those, and of P candidates.
    noises : array of shape (P,)
        Variances of the candidates' own noise.

    Returns
    -------
    array of shape (P,)
        In shares, 0 or more but for rounding.
    """
    nodes, weights = hermegauss(_NODES)
    settings = len(mean)
    surprise = np.sqrt(np.diag(covariance)[settings:] + noises)
    moves = covariance[:settings, settings:] / surprise
    least = (mean[:, None, None] + moves[..., None] * nodes).min(0)
    return np.asarray(mean.min() - least @ (weights / weights.sum()))
