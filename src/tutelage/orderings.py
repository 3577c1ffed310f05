"""The theory run over several orderings of the pool, one factorisation each; or over several starts of a finite student."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from tutelage.exceptions import NumericsError
from tutelage.grid import Grid
from tutelage.kernels import FiniteStudent, Kernel, Tangent, gram
from tutelage.progress import Progress
from tutelage.task import Task
from tutelage.theory import sweep
from tutelage.theory.factor import Factor, factor, inverse_diagonal, reordered, solve
from tutelage.theory.imperfect_teacher import reference_logits


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
        return task.teacher_logits("test") is not None and (task.y_test is not None or task.y_train is None)

    @cached_property
    def _test_effective(self) -> Tensor | None:
        """Solved once, for all starts."""
        logits = self.task.teacher_logits("test")
        if logits is None or not self._test_is_complete:
            return None
        return self.grid.effective(logits, self.task.y_test).to(self.pool.dtype)

    def targets(self) -> sweep.Targets:
        """What students are to fit, in the order that the pool is stored in."""
        task, labels, dtype = self.task, self.task.y_train, self.pool.dtype
        logits = task.teacher_logits("train")
        with self.progress("settings", 1) as advance:
            effective = finite(self.grid.effective(logits, labels).to(dtype), "effective logits")
            advance(1)
        teacher = torch.as_tensor(logits).to(torch.float64)
        teacher = teacher if task.n_logits == 1 else teacher - teacher.mean(-1, keepdim=True)
        known = None if labels is None else torch.as_tensor(labels)
        return sweep.Targets(
            effective,
            teacher.movedim(0, 1).to(dtype).contiguous(),
            None if known is None else reference_logits(known, task.n_logits).to(dtype),
            torch.as_tensor(task.teacher_decisions("train")),
            known,
        )

    def held_out(self, prior: Tensor, start: Tensor | None = None) -> sweep.HeldOut:
        """The test part, with Θ(x, x) and z_0 on it."""
        task = self.task
        decisions, labels = task.teacher_decisions("test"), task.y_test
        return sweep.HeldOut(
            prior,
            None if decisions is None else torch.as_tensor(decisions),
            None if labels is None else torch.as_tensor(labels),
            self._test_effective,
            start,
        )

    def evaluated(self) -> list[int]:
        """Number of samples behind each error."""
        n = self.task.n_train
        return [self.task.n_test if self.error_from_test else (n - k if k < n else n) for k in self.grid.sizes]


@dataclass
class Found:
    """What was found, ordering by ordering.

    Attributes
    ----------
    orderings : list of dict of Tensor (E, S, sizes)
    decision : list of Tensor (M, E, S)
        On the test part; one for all orderings, as all end with the whole pool, or one for each start.
    decision_loo : Tensor (N, E, S)
        On the pool, each sample left out; -1 where no student can tell.
    jitters : list of (float, float)
        λ, and λ over the kernel's mean diagonal.
    redundant : int
        Samples that only the jitter tells from those before them.
    notes : list of str
        What the person who plans should know of the students.
    distances : list of Tensor (E, S)
        ‖Δŵ_N‖ of the student that the decision is about.
    """

    orderings: list[sweep.Tensors] = field(default_factory=list)
    decision: list[Tensor] = field(default_factory=list)
    decision_loo: Tensor | None = None
    jitters: list[tuple[float, float]] = field(default_factory=list)
    redundant: int = 0
    notes: list[str] = field(default_factory=list)
    distances: list[Tensor] = field(default_factory=list)

    def note_jitter(self, factored: Factor) -> None:
        """Keep the jitter; the factor itself is as large as the kernel, and is not kept."""
        self.jitters.append((factored.jitter, factored.relative_jitter))
        self.redundant = max(self.redundant, factored.redundant)


def sweep_orderings(problem: Problem, kernel: Kernel, orders: list[Tensor]) -> Found:
    """Factor once per ordering, and read everything off (docs/theory.md §3)."""
    # The pool lies in memory in its last ordering, so that the last factorisation needs no copy of the kernel.
    stored, progress, sizes = orders[-1], problem.progress, problem.grid.sizes
    pool, test = problem.pool[stored], problem.test
    theta = gram(kernel, pool, progress=progress)
    cross = None if test is None else finite(kernel(pool, test), "kernel between pool and test inputs")
    prior = theta.diagonal().clone()
    held_out = None if test is None else problem.held_out(kernel.diag(test))
    targets, found = problem.targets().reordered(stored), Found()
    pool_rows: list[list[sweep.Tensors]] = []
    for r, original in enumerate(orders):
        final, order = r == len(orders) - 1, torch.argsort(stored)[original]
        factored = factor(theta if final else reordered(theta, order), overwrite=True, progress=progress)
        students = sweep.Students.of(factored, targets.reordered(order), sizes)
        variables = sweep.of_ordering(students)
        if held_out is not None and cross is not None:
            test_solution = solve(factored, cross if final else cross[order], overwrite=True)
            from_test, logits = sweep.on_test(students, test_solution, held_out)
            variables |= from_test
            found.decision = [sweep.decide(logits)]
        if problem.needs_pool:
            pool_rows.append(sweep.on_pool(students, prior[order]))
        found.note_jitter(factored)
        found.distances.append(students.squared_norm[-1].sqrt())
        found.orderings.append(variables)
    left_out = sweep.LeftOut.of(students, inverse_diagonal(factored, progress=progress))
    found.decision_loo = torch.empty_like(decided := sweep.decide(left_out.logits))
    found.decision_loo[stored] = decided
    last_row = sweep.on_left_out(students, prior, left_out) if problem.needs_pool else {}
    for variables, rows in zip(found.orderings, pool_rows, strict=False):
        # What the test part can tell, it tells; the pool tells the rest.
        variables |= {k: v for k, v in sweep.stack([*rows, last_row]).items() if k not in variables}
    return found


def sweep_starts(problem: Problem, student: FiniteStudent, orders: list[Tensor], seed: int) -> Found:
    """Linearise a finite student afresh for every ordering, and read everything off (docs/theory.md §3.1).

    The decision at n = N comes from a start that has seen the whole pool. Everything that must not have seen
    what it predicts, the curve over smaller n and what the pool tells of itself, comes from a start that has
    seen the first n_0 samples of the ordering only.
    """
    targets, found = problem.targets(), Found()
    told: Tensor | float = 0.0  # sums of left-out logits over the starts that have not seen the sample
    voters = torch.zeros(len(orders[0]))
    for r, order in enumerate(orders):
        unseen = slice(first_size(len(order)), None)
        early = _Start.of(problem, student, order[: unseen.start], order, targets, 2 * (1000 * seed + r)).honest(unseen)
        left_out = sweep.LeftOut.of(
            early.students, inverse_diagonal(early.students.factored, progress=problem.progress)
        )
        variables, _ = early.evaluate(problem, unseen, left_out)
        logits = torch.zeros_like(left_out.logits)
        logits[order[unseen]] = left_out.logits[unseen]
        told, voters[order[unseen]] = told + logits, voters[order[unseen]] + 1
        last = early
        if problem.error_from_test:
            last = _Start.of(problem, student, order, order, targets, 2 * (1000 * seed + r) + 1).with_scale_of(early)
            whole, decided = last.evaluate(problem)
            for name in whole.keys() - {"squared_norm", "error_prequential"}:
                variables[name][..., -1] = whole[name][..., -1]
            found.decision.append(decided)
        found.note_jitter(last.students.factored)
        found.distances.append(last.students.squared_norm[-1].sqrt())
        found.orderings.append(variables)
        found.notes = list(last.tangent.notes)
        del early, last  # each holds a factor as large as the kernel
    found.decision_loo = torch.where(voters[:, None, None] > 0, sweep.decide(torch.as_tensor(told)), -1)
    return found


def _last_third(n: int) -> int:
    return n - max(1, n // 3)


def first_size(n_train: int) -> int:
    """Give n_0, the samples that an early start sees: a quarter of the pool."""
    return n_train // 4


def finite(values: Tensor, what: str) -> Tensor:
    """Give the values back, or raise a `NumericsError` that says what they are."""
    if not bool(torch.isfinite(values.sum())):
        raise NumericsError(
            f"The {what} are not all finite numbers; look at the scale of the inputs and of the teacher's logits, or use float64."
        )
    return values


@dataclass(frozen=True)
class _Start:
    """A finite student linearised where some of the pool has brought it."""

    tangent: Tangent
    students: sweep.Students
    pool: Tensor
    prior: Tensor

    @classmethod
    def of(
        cls,
        problem: Problem,
        student: FiniteStudent,
        seen: Tensor,
        order: Tensor,
        targets: sweep.Targets,
        seed: int,
    ) -> "_Start":
        task, pool = problem.task, problem.pool[order]
        tangent = student.tangent(
            problem.pool[seen],
            torch.as_tensor(task.teacher_logits("train")[-1])[seen],
            None if task.y_train is None else torch.as_tensor(task.y_train)[seen],
            t_power=problem.grid.t_power,
            seed=seed,
            progress=problem.progress,
        )
        theta = gram(tangent.kernel, pool, progress=problem.progress)
        prior = theta.diagonal().clone()
        started = replace(targets.reordered(order), start=tangent.logits(pool))
        factored = factor(theta, overwrite=True, progress=problem.progress)
        students = sweep.Students.of(factored, started, problem.grid.sizes)
        return cls(tangent, students, pool, prior)

    def honest(self, unseen: slice) -> "_Start":
        """Where the last third of n samples was seen, take the scale of the first n where it was not."""
        sizes, scale = self.students.sizes, self.students.scale
        first = next(k for k, n in enumerate(sizes) if _last_third(n) >= unseen.start)
        index = torch.arange(len(sizes)).clamp_min(first)
        return replace(self, students=replace(self.students, scale=scale[index]))

    def with_scale_of(self, other: "_Start") -> "_Start":
        """Take the prequential scale of a start that has seen less: residuals of samples seen are too small to go by.

        The scale is in units of the kernel, so that it is brought to this one's by the last third's pivots.
        """
        pivots = [s.students.factored.lower.diagonal().square()[-(len(s.pool) // 3) :].mean() for s in (other, self)]
        return replace(self, students=replace(self.students, scale=other.students.scale * pivots[0] / pivots[1]))

    def evaluate(
        self, problem: Problem, unseen: slice | None = None, left_out: sweep.LeftOut | None = None
    ) -> tuple[sweep.Tensors, Tensor]:
        """Every variable at every size, and the decisions on the test part; on the pool only what is unseen."""
        variables, decided = sweep.of_ordering(self.students), torch.empty(0)
        if unseen is not None and "error_prequential" in variables:
            honest = torch.tensor([_last_third(n) >= unseen.start for n in self.students.sizes])
            variables["error_prequential"] = torch.where(honest, variables["error_prequential"], torch.nan)
        if problem.test is not None:
            test, kernel = problem.test, self.tangent.kernel
            held_out = problem.held_out(kernel.diag(test), self.tangent.logits(test))
            cross = finite(kernel(self.pool, test), "kernel between pool and test inputs")
            test_solution = solve(self.students.factored, cross, overwrite=True)
            from_test, logits = sweep.on_test(self.students, test_solution, held_out)
            variables, decided = variables | from_test, sweep.decide(logits)
        if unseen is not None and left_out is not None and problem.needs_pool:
            rows = sweep.on_pool(self.students, self.prior)
            last = sweep.on_left_out(self.students, self.prior, left_out, unseen)
            variables |= {k: v for k, v in sweep.stack([*rows, last]).items() if k not in variables}
        return variables, decided
