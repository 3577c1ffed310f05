"""What the rules look at: one teacher epoch's settings at n = N, flattened, with paired mistakes."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from tutelage.task import Task


@dataclass(frozen=True)
class Evidence:
    """The settings of one teacher epoch at the task's own size.

    Attributes
    ----------
    soft_ratio, temperature : array of shape (S,)
    mistakes : bool array of shape (S, M)
        Which held-out samples each setting's student gets wrong; paired, as all see the same ones.
    inefficiency, inefficiency_se : array of shape (S,)
    against_labels : bool
        Whether mistakes are against true labels; without labels they are against the teacher.
    """

    soft_ratio: np.ndarray
    temperature: np.ndarray
    mistakes: np.ndarray
    inefficiency: np.ndarray
    inefficiency_se: np.ndarray
    against_labels: bool

    @classmethod
    def of(cls, task: Task, data: xr.Dataset, epoch: int) -> "Evidence":
        """Gather it from the curves of one epoch (`data` has no epoch axis left)."""
        from_test = data.attrs["error_from"] == "test part"
        decided, part = (data.decision, "test") if from_test else (data.decision_loo, "train")
        labels = task.y_test if from_test else task.y_train
        truth = labels if labels is not None else task.teacher_decisions(part)[epoch]  # type: ignore[index]
        ratios, temperatures = np.meshgrid(data.soft_ratio.values, data.temperature.values, indexing="ij")
        at_pool = data.isel(n=-1)
        return cls(
            ratios.ravel(),
            temperatures.ravel(),
            decided.values.reshape(ratios.size, -1) != truth,
            at_pool.data_inefficiency.mean("ordering").values.ravel(),
            at_pool.data_inefficiency_se.mean("ordering").values.ravel(),
            labels is not None,
        )

    @property
    def error(self) -> np.ndarray:
        """Mean mistakes of each setting, (S,)."""
        return self.mistakes.mean(1)

    def excess(self, setting: int, other: int) -> tuple[float, float]:
        """How much more often one setting errs than another, and the paired standard error."""
        return paired(self.mistakes[setting], self.mistakes[other])


def within_one_se(mistakes: np.ndarray, best: np.ndarray) -> bool:
    """Whether a row of mistakes exceeds the best one by no more than the paired standard error."""
    excess, error = paired(mistakes, best)
    # A single sample more is exactly one standard error, which rounding must not undo.
    return excess <= error * (1 + 1e-9)


def paired(mistakes: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Mean difference of two rows of mistakes on the same samples, and its standard error."""
    difference = mistakes.astype(float) - others
    return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)
