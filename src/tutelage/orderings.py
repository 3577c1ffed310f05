"""The theory run over several orderings of the pool, one factorisation each."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from tutelage.exceptions import NumericsError
from tutelage.grid import Grid
from tutelage.kernels import FiniteStudent, Kernel
from tutelage.progress import Progress
from tutelage.scale import Inputs, Pool
from tutelage.task import Task
from tutelage.theory import sweep
from tutelage.theory.copies import Copies
from tutelage.theory.effective_logits import unmasked
from tutelage.theory.factor import Factored, inverse_diagonal
from tutelage.theory.finite_time import Losses
from tutelage.theory.imperfect_teacher import reference_logits

OpenPool = Callable[[Inputs], AbstractContextManager[Pool]]


@dataclass(frozen=True)
class Problem:
    """A task's inputs and targets as tensors."""

    task: Task
    grid: Grid
    pool: Tensor
    test: Tensor | None
    progress: Progress

    @property
    def error_from_test(self) -> bool:
        """Whether errors come from the test part: it has labels, or nothing has."""
        return self.test is not None and (self.task.y_test is not None or self.task.y_train is None)

    @property
    def needs_pool(self) -> bool:
        """Whether something has to be evaluated on the pool itself."""
        return not self._test_is_complete

    @property
    def _test_is_complete(self) -> bool:
        task = self.task
        return task.teacher_logits("test") is not None and (
            task.y_test is not None or task.y_train is None
        )

    @cached_property
    def _test_effective(self) -> Tensor | None:
        """Solved once, for all starts."""
        logits = self.task.teacher_logits("test")
        if logits is None or not self._test_is_complete:
            return None
        return self.grid.effective(logits, self.task.y_test, self.task.fill).to(self.pool.dtype)

    def targets(self) -> sweep.Targets:
        """What students are to fit, in the order that the pool is stored in."""
        task, labels, dtype = self.task, self.task.y_train, self.pool.dtype
        logits = task.teacher_logits("train")
        with self.progress("settings", 1) as advance:
            effective = finite(
                self.grid.effective(logits, labels, task.fill).to(dtype), "effective logits"
            )
            advance(1)
        teacher = torch.as_tensor(logits).to(torch.float64)
        if task.fill is not None:
            teacher = torch.stack([unmasked(of_epoch, task.fill, 1.0) for of_epoch in teacher])
        teacher = teacher if task.n_logits == 1 else teacher - teacher.mean(-1, keepdim=True)
        known = None if labels is None else torch.as_tensor(labels)
        return sweep.Targets(
            effective,
            teacher.movedim(0, 1).to(dtype).contiguous(),
            None if known is None else reference_logits(known, task.n_logits).to(dtype),
            torch.as_tensor(task.teacher_decisions("train")),
            known,
            Copies(torch.as_tensor(task.copy_of)),
        )

    @cached_property
    def losses(self) -> Losses:
        """What students are trained with, in the order that the pool is stored in."""
        task, grid = self.task, self.grid
        settings = torch.cartesian_prod(
            torch.tensor(grid.soft_ratios), torch.tensor(grid.temperatures)
        )
        return Losses.of(
            torch.as_tensor(task.teacher_logits("train")).to(self.pool.dtype).movedim(0, 1),
            None if task.y_train is None else torch.as_tensor(task.y_train),
            settings[:, 0],
            settings[:, 1],
            grid.t_power,
        )

    def held_out(self, prior: Tensor, start: Tensor | None = None) -> sweep.HeldOut:
        """The test part, with Θ(x, x) and z_0 on it."""
        task = self.task
        decisions, labels = task.teacher_decisions("test"), task.y_test
        return sweep.HeldOut(
            finite(prior, "kernel's values of the test inputs"),
            None if decisions is None else torch.as_tensor(decisions),
            None if labels is None else torch.as_tensor(labels),
            self._test_effective,
            start,
        )

    def evaluated(self, copies: Copies, orders: list[Tensor]) -> list[int]:
        """Number of samples behind each error: at n < N the mean of the orderings'."""
        if self.error_from_test:
            return [self.task.n_test] * len(self.grid.sizes)
        firsts, n = [copies.reordered(order).first for order in orders], self.task.n_train
        unseen = [[int(first[k % n :].sum()) for first in firsts] for k in self.grid.sizes]
        return [round(sum(counts) / len(counts)) for counts in unseen]


