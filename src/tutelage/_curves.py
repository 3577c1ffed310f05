"""The theory over a grid of settings, sizes and orderings, as one labelled data set."""

import io
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from tutelage._engine import Found, explore
from tutelage._request import DTYPES, Request
from tutelage._stream import HELD_OUT, Streamed, cost_of, streamed
from tutelage.data.checks import NOT_LABELLED, pairs
from tutelage.data.inputs import Inputs, shape
from tutelage.data.part import Part
from tutelage.data.source import Source, StreamTask
from tutelage.data.task import Task, Taught
from tutelage.devices import found_device
from tutelage.exceptions import SettingError, TaskError
from tutelage.grid import Grid
from tutelage.kernels import Kernel
from tutelage.made_for import MadeFor
from tutelage.outputs import written
from tutelage.progress import Progress, remark, silent
from tutelage.solve import DensePool, Pool, Scale, Work
from tutelage.solve.factored import ByFactor, OpenPool
from tutelage.solve.in_features import InFeatures
from tutelage.solve.solution import Problem
from tutelage.students import (
    ClosedForm,
    Given,
    Start,
    Student,
    TorchStudent,
    as_student,
    to_dict,
)
from tutelage.theory import data_inefficiency
from tutelage.theory.copies import Copies
from tutelage.train.networks import Factory
from tutelage.variables import SCHEMA
from tutelage.version import __version__

SOFT_RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
SIZES, FEW_SIZES = 16, 6
WIDE = 10_000  # columns of targets from which on fewer orderings and sizes are looked at by default
_SORTED = 6.0  # standard errors
SMALLEST_POOL = 40  # for a student that is trained


def curves(
    task: Task | Source | StreamTask,
    student: str | Kernel | Student | nn.Module | Factory,
    *,
    soft_ratio: Sequence[float] = SOFT_RATIOS,
    temperature: Sequence[float] = TEMPERATURES,
    t_power: int = 2,
    sizes: Sequence[int] | None = None,
    orderings: int | None = None,
    seed: int = 0,
    dtype: str = "float64",
    device: str = "auto",
    standardise: bool = True,
    progress: Progress = silent,
    scale: Scale = Scale(),  # noqa: B008 (it is frozen)
    features: int | None = None,
    pool: int | None = None,
    left_out: bool = True,
) -> xr.Dataset:
    """Compute what every student of a grid of settings will do at every size, before any is
    trained.

    Parameters
    ----------
    task : Task
    student : str, Kernel, Student, torch.nn.Module or callable
        A SPEC, a kernel, see `tutelage.kernels`, or a network that is linearised after
        a brief training; see `tutelage.students.as_student`.
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
    device : {"auto", "cpu", "cuda"}
        Where kernels and features are computed and factored, and networks trained; `auto` is a GPU
        where there is one.
    standardise : bool
        Remove the pool's mean from each feature and give all one scale, see `Task.inputs`.
    progress : Progress
        Told of kernel, factorisation and settings.
    scale : Scale
        How a large pool is dealt with: in memory, in tiles by Dask, on a cluster, with a
        checkpoint; see `tutelage.Scale`.
    features : int, optional
        D: compute in so many features in place of the kernel, in one pass over the samples, whose
        memory does not grow with them (docs/scale.md). A source, see `open_source`, is always read
        so, by default in 4,096.
    pool : int, optional
        Samples of the pool to use, by default all; of a network each start then predicts all sizes,
        those of samples that it has not seen.
    left_out : bool
        In features: go over the samples a second time, to leave each one out.

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
    >>> grid = {"soft_ratio": [0.3, 1.0], "temperature": [1.0], "sizes": [20, 60]}
    >>> found = curves(task, mlp(depth=1), **grid, orderings=2)
    >>> dict(found.error.sizes)
    {'ordering': 2, 'soft_ratio': 2, 'temperature': 1, 'n': 2}
    """
    check(
        task, soft_ratio=soft_ratio, temperature=temperature, t_power=t_power, sizes=sizes,
        orderings=orderings, seed=seed, dtype=dtype, progress=progress,
    )  # fmt: skip
    started, known, where = time.perf_counter(), as_student(student), found_device(device)
    if isinstance(known, TorchStudent):
        known = replace(known, training=replace(known.training, device=where.type))
    in_features = features is not None or isinstance(task, Source | StreamTask)
    _check_request(scale, features=features, pool=pool)
    _check_path(orderings, scale, pool, in_features=in_features, left_out=left_out)
    asked = Request(
        known, soft_ratio, temperature, t_power, sizes, orderings, seed, dtype, where, standardise,
        progress, scale, features, pool, left_out,
    )  # fmt: skip
    pool_of = StreamTask(task, HELD_OUT) if isinstance(task, Source) else task
    if in_features or isinstance(pool_of, StreamTask):
        data = _in_features(pool_of, asked)
    else:
        data = _by_factors(pool_of, asked)
    return data.assign_attrs(seconds=time.perf_counter() - started)


