"""The theory over a grid of settings, sizes and orderings, as one labelled data set."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from tutelage.exceptions import SettingError, TaskError
from tutelage.kernels import Kernel, gram
from tutelage.outputs import written
from tutelage.progress import Progress, silent
from tutelage.task import Task
from tutelage.theory import data_inefficiency, sweep
from tutelage.theory.effective_logits import check_settings, effective_logits
from tutelage.theory.factor import Factor, factor, inverse_diagonal, reordered, solve
from tutelage.theory.imperfect_teacher import reference_logits
from tutelage.variables import DESCRIPTIONS
from tutelage.version import __version__

SOFT_RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
DTYPES = {"float64": torch.float64, "float32": torch.float32}

Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


def curves(
    task: Task,
    kernel: Kernel,
    soft_ratio: Sequence[float] = SOFT_RATIOS,
    temperature: Sequence[float] = TEMPERATURES,
    t_power: int = 2,
    sizes: Sequence[int] | None = None,
    orderings: int = 4,
    seed: int = 0,
    dtype: str = "float64",
    standardise: bool = True,
    progress: Progress = silent,
) -> xr.Dataset:
    """Compute what every student of a grid of settings will do at every size, before any is trained.

    Parameters
    ----------
    task : Task
    kernel : Kernel
        The student, see `tutelage.kernels`.
    soft_ratio : sequence of float
        In (0, 1]. Without labels only 1 can be analysed, and the rest is left out with a warning.
    temperature : sequence of float
        Positive.
    t_power : {0, 2}
        Power of the temperature before the teacher's term.
    sizes : sequence of int, optional
        Numbers of samples in 2 … N; N itself is always added. By default log-spaced.
    orderings : int
        Random orders of the pool to average over; each costs one factorisation.
    seed : int
        Of the orderings.
    dtype : {"float64", "float32"}
        Of kernel and factorisation.
    standardise : bool
        Remove the pool's mean from each feature and give all one scale, see `Task.inputs`.
    progress : Progress
        Told of kernel, factorisation and settings.

    Returns
    -------
    xarray.Dataset
        Dims `soft_ratio`, `temperature`, `n`, `ordering` (and `epoch` where the task has epochs),
        each variable with a long name and units, and the provenance in `attrs`.

    Raises
    ------
    SettingError
        If a setting, size or dtype lies outside its range.

    Examples
    --------
    >>> import numpy as np
    >>> from tutelage.kernels import mlp
    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> z = 3 * x[:, 0]
    >>> task = Task(x_train=x, teacher_logits_train=z, y_train=(z + x[:, 1] > 0).astype(int))
    >>> found = curves(task, mlp(depth=1), soft_ratio=[0.3, 1.0], temperature=[1.0], sizes=[20, 60], orderings=2)
    >>> dict(found.error.sizes)
    {'ordering': 2, 'soft_ratio': 2, 'temperature': 1, 'n': 2}
    """
    started, warnings = time.perf_counter(), list(task.warnings)
    grid = _Grid.of(_usable_soft_ratios(task, soft_ratio, warnings), temperature, t_power, sizes, task.n_train)
    _check_counts(orderings, dtype)
    orders = [torch.as_tensor(np.random.default_rng([seed, r]).permutation(task.n_train)) for r in range(orderings)]
    last = orders[-1]
    pool, test = task.inputs(DTYPES[dtype], standardise=standardise)
    problem = _Problem(task, grid, DTYPES[dtype], progress)
    # The pool lies in memory in its last ordering, so that the last factorisation needs no copy of the kernel.
    theta = gram(kernel, pool := pool[last], progress=progress)
    cross = None if test is None else kernel(pool, test)
    prior, test_prior = theta.diagonal().clone(), None if test is None else kernel.diag(test)
    found = _sweep(problem, theta, cross, prior, test_prior, [torch.argsort(last)[order] for order in orders], last)
    data = found.labelled(task, grid)
    data.attrs = {
        "tutelage": __version__,
        "student": str(getattr(kernel, "spec", kernel)),
        "t_power": t_power,
        "dtype": dtype,
        "seed": seed,
        "standardised": int(standardise),
        "error_from": "test part" if found.error_from_test else "pool",
        "seconds": time.perf_counter() - started,
        "warnings": json.dumps(warnings + _jitter_warnings(found.factors)),
    }
    return data


def save_curves(data: xr.Dataset, path: str | Path) -> None:
    """Write curves as netCDF; nothing half-written is left.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with written(Path(path)) as partial:
        data.to_netcdf(partial, engine="h5netcdf")


def load_curves(path: str | Path) -> xr.Dataset:
    """Read curves back; a plan made from them is the plan made before they were saved.

    Raises
    ------
    TaskError
        If the file is missing or does not hold curves.
    """
    try:
        data = xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        raise TaskError(f"{path} cannot be read as curves (netCDF): {error}. Give the curves.nc of a plan.") from error
    if "tutelage" not in data.attrs:
        raise TaskError(f"{path} holds no curves of tutelage; give the curves.nc of a plan.")
    return data