@dataclass
class Found:
    """What was found, ordering by ordering.

    Attributes
    ----------
    orderings : list of dict of Tensor (E, S, sizes)
    decision : list of Tensor (M, E, S)
        On the test part; one for all orderings, as all end with the whole pool, or one for each
        start.
    decision_loo : Tensor (N, E, S)
        On the pool, each sample left out; -1 where no student can tell.
    jitters : list of (float, float)
        λ, and λ over the kernel's mean diagonal.
    redundant : int
        Samples that only the jitter tells from those before them.
    notes : list of str
        What was done with the students.
    student : FiniteStudent, optional
        With what all its starts shared, such as the learning rate.
    distances : list of Tensor (E, S)
        ‖Δŵ_N‖ of the student that the decision is about.
    copies : Copies
        In the order that the pool is stored in.
    """

    orderings: list[sweep.Tensors] = field(default_factory=list)
    decision: list[Tensor] = field(default_factory=list)
    decision_loo: Tensor | None = None
    jitters: list[tuple[float, float]] = field(default_factory=list)
    redundant: int = 0
    notes: list[str] = field(default_factory=list)
    student: FiniteStudent | None = None
    distances: list[Tensor] = field(default_factory=list)
    copies: Copies = field(default_factory=lambda: Copies.none(0))

    def note_jitter(self, factored: Factored) -> None:
        """Keep the jitter; the factor itself is as large as the kernel, and is not kept."""
        self.jitters.append((factored.jitter, factored.relative_jitter))
        self.redundant = max(self.redundant, factored.redundant)


def sweep_orderings(
    problem: Problem, kernel: Kernel, orders: list[Tensor], open_pool: OpenPool
) -> Found:
    """Factor once per ordering, and read everything off (docs/theory.md §3)."""
    # The pool lies in memory in its last ordering, so that the last factorisation needs no copy of
    # the kernel.
    stored, progress = orders[-1], problem.progress
    inputs, found = Inputs(kernel, problem.pool[stored], problem.test), Found()
    targets = problem.targets().reordered(stored)
    back = torch.argsort(stored)
    pool_rows: list[list[sweep.Tensors]] = []
    with open_pool(inputs) as opened:
        held_out = None if inputs.test is None else problem.held_out(kernel.diag(inputs.test))
        for r, original in enumerate(orders):
            final, order = r == len(orders) - 1, back[original]
            factored = opened.factor(order, r, last=final)
            if r == 0:
                in_order, pool = targets.copies.reordered(order), inputs.pool[order]
                near = Copies.found(
                    in_order.group, factored, opened.prior[order], partial(_rows, kernel, pool)
                )
                targets = replace(targets, copies=near.reordered(torch.argsort(order)))
            students = sweep.Students.of(factored, targets.reordered(order), problem.grid.sizes)
            variables = sweep.of_ordering(students)
            if held_out is not None:
                flat, prior = students.solution.flatten(1), held_out.prior
                walk = opened.predictions(factored, flat, prior, order, students.sizes, last=final)
                finite(walk.last, "kernel between pool and test inputs")
                from_test, logits = sweep.on_test(students, walk, held_out)
                variables |= from_test
                found.decision = [sweep.decide(logits)]
                del walk
            if problem.needs_pool:
                pool_rows.append(sweep.on_pool(students, opened.prior[order]))
            found.note_jitter(factored)
            found.distances.append(students.squared_norm[-1].sqrt())
            found.orderings.append(variables)
            if not final:
                del factored, students  # as large as the kernel: gone before the next is made
        left_out = sweep.LeftOut.of(students, inverse_diagonal(factored, progress=progress))
        found.decision_loo = torch.empty_like(decided := sweep.decide(left_out.logits))
        found.decision_loo[stored] = decided
        found.copies = targets.copies.reordered(back)
        last_row = sweep.on_left_out(students, opened.prior, left_out) if problem.needs_pool else {}
    for variables, rows in zip(found.orderings, pool_rows, strict=False):
        # What the test part can tell, it tells; the pool tells the rest.
        variables |= {k: v for k, v in sweep.stack([*rows, last_row]).items() if k not in variables}
    return found


def _rows(kernel: Kernel, pool: Tensor, chosen: Tensor) -> Tensor:
    return kernel(pool[chosen], pool)


def finite(values: Tensor, what: str) -> Tensor:
    """Give the values back, or raise a `NumericsError` that says what they are."""
    if not bool(torch.isfinite(values.sum())):
        raise NumericsError(
            f"The {what} are not all finite numbers; look at the scale of the inputs and of the"
            " teacher's logits, or use float64."
        )
    return values
