"""The theory over a grid of settings, sizes and orderings, as one labelled data set."""

import io
import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from tutelage.exceptions import SettingError, TaskError
from tutelage.grid import Grid
from tutelage.kernels import FiniteStudent, Kernel
from tutelage.made_for import MadeFor
from tutelage.orderings import Found, Problem, sweep_orderings
from tutelage.outputs import written
from tutelage.progress import Progress, remark, silent
from tutelage.scale import Scale, Work
from tutelage.starts import first_size, sweep_starts
from tutelage.students import TorchStudent, to_dict
from tutelage.task import Task
from tutelage.task_checks import pairs
from tutelage.theory import data_inefficiency
from tutelage.variables import DESCRIPTIONS
from tutelage.version import __version__

SOFT_RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
SIZES, FEW_SIZES = 16, 6
WIDE = 10_000  # columns of targets from which on fewer orderings and sizes are looked at by default
SMALLEST_POOL = 40  # for a student that is trained
DTYPES = {"float64": torch.float64, "float32": torch.float32}

Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


def curves(
    task: Task,
    kernel: Kernel | FiniteStudent,
    soft_ratio: Sequence[float] = SOFT_RATIOS,
    temperature: Sequence[float] = TEMPERATURES,
    t_power: int = 2,
    sizes: Sequence[int] | None = None,
    orderings: int | None = None,
    seed: int = 0,
    dtype: str = "float64",
    standardise: bool = True,
    progress: Progress = silent,
    scale: Scale = Scale(),  # noqa: B008 (it is frozen)
) -> xr.Dataset:
    """Compute what every student of a grid of settings will do at every size, before any is
    trained.

    Parameters
    ----------
    task : Task
    kernel : Kernel or FiniteStudent
        The student: a kernel, see `tutelage.kernels`, or a network that is linearised after a brief
        training, see `tutelage.lab.student`.
    soft_ratio : sequence of float
        In (0, 1]. Without labels only 1 can be analysed, and the rest is left out with a warning.
    temperature : sequence of float
        Positive.
    t_power : {0, 2}
        Power of the temperature before the teacher's term.
    sizes : sequence of int, optional
        Numbers of samples in 2 … N; N itself is always added. By default log-spaced.
    orderings : int, optional
        Random orders of the pool to average over; each costs one factorisation. By default 4, or 1
        where classes times settings are more than 10,000. For a network each is a start of its own,
        two brief trainings and two kernels; by default 3, and curves over n begin at a quarter of
        the pool.
    seed : int
        Of the orderings.
    dtype : {"float64", "float32"}
        Of kernel and factorisation.
    standardise : bool
        Remove the pool's mean from each feature and give all one scale, see `Task.inputs`.
    progress : Progress
        Told of kernel, factorisation and settings.
    scale : Scale
        How a large pool is dealt with: in memory, in tiles by Dask, on a cluster, with a
        checkpoint; see `tutelage.Scale`.

    Returns
    -------
    xarray.Dataset
        Dims `soft_ratio`, `temperature`, `n`, `ordering` (and `epoch` where the task has epochs),
        each variable with a long name and units, and the provenance in `attrs`.

    Raises
    ------
    SettingError
        If a setting, size or dtype lies outside its range, or the pool fits no path of the scale.

    Examples
    --------
    >>> import numpy as np
    >>> from tutelage.kernels import mlp
    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> z = 3 * x[:, 0]
    >>> task = Task(x_train=x, teacher_logits_train=z, y_train=(z + x[:, 1] > 0).astype(int))
    >>> found = curves(
    ...     task, mlp(depth=1), [0.3, 1.0], [1.0], sizes=[20, 60], orderings=2
    ... )
    >>> dict(found.error.sizes)
    {'ordering': 2, 'soft_ratio': 2, 'temperature': 1, 'n': 2}
    """
    _check_kinds(task, kernel, soft_ratio=soft_ratio, temperature=temperature, sizes=sizes)
    started, warnings, notes = time.perf_counter(), list(task.warnings), []
    finite = isinstance(kernel, FiniteStudent)
    epochs = 1 if task.teacher_epochs is None else len(task.teacher_epochs)
    wide = not finite and epochs * len(soft_ratio) * len(temperature) * task.n_logits > WIDE
    if wide and (orderings is None or sizes is None):
        notes.append(
            f"With {task.n_logits:,} classes at"
            f" {epochs * len(soft_ratio) * len(temperature)} settings, by default one ordering and"
            " few sizes are looked at; orderings and sizes (--orderings, --sizes) ask for more."
        )
    orderings = (3 if finite else 1 if wide else 4) if orderings is None else orderings
    _check(task, orderings, dtype, finite=finite)
    smallest = first_size(task.n_train) if finite else 2
    ratios = _usable_soft_ratios(task, soft_ratio, warnings)
    grid = Grid.of(
        ratios,
        temperature,
        t_power,
        sizes,
        task.n_train,
        smallest,
        FEW_SIZES if finite or wide else SIZES,
    )
    orders = [
        torch.as_tensor(np.random.default_rng([seed, r]).permutation(task.n_train))
        for r in range(orderings)
    ]
    problem = Problem(task, grid, *task.inputs(DTYPES[dtype], standardise=standardise), progress)
    own = task.fingerprint  # hashes all arrays
    if isinstance(kernel, FiniteStudent):
        _check_scale(scale)
        found = sweep_starts(problem, kernel, orders, seed)
    else:
        fingerprint = {
            "tutelage": __version__,
            "task": own,
            "student": _named(kernel),
            "soft_ratio": grid.soft_ratios,
            "temperature": grid.temperatures,
            "t_power": t_power,
            "sizes": grid.sizes,
            "orderings": orderings,
            "seed": seed,
            "dtype": dtype,
            "standardised": standardise,
            "kernel": (
                []
                if scale.checkpoint is None
                else [f"{v:.5g}" for v in kernel.diag(problem.pool[:4]).tolist()]
            ),
        }
        work = _work(problem, orderings)
        cost = scale.cost(
            work,
            kernel,
            tuple(problem.pool.shape[1:]),
            problem.pool.dtype,
            timed=progress is not silent,
        )
        if progress is not silent:
            remark(progress, f"{task.n_train:,} samples: {cost}")
        found = sweep_orderings(
            problem,
            kernel,
            orders,
            lambda inputs: scale.pool(cost, work, inputs, fingerprint, progress),
        )
    data = _labelled(found, problem, orders)
    if finite and not problem.error_from_test:  # left out, and not seen by the start
        firsts = [
            found.copies.reordered(order).first[first_size(task.n_train) :].sum()
            for order in orders
        ]
        data["evaluated"][-1] = round(float(sum(firsts)) / len(firsts))
    data.attrs = {
        "tutelage": __version__,
        "task": own,
        "student": str(getattr(kernel, "spec", kernel)),
        "t_power": t_power,
        "dtype": dtype,
        "seed": seed,
        "finite": int(finite),
        "learns_features": int(isinstance(kernel, FiniteStudent) and kernel.learns_features),
        "made_for": _made_for(found.student or kernel, seed, standardise=standardise).to_json(),
        "error_from": "test part" if problem.error_from_test else "pool",
        "seconds": time.perf_counter() - started,
        "notes": json.dumps(notes + found.notes),
        "warnings": json.dumps(warnings + _copies(found) + _jitter_warnings(found, task.n_train)),
    }
    return data


