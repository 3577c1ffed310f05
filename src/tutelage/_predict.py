"""Logits of the linearised student that a plan recommends, on inputs of the user's own."""

import math

import numpy as np
import torch
from torch import Tensor

from tutelage.data.checks import like as check_like
from tutelage.data.inputs import Inputs
from tutelage.data.part import Part
from tutelage.data.task import Task
from tutelage.devices import found_device
from tutelage.grid import Grid
from tutelage.progress import Progress, silent
from tutelage.solve import DensePool
from tutelage.students import Start, Student
from tutelage.theory.factor import solve, solver
from tutelage.theory.finite_time import Path


def predicted(
    task: Task,
    student: Student,
    setting: tuple[float, float, int],
    x: np.ndarray | dict[str, np.ndarray],
    *,
    epoch: int,
    orderings: int,
    seed: int,
    timed: bool,
    standardise: bool,
    dtype: torch.dtype,
    device: str,
    progress: Progress = silent,
) -> Tensor:
    """Give the mean logits (m, C) of the students of the whole pool, over the starts of a network.

    Parameters
    ----------
    task : Task
    student : Student
    setting : (soft ratio, temperature, power of the temperature)
    x : array of shape (m, ...), or dict of arrays
        As the task's own inputs are.
    epoch : int
        The teacher's, by its number.
    timed : bool
        Whether students are those after their training time, as errors on a test part are.
    orderings, seed, standardise, dtype, device, progress
        As for `tutelage.curves`.
    """
    checked = check_like(x, task.x_train, "x")
    prepare, pool = task.prepared(dtype, standardise=standardise, ids=student.takes_ids)
    whole, inputs, n = task.part("train", pool), prepare(checked, "x"), task.n_train
    rho, t, t_power = setting
    grid = Grid.of([rho], [t], t_power, [n], n)
    assert whole.teacher is not None
    target = grid.effective(whole.teacher.double()[:, [epoch]], whole.labels, task.fill)
    target = target[:, 0, 0].to(dtype)
    orders = [
        torch.as_tensor(np.random.default_rng([seed, r]).permutation(n))
        for r in range(orderings if student.seen(n) else 1)
    ]
    followed = Part(whole.x, whole.teacher[:, [epoch]], whole.labels)
    found: list[Tensor] = []
    for start in student.starts(whole, orders, whole=True, seed=seed, progress=progress):
        if start.seen in (0, n):
            opened = DensePool(start.kernel, whole.x, inputs, dtype, progress, found_device(device))
            found.append(_of_start(start, opened, followed, target, grid, inputs, timed=timed))
    return torch.stack(found).mean(0)


def _of_start(
    start: Start,
    opened: DensePool,
    pool: Part,
    target: Tensor,
    grid: Grid,
    x: Inputs,
    *,
    timed: bool,
) -> Tensor:
    """f̂_N after the student's training time, (8.2), or of the converged one, (3.7)."""
    n, dtype = len(pool), target.dtype
    z_0 = torch.zeros_like(target)
    on_x: Tensor | float = 0.0
    if start.logits is not None:
        z_0, on_x = (start.logits(inputs).to(dtype) for inputs in (pool.x, x))
    order, learned = torch.arange(n), target - z_0
    assert pool.teacher is not None
    if timed and math.isfinite(start.time_per_sample):
        path = Path.of(
            lambda kappa, kind: solver(opened.ridged(kappa, kind, order, 0, last=True)),
            opened.prior,
            grid.losses(pool.teacher.to(dtype), pool.labels),
            z_0,
            start.time_per_sample,
        )
        learned = path.learned(n)[..., 0].to(dtype)
    factored = opened.factor(order, 0, last=True)
    solution = solve(factored, learned)
    prior = opened.prior.new_zeros(opened.n_test)
    return on_x + opened.predictions(factored, solution, prior, order, [n], last=True).last