def _by_factors(task: Task, asked: Request) -> xr.Dataset:
    """With the kernel factored in memory or in tiles, once for each start and ordering."""
    student, progress, dtype = asked.student, asked.progress, asked.torch_dtype
    used = _used(task, asked)
    n = len(used)
    warnings, notes, seen = list(task.warnings), list(task.notes), asked.student.seen(n)
    if seen and n < SMALLEST_POOL:
        raise TaskError(
            f"The pool has {n} samples; a network needs at least {SMALLEST_POOL} to be"
            " trained on. Use a closed form."
        )
    epochs = 1 if task.teacher_epochs is None else len(task.teacher_epochs)
    wide = not seen and epochs * asked.settings * task.n_logits > WIDE
    if wide and (asked.orderings is None or asked.sizes is None):
        notes.append(
            f"With {task.n_logits:,} classes at {epochs * asked.settings} settings, by default one"
            " ordering and few sizes are looked at; orderings and sizes (--orderings, --sizes) ask"
            " for more."
        )
    orderings = asked.orderings or (3 if seen else 1 if wide else 4)
    grid = Grid.of(
        _usable_soft_ratios(task, asked.soft_ratio, warnings),
        asked.temperature,
        asked.t_power,
        asked.sizes,
        n,
        max(2, seen),
        FEW_SIZES if seen or wide else SIZES,
    )
    orders = [
        torch.as_tensor(np.random.default_rng([asked.seed, r]).permutation(n))
        for r in range(orderings)
    ]
    pool, test = task.inputs(dtype, standardise=asked.standardise, ids=student.takes_ids)
    problem = Problem(
        task.part("train", pool).rows(used),
        None if test is None else task.part("test", test),
        n,
        task.fill,
        grid,
        dtype,
        asked.device,
        progress,
    )
    opened = _pools(problem, asked, task, 1 if seen else orderings)
    copy_of, one_start = torch.as_tensor(task.copy_of), asked.pool is not None
    solver = ByFactor(problem, orders, copy_of[used], opened, one_start=one_start)
    found = explore(problem, student, orders, solver, asked.seed)
    singular = _jitter_warnings(found, n)
    if one_start:
        found.spread(used, Copies(copy_of))
    labels = None if task.y_train is None else torch.as_tensor(task.y_train)
    data = _labelled(found, grid, labels, task.teacher_epochs)
    copied = _copies(found)
    return data.assign_attrs(
        _attributes(asked, found, task, problem.pool),
        error_from="test part" if problem.error_from_test else "pool",
        notes=json.dumps(notes + list(found.notes)),
        warnings=json.dumps(warnings + copied + singular),
    )


def _used(task: Task, asked: Request) -> Tensor:
    """Which samples of the pool, (n,)."""
    if asked.pool is None:
        return torch.arange(task.n_train)
    if asked.pool > task.n_train:
        raise SettingError(
            f"{asked.pool:,} samples of the pool were asked for; it has {task.n_train:,}."
        )
    order = np.random.default_rng([asked.seed, 0]).permutation(task.n_train)
    return torch.as_tensor(order[: asked.pool])