def _made_for(student: Kernel | FiniteStudent, seed: int, *, standardise: bool) -> MadeFor:
    """What was computed, for those who train students as it was predicted of."""
    if not isinstance(student, TorchStudent):
        return MadeFor(to_dict(student), seed, standardise)
    training = student.training
    return MadeFor(
        to_dict(student),
        seed,
        standardise,
        "sgd",
        training.learning_rate,
        training.attempts == 1,
        student.epochs if math.isfinite(student.epochs) else None,
        training.batch_size,
    )


def save_curves(data: xr.Dataset, path: str | Path) -> None:
    """Write curves as netCDF; nothing half-written is left.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    whole = io.BytesIO()  # on a full disk HDF5 would end in tracebacks of its own, or in a crash
    data.to_netcdf(whole, engine="h5netcdf")
    with written(Path(path)) as partial:
        partial.write_bytes(whole.getvalue())


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
        raise TaskError(
            f"{path} cannot be read as curves (netCDF). Give the curves.nc of a plan."
        ) from error
    if "tutelage" not in data.attrs:
        raise TaskError(f"{path} holds no curves of tutelage; give the curves.nc of a plan.")
    return data


def _named(kernel: Kernel) -> str:
    """The same in every process; weights, of which it does not tell, show in the kernel's
    values.
    """
    return re.sub(r" at 0x[0-9a-f]+", "", str(getattr(kernel, "spec", kernel)))


def _work(problem: Problem, orderings: int) -> Work:
    task, grid = problem.task, problem.grid
    epochs = 1 if task.teacher_epochs is None else len(task.teacher_epochs)
    columns = epochs * len(grid.soft_ratios) * len(grid.temperatures) * task.n_logits
    held_out = 0 if problem.test is None else len(problem.test)
    itemsize = problem.pool.dtype.itemsize
    return Work(
        task.n_train, held_out, columns, len(grid.sizes), orderings, itemsize, task.n_logits
    )


def _check_scale(scale: Scale) -> None:
    if scale.path == "dask" or scale.scheduler or scale.checkpoint:
        raise SettingError(
            "A network of finite width is planned for in memory; the scale dask, a scheduler and a"
            " checkpoint are for closed forms."
        )


def _labelled(found: Found, problem: Problem, orders: list[torch.Tensor]) -> xr.Dataset:
    """Name the dims; the epoch's goes where the task has no epochs."""
    assert found.decision_loo is not None
    task, grid = problem.task, problem.grid
    inner = (len(grid.soft_ratios), len(grid.temperatures))
    dims = ("epoch", "soft_ratio", "temperature")
    variables: Variables = {}
    classes = torch.int16 if task.n_classes <= torch.iinfo(torch.int16).max else torch.int32
    for name in found.orderings[0]:
        stacked = torch.stack([o[name] for o in found.orderings]).double().numpy()
        variables[name] = (
            ("ordering", *dims, "n"),
            stacked.reshape(*stacked.shape[:2], *inner, -1),
        )
    slope, slope_se = data_inefficiency.slope(variables["squared_norm"][1], np.array(grid.sizes))
    variables["data_inefficiency_slope"] = ((*dims, "n"), slope)
    variables["data_inefficiency_slope_se"] = ((*dims, "n"), slope_se)
    distances = torch.stack(found.distances).double().numpy()
    variables["distance"] = (("ordering", *dims), distances.reshape(*distances.shape[:2], *inner))
    if found.decision:
        decided = torch.stack(found.decision).movedim(1, -1).to(classes).numpy()
        variables["decision"] = (
            ("start", *dims, "test_sample"),
            decided.reshape(*decided.shape[:2], *inner, -1),
        )
    left_out = found.decision_loo.movedim(0, -1).to(classes).numpy()
    variables["decision_loo"] = (
        (*dims, "pool_sample"),
        left_out.reshape(len(left_out), *inner, -1),
    )
    if task.y_train is not None:
        decided = variables["decision_loo"][1][..., found.copies.first.numpy()]
        wrong = np.where(decided < 0, np.nan, decided != task.y_train[found.copies.first.numpy()])
        variables["error_loo"] = (dims, np.nanmean(wrong, -1))
    variables["copy_of"] = (("pool_sample",), found.copies.origin.numpy())
    variables["evaluated"] = (("n",), np.array(problem.evaluated(found.copies, orders)))
    variables["jitter"] = (("ordering",), np.array([jitter for jitter, _ in found.jitters]))
    variables["jitter_relative"] = (
        ("ordering",),
        np.array([relative for _, relative in found.jitters]),
    )
    data = xr.Dataset(
        {name: (d, v, _attributes(name)) for name, (d, v) in variables.items()},
        coords={
            "soft_ratio": (
                "soft_ratio",
                grid.soft_ratios,
                {"long_name": "soft ratio ρ", "units": "1"},
            ),
            "temperature": (
                "temperature",
                grid.temperatures,
                {"long_name": "temperature T", "units": "1"},
            ),
            "n": ("n", grid.sizes, {"long_name": "training samples", "units": "samples"}),
        },
    )
    if task.teacher_epochs is None:
        return data.isel(epoch=0)
    return data.assign_coords(
        epoch=(
            "epoch",
            task.teacher_epochs,
            {"long_name": "teacher's stopping epoch", "units": "epochs"},
        )
    )