@dataclass(frozen=True)
class _Grid:
    soft_ratios: list[float]
    temperatures: list[float]
    t_power: int
    sizes: list[int]

    @classmethod
    def of(
        cls,
        soft_ratio: Sequence[float],
        temperature: Sequence[float],
        t_power: int,
        sizes: Sequence[int] | None,
        n_train: int,
    ) -> "_Grid":
        ratios, temperatures = _axis("soft_ratio", soft_ratio), _axis("temperature", temperature)
        check_settings(ratios, temperatures, t_power)
        return cls(ratios, temperatures, t_power, _sizes(sizes, n_train))

    def effective(self, logits: np.ndarray, labels: np.ndarray | None) -> Tensor:
        """Effective logits of teacher logits (E, n, C) at all settings: (n, E, S, C)."""
        epochs, n, columns = logits.shape
        flat = torch.as_tensor(logits).to(torch.float64).reshape(epochs * n, columns)
        tiled = None if labels is None else torch.as_tensor(labels).repeat(epochs)
        ratios = torch.tensor(self.soft_ratios, dtype=torch.float64)[:, None]
        temperatures = torch.tensor(self.temperatures, dtype=torch.float64)[None]
        solved = effective_logits(
            flat[:, 0] if columns == 1 else flat,
            tiled,
            soft_ratio=ratios,
            temperature=temperatures,
            t_power=self.t_power,
        )
        return solved.reshape(-1, epochs, n, columns).permute(2, 1, 0, 3).contiguous()


@dataclass(frozen=True)
class _Problem:
    """A task's targets as tensors."""

    task: Task
    grid: _Grid
    dtype: torch.dtype
    progress: Progress

    def targets(self) -> sweep.Targets:
        task, labels = self.task, self.task.y_train
        logits = task.teacher_logits("train")
        with self.progress("settings", 1) as advance:
            effective = self.grid.effective(logits, labels).to(self.dtype)
            advance(1)
        teacher = torch.as_tensor(logits).to(torch.float64)
        teacher = teacher if task.n_logits == 1 else teacher - teacher.mean(-1, keepdim=True)
        known = None if labels is None else torch.as_tensor(labels)
        return sweep.Targets(
            effective,
            teacher.movedim(0, 1).to(self.dtype).contiguous(),
            None if known is None else reference_logits(known, task.n_logits).to(self.dtype),
            torch.as_tensor(task.teacher_decisions("train")),
            known,
        )

    def held_out(self, prior: Tensor) -> sweep.HeldOut:
        task = self.task
        logits, decisions, labels = task.teacher_logits("test"), task.teacher_decisions("test"), task.y_test
        complete = logits is not None and (labels is not None or task.y_train is None)
        return sweep.HeldOut(
            prior,
            None if decisions is None else torch.as_tensor(decisions),
            None if labels is None else torch.as_tensor(labels),
            self.grid.effective(logits, labels).to(self.dtype) if complete and logits is not None else None,
        )


@dataclass
class _Found:
    """What the sweep found, ordering by ordering."""

    error_from_test: bool
    evaluated: list[int]
    factors: list[Factor] = field(default_factory=list)
    orderings: list[sweep.Tensors] = field(default_factory=list)
    decision: Tensor | None = None  # (M, E, S)
    decision_loo: Tensor | None = None  # (N, E, S)

    def labelled(self, task: Task, grid: _Grid) -> xr.Dataset:
        """Name the dims; the epoch's goes where the task has no epochs."""
        assert self.decision_loo is not None
        inner = (len(grid.soft_ratios), len(grid.temperatures))
        variables: Variables = {}
        for name in self.orderings[0]:
            stacked = torch.stack([o[name] for o in self.orderings]).double().numpy()
            variables[name] = (
                ("ordering", "epoch", "soft_ratio", "temperature", "n"),
                stacked.reshape(*stacked.shape[:2], *inner, -1),
            )
        dims = ("epoch", "soft_ratio", "temperature")
        slope, slope_se = data_inefficiency.slope(variables["squared_norm"][1], np.array(grid.sizes))
        variables["data_inefficiency_slope"] = ((*dims, "n"), slope)
        variables["data_inefficiency_slope_se"] = ((*dims, "n"), slope_se)
        variables["distance"] = (dims, np.sqrt(variables["squared_norm"][1][-1, ..., -1]))
        for name, sample, decided in (
            ("decision", "test_sample", self.decision),
            ("decision_loo", "pool_sample", self.decision_loo),
        ):
            if decided is not None:
                values = decided.movedim(0, -1).to(torch.int16).numpy()
                variables[name] = ((*dims, sample), values.reshape(len(values), *inner, -1))
        if task.y_train is not None:
            wrong = variables["decision_loo"][1] != task.y_train
            variables["error_loo"] = (dims, wrong.mean(-1))
        variables["evaluated"] = (("n",), np.array(self.evaluated))
        variables["jitter"] = (("ordering",), np.array([f.jitter for f in self.factors]))
        variables["jitter_relative"] = (("ordering",), np.array([f.relative_jitter for f in self.factors]))
        data = xr.Dataset(
            {name: (d, v, _attributes(name)) for name, (d, v) in variables.items()},
            coords={
                "soft_ratio": ("soft_ratio", grid.soft_ratios, {"long_name": "soft ratio ρ", "units": "1"}),
                "temperature": ("temperature", grid.temperatures, {"long_name": "temperature T", "units": "1"}),
                "n": ("n", grid.sizes, {"long_name": "training samples", "units": "samples"}),
            },
        )
        if task.teacher_epochs is None:
            return data.isel(epoch=0)
        return data.assign_coords(
            epoch=("epoch", task.teacher_epochs, {"long_name": "teacher's stopping epoch", "units": "epochs"})
        )