def _pools(problem: Problem, asked: Request, task: Task, orderings: int) -> OpenPool:
    """Open pools on the path that there is room for, and say what that costs."""
    student, scale, grid = asked.student, asked.scale, problem.grid
    work = _work(problem, orderings)
    kernel = student.kernel if isinstance(student, ClosedForm) else None
    timed = asked.progress is not silent and kernel is not None
    cost = scale.cost(work, kernel, shape(problem.pool.x), problem.dtype, timed=timed)
    if timed:
        remark(asked.progress, f"{problem.n:,} samples: {cost}")
    fingerprint = {
        "tutelage": __version__,
        "task": task.fingerprint,
        "student": re.sub(r" at 0x[0-9a-f]+", "", student.spec),  # the same in every process
        "soft_ratio": grid.soft_ratios,
        "temperature": grid.temperatures,
        "t_power": grid.t_power,
        "sizes": grid.sizes,
        "orderings": orderings,
        "seed": asked.seed,
        "dtype": asked.dtype,
        "standardised": asked.standardise,
        "pool": asked.pool,
    }

    def opened(
        number: int, theta: Kernel, x: Inputs, test: Inputs | None
    ) -> AbstractContextManager[Pool]:
        return scale.pool(
            cost,
            work,
            theta,
            x,
            test,
            fingerprint,
            asked.progress,
            dtype=problem.dtype,
            device=problem.device,
            number=number,
        )

    return opened


def _in_features(task: Task | StreamTask, asked: Request) -> xr.Dataset:
    """In D features, in one pass over the samples."""
    given = streamed(task, asked)
    problem, stream = given.problem, given.stream
    cost = cost_of(given, asked.student, timed=asked.progress is not silent)
    if asked.progress is not silent:
        remark(asked.progress, f"{problem.n:,} samples, {stream.features:,} features: {cost}")
    solver = InFeatures(problem, stream)
    orders = [torch.arange(len(problem.pool))]
    found = explore(problem, asked.student, orders, solver, asked.seed)
    copies = task.copy_of if isinstance(task, Task) else np.arange(task.n_train)
    found.spread(given.order, Copies(torch.as_tensor(copies)))
    labels = None if task.y_train is None else torch.as_tensor(task.y_train)
    data = _labelled(found, problem.grid, labels, task.teacher_epochs)
    if given.held_out is not None:
        held_out = given.held_out.numpy()
        data["held_out"] = ("test_sample", held_out, SCHEMA["held_out"].attributes)
    warnings = list(task.warnings) if isinstance(task, Task) else []
    own_part = isinstance(task, Task) and given.held_out is None  # of which the task warns itself
    if solver.in_test_too and not own_part:
        warnings.append(
            f"{solver.in_test_too:,} samples of the pool are held out, too, or are copies of such:"
            " errors are too low by what they add. Drop copies, or give a test part that is not in"
            " the pool."
        )
    apart, in_order = _apart(given, solver.start, found), isinstance(task, StreamTask)
    return data.assign_attrs(
        _attributes(asked, found, task, problem.pool, stream.features),
        error_from="test part",
        features=stream.features,
        n_test=len(problem.test or ()),
        in_test_too=solver.in_test_too,
        exact_at=given.exact_at,
        notes=json.dumps([*task.notes, _agreement(given.exact_at, apart), *found.notes]),
        warnings=json.dumps(
            warnings + _copies(found) + _sorted(problem, labels if in_order else None)
        ),
        **{f"apart_{name}": value for name, value in apart.items()},
    )


def _apart(given: Streamed, start: Start, found: Found) -> dict[str, float]:
    """By how much errors differ from those of the exact path on the first samples, at most."""
    problem, n = given.problem, given.exact_at
    groups, grid = torch.arange(n), replace(problem.grid, sizes=[n])
    pool = given.stream.samples.part(0, n)
    first = replace(problem, pool=pool, n=n, grid=grid, progress=silent)

    @contextmanager
    def dense(_: int, theta: Kernel, x: Inputs, test: Inputs | None) -> Iterator[Pool]:
        yield DensePool(theta, x, test, problem.dtype, silent, problem.device)

    alone = Given(replace(start, serves=(0,), seen=0))
    exact = explore(first, alone, [groups], ByFactor(first, [groups], groups, dense), 0)
    own, at = found.orderings[0], problem.grid.sizes.index(n)
    return {
        name: float((own[name][..., at] - exact.orderings[0][name][..., -1]).abs().max())
        for name in ("error", "transfer_risk")
        if name in own
    }


