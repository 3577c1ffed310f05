"""Pools of any size in features: where their samples come from, and what that will cost."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tutelage._request import Request
from tutelage.data.checks import Arrays, fill_value, named
from tutelage.data.inputs import Inputs, numbers
from tutelage.data.part import Part
from tutelage.data.preprocessing import Preprocessing
from tutelage.data.source import Rows, Source, StreamTask
from tutelage.data.task import Task
from tutelage.exceptions import SettingError, TaskError
from tutelage.grid import Grid
from tutelage.kernels import Sequential
from tutelage.solve import SPARE, Cost, flops_per_second, free_memory, size
from tutelage.solve.in_features import CHUNK, RIDGES, Stream
from tutelage.solve.solution import Problem
from tutelage.students import ClosedForm, Student, TorchStudent

EXACT = (2000, 10_000)  # samples of the exact path, at least and at most
FIRST = 4096  # samples that tell scales, and features, by default
_SMALLEST = 40
_TAUGHT = 5000  # samples that bring a network to where it is linearised, at most
HELD_OUT, _APART = 2000, 1000  # test samples, and those that choose the ridge, at most


@dataclass(frozen=True)
class Stored:
    """Samples of a source, prepared; picklable, for a cluster."""

    source: Source
    prepare: Preprocessing

    def part(self, start: int, stop: int) -> Part:
        """See `Samples`."""
        return self.of(self.source.rows(start, stop), start)

    def of(self, rows: Rows, start: int = 0) -> Part:
        """Some rows, which are counted from `start` on."""
        x, logits, labels = rows
        return Part(
            self._inputs(x, start),
            torch.as_tensor(logits).reshape(len(logits), 1, -1),
            None if labels is None else torch.as_tensor(labels),
        )

    def _inputs(self, x: Arrays, start: int) -> Inputs:
        try:
            return self.prepare(x)
        except TaskError as error:
            for array in named(x, "").values():
                norms = (float(np.linalg.norm(row.astype(np.float32))) for row in array)
                for i, norm in enumerate(norms):
                    if not math.isfinite(norm):
                        raise TaskError(
                            f"The inputs of sample {start + i:,} are too large for float32; bring"
                            " them to ordinary numbers, such as 0 to 1."
                        ) from error
            raise


@dataclass(frozen=True)
class Held:
    """Samples of a part in memory, in an order."""

    whole: Part
    order: Tensor

    def part(self, start: int, stop: int) -> Part:
        """See `Samples`."""
        return self.whole.rows(self.order[start:stop])


@dataclass(frozen=True)
class Streamed:
    """A task or a source as a problem that is read in parts.

    Attributes
    ----------
    problem : Problem
    stream : Stream
    order : integer Tensor of shape (n,)
        Where the stream's samples lie in the task.
    held_out : integer Tensor of shape (M,), optional
        Where those do that are held out, if they come from the pool.
    exact_at : int
        A size where the exact path can run, too.
    """

    problem: Problem
    stream: Stream
    order: Tensor
    held_out: Tensor | None
    exact_at: int


def streamed(known: Task | StreamTask, asked: Request) -> Streamed:
    """Read a task or a source in parts.

    Raises
    ------
    SettingError
        If there are too many features for the samples.
    TaskError
        If the test part lacks the labels that the pool has.
    """
    samples: Stored | Held
    left, held_out, dtype = known.n_train, None, asked.torch_dtype
    if isinstance(known, StreamTask):
        order, (x, logits, _) = torch.arange(left), known.stored.rows(0, asked.features or FIRST)
        prepare, _ = Preprocessing.fitted(
            x, "channels_first", dtype, standardise=asked.standardise, ids=asked.student.takes_ids
        )
        stored = Stored(known.stored, prepare)
        samples, test = stored, stored.of(known.test)
        fill = fill_value(logits.reshape(len(logits), -1))
    else:
        ready, ready_test = known.inputs(
            dtype, standardise=asked.standardise, ids=asked.student.takes_ids
        )
        order = torch.as_tensor(np.random.default_rng([asked.seed, 0]).permutation(left))
        samples, fill = Held(known.part("train", ready), order), known.fill
        if ready_test is None:
            left -= min(HELD_OUT, left // 10)
            test, held_out = samples.part(left, known.n_train), order[left:]
        else:
            test = known.part("test", ready_test)
    if left < _SMALLEST:
        raise TaskError(
            f"The pool has {left} samples; in features it needs {_SMALLEST} at least. Leave"
            " features out."
        )
    most = left - min(_APART, left // 20)
    n = most if asked.pool is None else min(asked.pool, most)
    features = min(FIRST, n) if asked.features is None else asked.features
    if not 2 <= features <= n:
        raise SettingError(
            f"{features} features were asked for; expected 2 … {n:,}, the samples of the pool."
        )
    apart = samples.part(most, left)
    ratios = asked.soft_ratio if apart.labels is not None else [1.0]
    if test.labels is None and any(rho != 1 for rho in ratios):
        raise TaskError(
            "The pool has labels and the test part has none (y_test), so that soft ratios below 1"
            " cannot be evaluated on it. Give its labels, a soft ratio of 1, or no test part: the"
            " stream's last samples are then kept for it."
        )
    pool = samples.part(0, min(n, 4 * _TAUGHT))
    smallest, exact_at = max(2, asked.student.seen(len(pool))), exact_size(n, features)
    grid = Grid.of(ratios, asked.temperature, asked.t_power, asked.sizes, n, smallest, count=8)
    grid = replace(grid, sizes=sorted({*grid.sizes, exact_at}))
    problem = Problem(pool, test, n, fill, grid, dtype, asked.device, asked.progress)
    scheduler = asked.scale.scheduler
    groups = torch.as_tensor(known.copy_of) if isinstance(known, Task) else torch.arange(left)
    of_group = torch.bincount(groups[order[:most]], minlength=len(groups))
    copied = of_group[groups[order[:n]]] > 1
    stream = Stream(samples, apart, features, copied, scheduler, asked.left_out)
    return Streamed(problem, stream, order[:n], held_out, exact_at)


def exact_size(n: int, features: int) -> int:
    """Where the exact path can run, too: with samples that are no landmarks, as of those nothing is
    left to be off by.
    """
    return min(n, EXACT[1], max(EXACT[0], 2 * features))


def cost_of(given: Streamed, student: Student, *, timed: bool) -> Cost:
    """What a stream will cost here; that memory has no room for it is an error.

    Raises
    ------
    SettingError
        If it does not fit, with how many features would.
    """
    problem, stream = given.problem, given.stream
    part, grid, n, test = problem.pool.rows(slice(0, 1)), problem.grid, problem.n, problem.test
    assert part.teacher is not None
    assert test is not None
    classes, settings = part.teacher.shape[2], len(grid.soft_ratios) * len(grid.temperatures)
    columns = part.teacher.shape[1] * classes * settings
    evaluated = len(test) + len(stream.apart)

    timed_network = isinstance(student, TorchStudent) and math.isfinite(student.epochs)

    def held(features: int) -> int:
        sums = 8 * features * (4 * features + 2 * evaluated + 4 * columns)
        # (8.1) takes all features at once.
        whole = n * (features + 3 * columns) * problem.dtype.itemsize if timed_network else 0
        sizes = whole + 8 * len(grid.sizes) * (len(test) * columns + columns * classes)
        exact = exact_size(n, features)
        chunk = CHUNK * (2 * features + 2 * columns + numbers(part.x))
        return sums + sizes + 4 * max(chunk, exact * (exact + evaluated + 4 * columns))

    room, features = SPARE * free_memory(), stream.features
    if held(features) > room:
        fewer = (round(features * 0.95**k) for k in range(1, 200))
        fits = next((few for few in fewer if held(few) <= room), 0)
        raise SettingError(
            f"A stream in {features:,} features needs {size(held(features))} of memory, and"
            f" {size(room)} may be used here. "
            + (
                f"Give fewer features (about {fits:,} fit)."
                if fits > 1
                else "Fewer features would not fit either."
            )
        )
    seconds = None
    if timed:
        passes = 2 if stream.left_out else 1
        per_sample = features * (3 * features + 2 * columns) * passes
        seconds = n * per_sample / flops_per_second(torch.float32)
        per_size = 2 * len(RIDGES) * features * (features**2 / 3 + 2 * features * columns)
        per_size += features**2 * evaluated
        seconds += (len(grid.sizes) + 2) * per_size / flops_per_second(torch.float64)
        known = student.kernel if isinstance(student, ClosedForm) else None
        if isinstance(known, Sequential) and isinstance(part.x, Tensor):
            once = known.cost(tuple(part.x.shape[1:]), n, features, dtype=torch.float32).seconds
            seconds += passes * once
    return Cost("stream", seconds, held(features), 0)