def _attributes(name: str) -> dict[str, str]:
    long_name, units = DESCRIPTIONS[name]
    return {"long_name": long_name, "units": units}


def _usable_soft_ratios(
    task: Task, soft_ratio: Sequence[float], warnings: list[str]
) -> Sequence[float]:
    if task.y_train is not None:
        return soft_ratio
    if any(rho != 1 for rho in soft_ratio):
        warnings.append("The task has no labels (y_train), so only a soft ratio of 1 was analysed.")
    return [1.0]


def _check_kinds(
    task: Task, kernel: Kernel | FiniteStudent, **lists: Sequence[float] | None
) -> None:
    if not isinstance(task, Task):
        raise SettingError(
            f"The first argument is {type(task).__name__}; expected a tutelage.Task, see"
            " tutelage.Task.load."
        )
    if isinstance(kernel, type) or not isinstance(kernel, Kernel | FiniteStudent):
        raise SettingError(
            f"The second argument is {getattr(kernel, '__name__', type(kernel).__name__)}; expected"
            " a kernel, such as tutelage.kernels.mlp(), or tutelage.kernels.empirical(network) for"
            " a network of torch."
        )
    for name, values in lists.items():
        if values is not None and (
            isinstance(values, str)
            or np.ndim(values) != 1
            or np.asarray(values).dtype.kind not in "iuf"
        ):
            raise SettingError(f"{name} is {values!r}; expected a list of numbers, such as [1, 2].")