def _sorted(problem: Problem, labels: Tensor | None) -> list[str]:
    """Warn of samples in an order that is none of chance."""
    if labels is None or len(labels) < problem.n:
        return []
    halves = [half[half != NOT_LABELLED] for half in labels[: problem.n].long().chunk(2)]
    if not all(map(len, halves)):
        return []
    counts = torch.stack([torch.bincount(half, minlength=int(labels.max()) + 1) for half in halves])
    share = counts.sum(0) / problem.n
    spread = (4 * share * (1 - share) / problem.n).sqrt()
    if bool(((counts[0] - counts[1]).abs() / len(halves[0]) <= _SORTED * spread).all()):
        return []
    return [
        "The classes of the first half of the samples are not those of the second half: they do"
        " not lie in a random order, which the curve over n takes them for. Shuffle them."
    ]


def _agreement(n: int, apart: dict[str, float]) -> str:
    names = {"error": "error", "transfer_risk": "agreement"}
    off = [f"{names[name]} by at most {100 * value:.2f}" for name, value in apart.items()]
    return (
        f"At {n:,} samples, where the exact path ran too, {' and '.join(off)} percentage points"
        " off."
    )


def _attributes(
    asked: Request, found: Found, task: Taught, pool: Part, features: int | None = None
) -> dict[str, Any]:
    """The provenance of a data set."""
    return {
        "tutelage": __version__,
        "task": task.fingerprint,
        "student": asked.student.spec,
        "t_power": asked.t_power,
        "dtype": asked.dtype,
        "seed": asked.seed,
        "finite": int(asked.student.seen(1000) > 0),
        "learns_features": int(asked.student.learns_features),
        "made_for": _made_for(found, asked, pool, features).to_json(),
    }


def _made_for(found: Found, asked: Request, pool: Part, features: int | None) -> MadeFor:
    """What was computed, for those who train students as it was predicted of."""
    student, orderings = found.student, len(found.orderings)
    plain = MadeFor(
        to_dict(student),
        asked.seed,
        asked.standardise,
        str(asked.device),
        features=features,
        orderings=orderings,
    )
    if not isinstance(student, TorchStudent):
        return plain
    training = student.training
    parameters, operations = student.size(pool.rows(torch.arange(min(4, len(pool)))))
    return replace(
        plain,
        parameters=parameters,
        operations=operations,
        linearise=student.linearise,
        warm_epochs=training.epochs,
        optimiser=training.optimiser,
        learning_rate=training.learning_rate,
        learning_rate_given=training.attempts == 1,
        epochs=student.epochs if math.isfinite(student.epochs) else None,
        batch_size=training.batch_size,
        weight_decay=training.weight_decay,
        warmup=training.warmup,
    )


