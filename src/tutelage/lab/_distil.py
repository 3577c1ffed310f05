"""Real students, trained: what predictions are checked against."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from safetensors.torch import save_model
from torch import nn

from tutelage.data.part import decide
from tutelage.data.task import Task
from tutelage.exceptions import SettingError
from tutelage.outputs import written
from tutelage.progress import Progress, silent
from tutelage.students.network import TorchStudent, decisions
from tutelage.train.loss import DistillationLoss
from tutelage.version import __version__

_FIRST_SEED = 1000  # real students do not share their draws with warm starts

Setting = tuple[float, float]


def distil(
    task: Task,
    student: TorchStudent,
    settings: Sequence[Setting],
    *,
    seeds: int = 2,
    t_power: int = 2,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
    standardise: bool = True,
    out: Path | None = None,
    progress: Progress = silent,
) -> xr.Dataset:
    """Train real students with the distillation loss, and evaluate them on the test part.

    Parameters
    ----------
    task : Task
        With a test part. Of several teacher epochs the last one teaches.
    student : TorchStudent
        Its `training` gives batch size and learning rate, its `epochs` how long; annealed along a
        cosine. A learning rate that is not given is found once, by a range test at a middling
        setting, for all students.
    settings : sequence of (soft ratio, temperature)
        A soft ratio of 0 is training on the labels alone.
    seeds : int
        Students for each setting, each with initial weights and batches of its own.
    t_power : {0, 2}
    sizes : sequence of int, optional
        Train on the first n samples of a random order of the pool, for each n; by default on all.
    seed : int
        Of that order, and of the students.
    standardise : bool
        As for a plan.
    out : Path, optional
        Folder for the students' weights, one safetensors file each.
    progress : Progress
        Told of the students.

    Returns
    -------
    xarray.Dataset
        Dims `setting`, `n`, `seed` (and `test_sample`): `error` against true labels,
        `transfer_risk` against the teacher, `fit`: agreement with the teacher on the pool,
        `decision`, `seconds`.

    Raises
    ------
    SettingError
        If the task has no test part, or a setting cannot be trained.
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
    >>> student = tu.lab.student("mlp:width=8,depth=1", epochs=1)
    >>> found = distil(task, student, [(0.0, 1.0), (0.9, 4.0)], seeds=2)
    >>> dict(found.error.sizes)
    {'setting': 2, 'n': 1, 'seed': 2}
    """
    _check(task, student, settings, seeds, sizes)
    pool, test = task.inputs(torch.float32, standardise=standardise, ids=student.takes_ids)
    assert test is not None
    order = torch.as_tensor(np.random.default_rng([seed, 0]).permutation(task.n_train))
    whole = task.part("train", pool).floating(torch.float32)
    # As a plan settles it, so that both have one learning rate.
    student = student.settled(whole, seed=seed)
    examples = whole.rows(order)
    assert examples.teacher is not None
    taught = decide(examples.teacher[:, -1]).numpy()
    counts = [task.n_train] if sizes is None else sorted(set(sizes))
    shape = (len(settings), len(counts), seeds)
    decided = np.empty((*shape, task.n_test), np.int16)
    fit, seconds, rates = np.empty(shape), np.empty(shape), np.empty(shape)
    with progress("students", decided.size / task.n_test) as advance:
        for k, (rho, t) in enumerate(settings):
            for j, n in enumerate(counts):
                for s in range(seeds):
                    started, own_seed = time.perf_counter(), _FIRST_SEED + 100 * seed + s
                    own = examples.rows(slice(0, n))
                    loss = DistillationLoss(rho, t, t_power)
                    network, done = student.trained(own, loss, seed=own_seed)
                    rates[k, j, s] = done.learning_rate
                    seconds[k, j, s] = time.perf_counter() - started
                    decided[k, j, s] = decisions(network, test).numpy()
                    fit[k, j, s] = (decisions(network, own.x).numpy() == taught[:n]).mean()
                    if out is not None:
                        _save(network, out / f"student-{rho:g}-{t:g}-n{n}-seed{s}.safetensors")
                    advance(1)
    data = _labelled(task, settings, counts, decided, fit=fit, seconds=seconds, learning_rate=rates)
    return data.assign_attrs(
        tutelage=__version__,
        task=task.fingerprint,
        student=student.spec,
        t_power=t_power,
        seed=seed,
        epochs=int(student.epochs),
        learning_rate=student.training.learning_rate,
        batch_size=student.training.batch_size,
    )


def _check(
    task: Task,
    student: TorchStudent,
    settings: Sequence[Setting],
    seeds: int,
    sizes: Sequence[int] | None,
) -> None:
    if task.x_test is None:
        raise SettingError(
            "Real students are evaluated on a test part, which this task has not; add x_test and"
            " y_test."
        )
    if not np.isfinite(student.epochs):
        raise SettingError("Real students are trained for a number of epochs; inf was given.")
    if seeds < 1:
        raise SettingError(f"{seeds} seeds were asked for; expected 1 or more.")
    if task.y_train is None and any(rho < 1 for rho, _ in settings):
        raise SettingError(
            "The task has no labels (y_train), so that students can only be trained at a soft ratio"
            " of 1."
        )
    if sizes is not None and not (sizes and all(2 <= n <= task.n_train for n in sizes)):
        raise SettingError(
            f"Sizes are {list(sizes)}; the pool has {task.n_train} samples, so they lie in 2 …"
            f" {task.n_train}."
        )
    if not settings:
        raise SettingError(
            "No setting was given; expected at least one soft ratio and temperature."
        )


def _save(network: nn.Module, path: Path) -> None:
    with written(path) as partial:
        save_model(network, str(partial))


def _labelled(
    task: Task,
    settings: Sequence[Setting],
    sizes: list[int],
    decided: np.ndarray,
    **others: np.ndarray,
) -> xr.Dataset:
    dims = ("setting", "n", "seed")
    teacher = task.teacher_decisions("test")
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "decision": ((*dims, "test_sample"), decided),
    } | {name: (dims, values) for name, values in others.items()}
    if task.y_test is not None:
        variables["error"] = (dims, (decided != task.y_test).mean(-1))
    if teacher is not None:
        variables["transfer_risk"] = (dims, (decided != teacher[-1]).mean(-1))
    return xr.Dataset(
        {name: (d, v, {"long_name": _NAMES[name]}) for name, (d, v) in variables.items()},
        coords={
            "soft_ratio": ("setting", [rho for rho, _ in settings]),
            "temperature": ("setting", [t for _, t in settings]),
            "n": ("n", sizes),
        },
    )


_NAMES: dict[str, str] = {
    "decision": "class given to each test sample",
    "error": "share of test samples on which the student misses the true label",
    "transfer_risk": (
        "share of test samples on which the student decides otherwise than the teacher"
    ),
    "fit": "share of its own samples on which the student decides as the teacher",
    "learning_rate": "learning rate, a third of the common one where that diverged",
    "seconds": "seconds that training took",
}
