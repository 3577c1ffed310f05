"""What the rules look at: one teacher epoch's settings at n = N, flattened, with paired
mistakes.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.task import Taught
from tutelage.theory.pilots import MEMORISED, MEMORISED_UNSURE, memorised


@dataclass(frozen=True)
class Evidence:
    """The settings of one teacher epoch at the task's own size.

    Attributes
    ----------
    soft_ratio, temperature : array of shape (S,)
    mistakes : bool array of shape (S, R, M)
        Which held-out samples each setting's student gets wrong, for each of its R starts (1 for a
        closed form); paired, as all settings see the same ones.
    inefficiency, inefficiency_se : array of shape (S,)
    effort, effort_se : array of shape (S,)
        What makes one of two equally good settings the harder to learn: data inefficiency, or for a
        network that is linearised the distance ‖Δŵ_N‖ that it must travel.
    truth : integer array of shape (M,)
        What the held-out samples are, or without labels what the teacher says they are.
    against_labels : bool
        Whether mistakes are against true labels; without labels they are against the teacher.
    expected : (array of shape (S,), array of shape (S, S)), optional
        Errors as they are to be expected after pilots, and the covariance of how students differ
        from that on the same samples; mistakes are then of
        linearised students of a part of the pool.
    wrong : float
        Share of the pool's labels that are wrong, where the choice is to count what they do to
        networks and not to this student, (3.12).
    """

    soft_ratio: np.ndarray
    temperature: np.ndarray
    mistakes: np.ndarray
    inefficiency: np.ndarray
    inefficiency_se: np.ndarray
    effort: np.ndarray
    effort_se: np.ndarray
    truth: np.ndarray
    against_labels: bool
    expected: tuple[np.ndarray, np.ndarray] | None = None
    wrong: float = 0.0

    @classmethod
    def of(cls, task: Taught, data: xr.Dataset, epoch: int) -> "Evidence":
        """Gather it from the curves of one epoch (`data` has no epoch axis left)."""
        from_test = data.attrs["error_from"] == "test part"
        decided = data.decision if from_test else data.decision_loo
        truth, labelled = _truth(task, data, epoch, from_test=from_test)
        ratios, temperatures = np.meshgrid(
            data.soft_ratio.values, data.temperature.values, indexing="ij"
        )
        at_pool = data.isel(n=-1)
        inefficiency = at_pool.data_inefficiency.mean("ordering").values.ravel()
        inefficiency_se = at_pool.data_inefficiency_se.mean("ordering").values.ravel()
        effort, effort_se = inefficiency, inefficiency_se
        if data.attrs["finite"] or not np.isfinite(inefficiency).all():
            effort, effort_se = _distance(data)
        known = np.ones(len(truth), bool)
        if not from_test:
            known = (decided.values >= 0).all(
                (0, 1)
            )  # a start that has seen a sample cannot tell it left out
            known &= data.copy_of.values == np.arange(len(truth))  # copies count once
            known &= truth != NOT_LABELLED
            decided = decided.expand_dims("start")
        answers = decided.transpose(..., "start", decided.dims[-1]).values
        return cls(
            ratios.ravel(),
            temperatures.ravel(),
            (answers != truth)[..., known].reshape(ratios.size, answers.shape[-2], -1),
            inefficiency,
            inefficiency_se,
            effort,
            effort_se,
            np.asarray(truth)[known],
            labelled,
            _expected(at_pool),
        )

    @property
    def error(self) -> np.ndarray:
        """Of each setting at N: mean mistakes, or what is expected after pilots, (S,)."""
        return self.mistakes.mean((1, 2)) if self.expected is None else self.expected[0]

    @property
    def alone(self) -> bool:
        """Whether nothing is known of real students, neither by pilots nor by wrong labels."""
        return self.expected is None and self.wrong == 0

    @property
    def harm(self) -> np.ndarray:
        """What networks err more than this student, by wrong labels, (S,)."""
        return memorised(self.soft_ratio, self.wrong)

    @property
    def judged(self) -> np.ndarray:
        """What settings are compared by: errors and harm, (S,)."""
        return self.error + self.harm

    @property
    def balanced_error(self) -> np.ndarray:
        """Mean over classes of each one's share of mistakes, for every setting, (S,); pilots move
        it as they move the error.
        """
        by_class = [self.mistakes[..., self.truth == k].mean((1, 2)) for k in np.unique(self.truth)]
        moved = self.error - self.mistakes.mean((1, 2))
        return np.clip(np.mean(by_class, 0) + moved, 0, 1)

    @property
    def majority_error(self) -> float:
        """Of a student that gives the most frequent class to every sample."""
        return 1 - float(np.bincount(self.truth).max()) / len(self.truth)

    @property
    def error_se(self) -> np.ndarray:
        """Standard error of each setting's error, (S,)."""
        if self.expected is not None:
            sampled = standard_error(self.expected[0][None], np.array(self.mistakes.shape[2]))
            return np.hypot(sampled, np.sqrt(np.diag(self.expected[1])))
        return standard_error(self.mistakes.mean(2).T, np.array(self.mistakes.shape[2]))

    def excess(self, setting: int, other: int) -> tuple[float, float]:
        """How much more often one setting errs than another, harm included, and the paired standard
        error; after pilots that of the samples, and of how students differ from what is expected.
        """
        excess, sampled = paired(self.mistakes[setting], self.mistakes[other])
        if self.expected is None:
            harm = float(self.harm[setting] - self.harm[other])
            unsure = harm * MEMORISED_UNSURE / MEMORISED
            return excess + harm, float(np.hypot(sampled, unsure))
        mean, covariance = self.expected
        two = covariance[np.ix_([setting, other], [setting, other])]
        variance = max(0.0, two[0, 0] + two[1, 1] - 2 * two[0, 1])
        return float(mean[setting] - mean[other]), float(np.hypot(sampled, variance**0.5))

    def within_one_se(self, setting: int, other: int) -> bool:
        """Whether one setting errs more than another by no more than the paired standard error."""
        return _within(*self.excess(setting, other))


