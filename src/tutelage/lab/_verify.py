"""A plan against real students (docs/theory.md §7): what was predicted, and what came of it."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from tutelage._plan import Plan
from tutelage.data.task import Task
from tutelage.decisions.evidence import paired, standard_error
from tutelage.exceptions import SettingError
from tutelage.lab._distil import Setting, distil
from tutelage.made_for import MadeFor
from tutelage.outputs import as_json
from tutelage.progress import Progress, silent
from tutelage.students import TorchStudent, network_of
from tutelage.students.network import ATTEMPTS
from tutelage.train import Training

DEFAULTS: dict[str, Setting] = {
    "usual default (ρ = 0.9, T = 4)": (0.9, 4.0),
    "usual default (ρ = 0.5, T = 1)": (0.5, 1.0),
    "labels only": (0.0, 1.0),
}
_TWO_SIDED = 1.96


@dataclass(frozen=True)
class Row:
    """One setting: the error that was predicted, None where the plan does not hold the setting, and
    the real one.

    `within` says whether they differ by less than 1.96 standard errors of both together.
    """

    soft_ratio: float
    temperature: float
    role: str
    predicted: float | None
    predicted_se: float | None
    real: float
    real_se: float
    within: bool | None


@dataclass(frozen=True)
class Verification:
    """A plan checked against real students.

    Attributes
    ----------
    rows : list of Row
        Least real error first.
    regret, regret_se : float
        Real error of the recommended setting less the least real error of all that were trained.
    best : (soft ratio, temperature)
        Of the least real error.
    rank_correlation : float or None
        Of predicted and real errors over settings, if there are 3 or more.
    students, seconds, plan_seconds : int, float, float
        Real students trained, what they took, and what the plan took.
    epochs, learning_rate : int, float
        Of the real students.

    Examples
    --------
    >>> import numpy as np, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(90, 3))
    >>> y = (x[:, 0] > 0).astype(int)
    >>> task = tu.Task(
    ...     x_train=x[:60], teacher_logits_train=3 * x[:60, 0], y_train=y[:60],
    ...     x_test=x[60:], teacher_logits_test=3 * x[60:, 0], y_test=y[60:])
    >>> made = tu.plan(task, student="mlp:width=8,depth=1", epochs=1, orderings=1)
    >>> found, _ = verify(task, made, seeds=1)
    >>> found.regret >= 0, found.best == (found.rows[0].soft_ratio, found.rows[0].temperature)
    (True, True)
    """

    rows: list[Row]
    regret: float
    regret_se: float
    best: Setting
    rank_correlation: float | None
    students: int
    seconds: float
    plan_seconds: float
    student: str
    epochs: int
    learning_rate: float

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """Give it as JSON, and write it to `path` if there is one.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        return as_json(self.as_dict(), path)