def save_curves(data: xr.Dataset, path: str | Path) -> None:
    """Write curves as netCDF; nothing half-written is left.

    Raises
    ------
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, tempfile, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(30, 3))
    >>> task = tu.Task(x_train=x, teacher_logits_train=x[:, 0])
    >>> found = tu.curves(task, "mlp:depth=1", soft_ratio=[1.0], orderings=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_curves(found, f"{folder}/curves.nc")
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['curves.nc']
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

    Examples
    --------
    >>> import numpy as np, tempfile, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(30, 3))
    >>> task = tu.Task(x_train=x, teacher_logits_train=x[:, 0])
    >>> found = tu.curves(task, "mlp:depth=1", soft_ratio=[1.0], orderings=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tu.save_curves(found, f"{folder}/curves.nc")
    ...     again = load_curves(f"{folder}/curves.nc")
    >>> again.identical(found)
    True
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


def _work(problem: Problem, orderings: int) -> Work:
    """What there is to do for one start."""
    grid, teacher = problem.grid, problem.pool.teacher
    assert teacher is not None
    columns = teacher[0].numel() * len(grid.soft_ratios) * len(grid.temperatures)
    held_out, itemsize = 0 if problem.test is None else len(problem.test), problem.dtype.itemsize
    classes = teacher.shape[2]
    return Work(problem.n, held_out, columns, len(grid.sizes), orderings, itemsize, classes)


def _labelled(
    found: Found, grid: Grid, labels: Tensor | None, epochs: np.ndarray | None
) -> xr.Dataset:
    """Name the dims; the epoch's goes where the task has no epochs."""
    orderings = [of_ordering for _, of_ordering in sorted(found.orderings.items())]
    jitters = np.array([jitter for _, jitter in sorted(found.jitters.items())])
    most = max(int(v.max()) for v in (*found.decision, found.decision_loo))
    classes = torch.int16 if most <= torch.iinfo(torch.int16).max else torch.int32

    def settings(values: Tensor, axis: int) -> np.ndarray:
        """With the settings' axis as two."""
        shape = values.shape
        inner = (len(grid.soft_ratios), len(grid.temperatures))
        return values.reshape(*shape[:axis], *inner, *shape[axis + 1 :]).numpy()

    values: dict[str, np.ndarray] = {
        name: settings(torch.stack([of[name] for of in orderings]).double(), 2)
        for name in orderings[0]
    }
    slope = data_inefficiency.slope(values["squared_norm"], np.array(grid.sizes))
    values["data_inefficiency_slope"], values["data_inefficiency_slope_se"] = slope
    distances = [distance for _, distance in sorted(found.distances.items())]
    values["distance"] = settings(torch.stack(distances).double(), 2)
    if found.decision:
        values["decision"] = settings(torch.stack(found.decision).movedim(1, -1).to(classes), 2)
    values["decision_loo"] = settings(found.decision_loo.movedim(0, -1).to(classes), 1)
    if labels is not None and bool((found.decision_loo >= 0).any()):
        first = found.copies.first.numpy()
        decided = values["decision_loo"][..., first]
        truth = labels.numpy()[first]
        unknown = (decided < 0) | (truth == NOT_LABELLED)
        wrong = np.where(unknown, np.nan, decided != truth)
        values["error_loo"] = np.nanmean(wrong, -1)
    values["copy_of"], values["evaluated"] = found.copies.origin.numpy(), np.array(found.evaluated)
    values["jitter"], values["jitter_relative"] = jitters.T
    variables = {
        name: (SCHEMA[name].dims, value, SCHEMA[name].attributes) for name, value in values.items()
    }
    axes = {
        "soft_ratio": (grid.soft_ratios, "soft ratio ρ", "1"),
        "temperature": (grid.temperatures, "temperature T", "1"),
        "n": (grid.sizes, "training samples", "samples"),
    }
    if epochs is not None:
        axes["epoch"] = (epochs.tolist(), "teacher's stopping epoch", "epochs")
    coords = {
        name: (name, along, {"long_name": says, "units": units})
        for name, (along, says, units) in axes.items()
    }
    data = xr.Dataset(variables, coords=coords)
    return data.isel(epoch=0) if epochs is None else data


def _usable_soft_ratios(
    task: Task, soft_ratio: Sequence[float], warnings: list[str]
) -> Sequence[float]:
    if task.y_train is not None:
        return soft_ratio
    if any(rho != 1 for rho in soft_ratio):
        warnings.append("The task has no labels (y_train), so only a soft ratio of 1 was analysed.")
    return [1.0]


def _check_kinds(task: Any, **lists: Sequence[float] | None) -> None:
    if not isinstance(task, Task | Source | StreamTask):
        raise SettingError(
            f"The first argument is {type(task).__name__}; expected a tutelage.Task, see"
            " tutelage.Task.load."
        )
    for name, values in lists.items():
        if values is not None and (
            isinstance(values, str)
            or np.ndim(values) != 1
            or np.asarray(values).dtype.kind not in "iuf"
        ):
            raise SettingError(f"{name} is {values!r}; expected a list of numbers, such as [1, 2].")


def _whole(**numbers: tuple[Any, int]) -> None:
    for name, (value, least) in numbers.items():
        if value is not None and (type(value) is not int or value < least):
            raise SettingError(f"{name} is {value!r}; expected a whole number of {least} or more.")