def _check(task: Task, orderings: int, dtype: str, *, finite: bool) -> None:
    if finite and task.n_train < SMALLEST_POOL:
        raise TaskError(
            f"The pool has {task.n_train} samples; a network needs at least {SMALLEST_POOL} to be"
            " trained on. Use a closed form."
        )
    if not isinstance(orderings, int):
        raise SettingError(f"orderings is {orderings!r}; expected a whole number.")
    if orderings < 1:
        raise SettingError(f"{orderings} orderings were asked for; expected at least 1.")
    if dtype not in DTYPES:
        raise SettingError(f"The dtype is {dtype!r}; expected {' or '.join(DTYPES)}.")


def _copies(found: Found) -> list[str]:
    origin, copied = found.copies.origin.numpy(), np.flatnonzero(~found.copies.first.numpy())
    if not len(copied):
        return []
    return [
        f"{len(copied)} of {len(origin)} pool samples are copies of others, or so near that the"
        f" student cannot tell them apart (samples {pairs(origin[copied], copied)}). Where errors"
        " come from the pool, copies are left out together and each input counts once."
    ]


def _jitter_warnings(found: Found, n: int) -> list[str]:
    worst = max(relative for _, relative in found.jitters)
    if worst > 1e-6 * (1 + 1e-9):
        return [
            f"The kernel is nearly singular: {worst:g} of its mean diagonal had to be added for it"
            " to be factored. Look for near-duplicate inputs, or use float64."
        ]
    copied = int((~found.copies.first).sum())
    if found.redundant - copied > 0.01 * n:
        return [
            f"The kernel is singular: the student's features of {found.redundant - copied} of"
            f" {n} samples are combinations of those of others, so that no such student fits them"
            " all, and what is said of it rests on the jitter. Choose a student with more features"
            " (a hidden layer, a nonlinear activation), or look for duplicate or badly scaled"
            " inputs."
        ]
    return []