def verify(
    task: Task,
    plan: Plan,
    student: TorchStudent | None = None,
    *,
    grid: bool = False,
    seeds: int = 2,
    seed: int | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> tuple[Verification, xr.Dataset]:
    """Train real students at the recommended setting, at usual defaults and on the labels alone,
    and compare.

    Parameters
    ----------
    task : Task
        The plan's own, with a labelled test part.
    plan : Plan
    student : TorchStudent, optional
        By default the plan's, trained as it was predicted of, see `trained_as_planned`.
    grid : bool
        Train every setting of the plan's grid, too.
    seeds, out, progress
        See `distil`.
    seed : int, optional
        By default the plan's.

    Returns
    -------
    Verification
    xarray.Dataset
        The students, see `distil`.

    Raises
    ------
    SettingError
        If the task has no labelled test part, or is not the plan's.
    StudentError
        If training diverges.

    Examples
    --------
    >>> import numpy as np, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(90, 3))
    >>> y = (x[:, 0] > 0).astype(int)
    >>> task = tu.Task(
    ...     x_train=x[:60], teacher_logits_train=3 * x[:60, 0], y_train=y[:60],
    ...     x_test=x[60:], teacher_logits_test=3 * x[60:, 0], y_test=y[60:])
    >>> made = tu.plan(task, student="mlp:width=8,depth=1", epochs=1, orderings=1)
    >>> found, students = verify(task, made, seeds=1)
    >>> found.students == len(found.rows) == students.sizes["setting"]
    True
    """
    if task.y_test is None:
        raise SettingError(
            "A plan is verified on a labelled test part, which this task has not; add x_test and"
            " y_test."
        )
    if plan.curves.attrs["task"] != task.fingerprint:
        raise SettingError(
            "The plan was made for another task; give the task file that it was made from."
        )
    settings = _settings(plan, grid=grid, labels=task.y_train is not None)
    trained = distil(
        task,
        student or trained_as_planned(plan.made_for),
        settings,
        seeds=seeds,
        t_power=plan.t_power,
        seed=plan.made_for.seed if seed is None else seed,
        standardise=plan.made_for.standardise,
        out=out,
        progress=progress,
    )
    return compare(plan, trained, task.y_test), trained


def trained_as_planned(
    made_for: MadeFor,
    *,
    student: str | None = None,
    epochs: float | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    optimiser: str | None = None,
    weight_decay: float | None = None,
    warmup: float | None = None,
) -> TorchStudent:
    """Give the student that a plan is about, to be trained as it was predicted of.

    Parameters
    ----------
    made_for : MadeFor
        The plan's.
    student : str, optional
        Another one, as a SPEC; its learning rate is found anew.
    epochs, learning_rate, batch_size, optimiser, weight_decay, warmup : optional
        In place of the plan's; another optimiser's learning rate is found anew.

    Returns
    -------
    TorchStudent

    Raises
    ------
    StudentError
        If the plan does not say how its student is made.

    Examples
    --------
    >>> import numpy as np, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(60, 3))
    >>> task = tu.Task(x_train=x, teacher_logits_train=x[:, 0])
    >>> made = tu.plan(task, student="mlp:width=8,depth=1", epochs=2, batch_size=16, orderings=1)
    >>> student = trained_as_planned(made.made_for)
    >>> student.epochs, student.training.batch_size
    (2, 16)
    """
    plain = Training()
    known = made_for.optimiser or plain.optimiser
    training = replace(
        plain,
        batch_size=batch_size or made_for.batch_size or plain.batch_size,
        optimiser=optimiser or known,
        weight_decay=made_for.weight_decay if weight_decay is None else weight_decay,
        warmup=made_for.warmup if warmup is None else warmup,
    )
    same = student is None and training.optimiser == known
    if learning_rate is not None:
        training = replace(training, learning_rate=learning_rate)
    elif same and made_for.learning_rate is not None:
        attempts = plain.attempts if made_for.learning_rate_given else ATTEMPTS
        training = replace(training, learning_rate=made_for.learning_rate, attempts=attempts)
    return network_of(
        student or made_for.student, training=training, epochs=epochs or made_for.epochs
    )


def compare(plan: Plan, trained: xr.Dataset, labels: np.ndarray) -> Verification:
    """Compare a plan with students that have been trained on the whole pool.

    Parameters
    ----------
    plan : Plan
    trained : xarray.Dataset
        From `distil`.
    labels : array of shape (M,)
        Of the test part.

    Returns
    -------
    Verification
    """
    mistakes = (
        trained.decision.isel(n=-1).transpose("setting", "seed", "test_sample").values != labels
    )
    settings = list(
        zip(trained.soft_ratio.values.tolist(), trained.temperature.values.tolist(), strict=True)
    )
    errors = mistakes.mean((1, 2))
    rows = [_row(plan, setting, m) for setting, m in zip(settings, mistakes, strict=True)]
    chosen, best = settings.index(_recommended(plan)), int(errors.argmin())
    both = [(row.predicted, row.real) for row in rows if row.predicted is not None]
    rank = float(spearmanr(*zip(*both, strict=True)).statistic) if len(both) > 2 else None
    regret, regret_se = paired(mistakes[chosen], mistakes[best])
    return Verification(
        sorted(rows, key=lambda row: (row.real, row.role == "")),
        regret,
        regret_se,
        settings[best],
        rank if rank is not None and np.isfinite(rank) else None,
        mistakes.shape[0] * mistakes.shape[1],
        float(trained.seconds.sum()),
        plan.seconds,
        str(trained.attrs["student"]),
        int(trained.attrs["epochs"]),
        float(trained.attrs["learning_rate"]),
    )


def _recommended(plan: Plan) -> Setting:
    return plan.recommended.soft_ratio, plan.recommended.temperature


def _settings(plan: Plan, *, grid: bool, labels: bool) -> list[Setting]:
    wanted = [_recommended(plan), *DEFAULTS.values()]
    wanted += [(s.soft_ratio, s.temperature) for s in plan.settings] if grid else []
    return list(dict.fromkeys(s for s in wanted if labels or s[0] == 1))


def _row(plan: Plan, setting: Setting, mistakes: np.ndarray) -> Row:
    predicted = next((s for s in plan.settings if (s.soft_ratio, s.temperature) == setting), None)
    roles = ["recommended"] if setting == _recommended(plan) else []
    roles += [name for name, default in DEFAULTS.items() if default == setting]
    counted = np.array(mistakes.shape[1])
    real, real_se = float(mistakes.mean()), float(standard_error(mistakes.mean(1), counted))
    within = None
    if predicted is not None and predicted.error is not None and predicted.error_se is not None:
        within = bool(
            abs(predicted.error - real) <= _TWO_SIDED * np.hypot(predicted.error_se, real_se)
        )
    return Row(
        *setting,
        ", ".join(roles),
        None if predicted is None else predicted.error,
        None if predicted is None else predicted.error_se,
        real,
        real_se,
        within,
    )