def _check_request(scale: Scale, *, features: int | None, pool: int | None) -> None:
    _whole(features=(features, 2), pool=(pool, 2))
    if not isinstance(scale, Scale):
        raise SettingError(f"scale is {scale!r}; expected a tutelage.Scale, such as Scale('dask').")


def _check_path(
    orderings: int | None, scale: Scale, pool: int | None, *, in_features: bool, left_out: bool
) -> None:
    """What is for one path only is not ignored on another."""
    given = {"orderings": orderings, "a checkpoint": scale.checkpoint, "memory": scale.memory}
    given["a path of the scale"] = None if scale.path == "auto" else scale.path
    if in_features:
        for name, value in given.items():
            if value is not None:
                raise SettingError(
                    f"In features there is one pass over the samples, and {name} is for the exact"
                    " path; leave it out, or leave features out."
                )
    elif not left_out:
        raise SettingError("left_out is for features; give features, or leave it out.")


def check(
    task: Any, *, soft_ratio: Sequence[float], temperature: Sequence[float], t_power: int,
    orderings: int | None, seed: int, dtype: str, progress: Progress,
    sizes: Sequence[int] | None = None,
) -> None:  # fmt: skip
    """Raise a `SettingError` where arguments of `curves` make no sense, whatever is computed."""
    _check_kinds(task, soft_ratio=soft_ratio, temperature=temperature, sizes=sizes)
    if not callable(progress):
        raise SettingError(f"progress is {progress!r}; expected a function, or leave it out.")
    _whole(seed=(seed, 0))
    if orderings is None:
        orderings = 1
    if not isinstance(orderings, int):
        raise SettingError(f"orderings is {orderings!r}; expected a whole number.")
    if orderings < 1:
        raise SettingError(f"{orderings} orderings were asked for; expected at least 1.")
    if dtype not in DTYPES:
        raise SettingError(f"The dtype is {dtype!r}; expected {' or '.join(DTYPES)}.")
    Grid.of(soft_ratio, temperature, t_power, None, 2)


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
    worst = max(relative for _, relative in found.jitters.values())
    if worst > 1e-6 * (1 + 1e-9):
        return [
            f"The kernel is nearly singular: {worst:g} of its mean diagonal had to be added for it"
            " to be factored. Inputs that are nearly alike do that, single precision does, and so"
            " does a network with fewer parameters than there are samples."
        ]
    copied = int((~found.copies.first).sum())
    if max(found.redundant.values()) - copied > 0.01 * n:
        return [
            "The kernel is singular: the student's features of"
            f" {max(found.redundant.values()) - copied} of {n} samples are combinations of those of"
            " others, so that no such student fits them all, and what is said of it rests on the"
            " jitter. Choose a student with more features (a hidden layer, a nonlinear"
            " activation), or look for duplicate or badly scaled inputs."
        ]
    return []


def stream(source: Source, kernel: Any, *arguments: Any, **options: Any) -> xr.Dataset:
    """Give `curves` of a source in features, by the name that they had before.

    .. deprecated:: 0.2
        Call ``tutelage.curves(source, kernel, features=4096)``.

    Examples
    --------
    >>> import numpy as np, tempfile, tutelage as tu, warnings
    >>> x = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
    >>> y = (x[:, 0] > 0).astype(int)
    >>> arrays = {"x_train": x, "teacher_logits_train": x[:, 0], "y_train": y}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, array in arrays.items():
    ...         np.save(f"{folder}/{name}.npy", array)
    ...     source = tu.open_source(folder)
    ...     with warnings.catch_warnings(action="ignore"):
    ...         found = stream(source, tu.kernels.mlp(depth=1), features=20)
    >>> found.attrs["features"]
    20
    """
    warn(
        "tutelage.stream is tutelage.curves(source, student, features=D) now, and goes with the"
        " next release.",
        FutureWarning,
        stacklevel=2,
    )
    names = ("soft_ratio", "temperature", "t_power", "sizes", "features", "pool", "scheduler")
    given = dict(zip(names, arguments, strict=False)) | options
    scale = Scale(scheduler=given.pop("scheduler", None))
    plain: dict[str, Any] = {"dtype": "float32", "left_out": False, "scale": scale}
    return curves(source, kernel, **(plain | given)).isel(ordering=0)