def _expected(at_pool: xr.Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    if "error_covariance" not in at_pool:
        return None
    return at_pool.error.mean("ordering").values.ravel(), at_pool.error_covariance.values


def _truth(
    task: Taught, data: xr.Dataset, epoch: int, *, from_test: bool
) -> tuple[np.ndarray, bool]:
    """What the samples are that errors are measured on, and whether labels say so."""
    held_out = data.held_out.values if from_test and "held_out" in data else slice(None)
    of_test = from_test and "held_out" not in data
    labels = task.y_test if of_test else task.y_train
    if labels is not None:
        return labels[held_out], True
    taught = task.teacher_decisions("test" if of_test else "train")
    assert taught is not None
    return taught[epoch][held_out], False


def _distance(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    starts = data.sizes["ordering"]
    spread = (
        data.distance.std("ordering", ddof=1) / starts**0.5 if starts > 1 else 0 * data.distance[0]
    )
    return data.distance.mean("ordering").values.ravel(), spread.values.ravel()


def within_one_se(mistakes: np.ndarray, best: np.ndarray) -> bool:
    """Whether a row of mistakes exceeds the best one by no more than the paired standard error."""
    return _within(*paired(mistakes, best))


def _within(excess: float, error: float) -> bool:
    # A single sample more is exactly one standard error, which rounding must not undo.
    return excess <= error * (1 + 1e-9)


def paired(mistakes: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Mean difference of mistakes (R, M) on the same samples, and its standard error over samples
    and starts.
    """
    difference = mistakes.astype(float) - others
    return float(difference.mean()), _paired_error(difference)


def standard_error(shares: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Of the mean of shares over orderings, starts or seeds, the one formula of tables and charts.

    Its parts are the held-out samples' noise, p (1 - p) / M, where no share is taken for surer than
    half a sample; and what the R orderings differ by, over R. Those that end with the same samples
    and give the same share do not differ.

    Parameters
    ----------
    shares : array of shape (R, ...)
    counted : integer array that broadcasts to (...)
        M, the held-out samples behind each share.
    """
    mean = np.clip(shares.mean(0), 0.5 / counted, 1 - 0.5 / counted)
    variance = mean * (1 - mean) / counted
    if len(shares) > 1:
        variance = variance + shares.var(0, ddof=1) / len(shares)
    # One sample tells nothing of the others.
    return np.where(counted == 1, 1.0, np.sqrt(variance))


def _paired_error(values: np.ndarray) -> float:
    """Of the mean of values (R, M): over M samples, and over R starts if there are several."""
    by_sample, by_start = values.mean(0), values.mean(1)
    if len(by_sample) == 1:
        return 1.0  # one sample tells nothing of the others
    variance = by_sample.var(ddof=1) / len(by_sample)
    if len(by_start) > 1:
        variance += by_start.var(ddof=1) / len(by_start)
    return float(variance**0.5)