def _sweep(
    problem: _Problem,
    theta: Tensor,
    cross: Tensor | None,
    prior: Tensor,
    test_prior: Tensor | None,
    orders: list[Tensor],
    stored: Tensor,
) -> _Found:
    """Factor once per ordering, and read everything off (docs/theory.md §3)."""
    targets, progress = problem.targets(), problem.progress
    targets = targets.reordered(stored)
    held_out = None if test_prior is None else problem.held_out(test_prior)
    on_test = held_out is not None and (held_out.labels is not None or targets.labels is None)
    needs_pool = held_out is None or held_out.effective is None
    n, sizes = len(theta), problem.grid.sizes
    evaluated = [problem.task.n_test if on_test else (n - k if k < n else n) for k in sizes]
    found = _Found(on_test, evaluated)
    pool_rows: list[list[sweep.Tensors]] = []
    for r, order in enumerate(orders):
        final = r == len(orders) - 1
        factored = factor(theta if final else reordered(theta, order), overwrite=True, progress=progress)
        students = sweep.Students.of(factored, targets.reordered(order), sizes)
        variables = sweep.of_ordering(students)
        if held_out is not None and cross is not None:
            test_solution = solve(factored, cross if final else cross[order], overwrite=True)
            from_test, logits = sweep.on_test(students, test_solution, held_out)
            variables |= from_test
            found.decision = sweep.decide(logits)
        if needs_pool:
            pool_rows.append(sweep.on_pool(students, prior[order]))
        found.factors.append(factored)
        found.orderings.append(variables)
    left_out = sweep.LeftOut.of(students, inverse_diagonal(factored, progress=progress))
    found.decision_loo = torch.empty_like(decided := sweep.decide(left_out.logits))
    found.decision_loo[stored] = decided
    last_row = sweep.on_left_out(students, prior, left_out) if needs_pool else {}
    for variables, rows in zip(found.orderings, pool_rows, strict=False):
        # What the test part can tell, it tells; the pool tells the rest.
        variables |= {k: v for k, v in sweep.stack([*rows, last_row]).items() if k not in variables}
    return found


def _attributes(name: str) -> dict[str, str]:
    long_name, units = DESCRIPTIONS[name]
    return {"long_name": long_name, "units": units}


def _usable_soft_ratios(task: Task, soft_ratio: Sequence[float], warnings: list[str]) -> Sequence[float]:
    if task.y_train is not None:
        return soft_ratio
    if any(rho != 1 for rho in soft_ratio):
        warnings.append("The task has no labels (y_train), so only a soft ratio of 1 was analysed.")
    return [1.0]


def _axis(name: str, values: Sequence[float]) -> list[float]:
    numbers = sorted({float(v) for v in values})
    if not numbers:
        raise SettingError(f"No {name} was given; expected at least one number.")
    return numbers


def _sizes(sizes: Sequence[int] | None, n_train: int) -> list[int]:
    if sizes is None:
        sizes = np.geomspace(max(2, min(32, n_train // 4)), n_train, 16).round().astype(int).tolist()
    for n in sizes:
        if not 2 <= n <= n_train:
            raise SettingError(
                f"A size of {n} was asked for; the pool has {n_train} samples, so sizes lie in 2 … {n_train}."
            )
    return sorted({*(int(n) for n in sizes), n_train})


def _check_counts(orderings: int, dtype: str) -> None:
    if orderings < 1:
        raise SettingError(f"{orderings} orderings were asked for; expected at least 1.")
    if dtype not in DTYPES:
        raise SettingError(f"The dtype is {dtype!r}; expected {' or '.join(DTYPES)}.")


def _jitter_warnings(factors: list[Factor]) -> list[str]:
    worst = max(factors, key=lambda f: f.relative_jitter)
    if worst.relative_jitter <= 1e-6 * (1 + 1e-9):
        return []
    return [
        f"The kernel is nearly singular: {worst.relative_jitter:g} of its mean diagonal had to be added for it to be factored. "
        "Look for near-duplicate inputs, or use float64."
    ]
