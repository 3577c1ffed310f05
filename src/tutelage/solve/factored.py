"""The solution by a factor of the kernel, in memory or in tiles: exact, N² numbers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tutelage.data.inputs import Inputs, rows
from tutelage.kernels import Kernel
from tutelage.solve.pool import Pool
from tutelage.solve.solution import LeftOut, Problem, finite
from tutelage.students import Start
from tutelage.theory import sweep
from tutelage.theory.copies import Copies
from tutelage.theory.factor import Factored, inverse_diagonal, solver
from tutelage.theory.finite_time import Losses, Path
from tutelage.theory.stage import HeldOut, Stage, Tensors, Walk

OpenPool = Callable[[int, Kernel, Inputs, Inputs | None], AbstractContextManager[Pool]]
"""From a start's number, its kernel, the pool in memory's order and the test part to what factors
the kernel.
"""


class ByFactor:
    """A factor of each start's kernel in each ordering.

    Parameters
    ----------
    problem : Problem
    orders : list of integer Tensor of shape (N,)
    groups : integer Tensor of shape (N,)
        Equal for samples of the pool with equal inputs.
    open_pool : callable
        See `OpenPool`.
    one_start : bool
        See `Solver`.
    """

    def __init__(
        self,
        problem: Problem,
        orders: list[Tensor],
        groups: Tensor,
        open_pool: OpenPool,
        *,
        one_start: bool = False,
    ) -> None:
        self.one_start = one_start
        self._problem, self._orders, self._open = problem, orders, open_pool
        self._targets, self._arranged = _targets(problem, groups), torch.arange(problem.n)
        self._losses: Losses | None = None
        self._scales: dict[int, sweep.Scale] = {}  # of starts that have seen less

    def solutions(self, number: int, start: Start) -> Iterator[tuple[int, "_InOrder"]]:
        """See `Solver`."""
        problem, orders = self._problem, self._orders
        # The pool lies in memory in its last ordering, so that the last factorisation needs no copy
        # of the kernel.
        stored = orders[start.serves[-1]]
        self._targets = self._targets.reordered(torch.argsort(self._arranged)[stored])
        self._arranged = stored
        x = rows(problem.pool.x, stored)
        z_0 = None if start.logits is None else start.logits(x).to(problem.dtype)
        back = torch.argsort(stored)
        test = None if problem.test is None else problem.test.x
        with self._open(number, start.kernel, x, test) as opened:
            for r in start.serves:
                at = _At(problem, start, opened, r, back[orders[r]], r == start.serves[-1])
                path = self._path(at, z_0)
                yield r, self._in_order(at, x, z_0, path)

    def copies(self) -> Copies:
        """See `Solver`."""
        return self._targets.copies.reordered(torch.argsort(self._arranged))

    def _in_order(self, at: "_At", x: Inputs, z_0: Tensor | None, path: Path | None) -> "_InOrder":
        factored = at.opened.factor(at.order, at.number, last=at.last)
        targets = self._targets.reordered(at.order)
        if not self._targets.searched:  # once, in the first ordering
            pool, dtype = rows(x, at.order), self._problem.dtype
            near = Copies.found(
                targets.copies.group,
                factored,
                at.opened.prior[at.order],
                lambda part: at.start.kernel(rows(pool, part), pool).to("cpu", dtype),
            )
            copies = near.reordered(torch.argsort(at.order))
            self._targets = replace(self._targets, copies=copies, searched=True)
            targets = replace(targets, copies=near)
        targets = replace(targets, start=None if z_0 is None else z_0[at.order])
        sizes = self._problem.grid.sizes
        students = sweep.Students.of(factored, targets, sizes if at.tells_of_pool else sizes[-1:])
        if at.tells_of_pool:
            students = students.honest(at.start.seen)
            if at.start.seen:
                self._scales[at.number] = sweep.Scale.of(students)
        elif at.number in self._scales:
            students = students.with_scale(self._scales[at.number])
        return _InOrder(at, factored, students, path, self._arranged)

    def _path(self, at: "_At", z_0: Tensor | None) -> Path | None:
        if not self._problem.is_timed(at.start):
            return None
        if self._losses is None:
            pool = self._problem.pool
            assert pool.teacher is not None
            teacher = pool.teacher.to(self._problem.dtype)
            self._losses = self._problem.grid.losses(teacher, pool.labels)
        losses = self._losses.reordered(self._orders[at.number])
        none = losses.soft_targets.new_zeros(losses.soft_targets.shape[:2])
        return Path.of(
            lambda kappa, dtype: solver(
                at.opened.ridged(kappa, dtype, at.order, at.number, last=at.last)
            ),
            at.opened.prior,
            losses,
            none if z_0 is None else z_0[at.order],
            at.start.time_per_sample,
        )


@dataclass(frozen=True)
class _At:
    """A start in one of the orderings that it serves, as places in memory."""

    problem: Problem
    start: Start
    opened: Pool
    number: int
    order: Tensor
    last: bool

    @property
    def tells_of_pool(self) -> bool:
        """Whether there are samples that it has not seen."""
        return self.start.seen < self.problem.n


class _InOrder:
    """See `Solution`."""

    lacking: dict[str, Tensor] = {}  # noqa: RUF012 (there is nothing)

    def __init__(
        self,
        at: _At,
        factored: Factored,
        students: sweep.Students,
        path: Path | None,
        stored: Tensor,
    ) -> None:
        self._at, self._factored, self._students = at, factored, students
        self._path, self._stored = path, stored
        self.jitter, self.redundant = (
            (factored.jitter, factored.relative_jitter),
            factored.redundant,
        )
        self._of_pool = at.tells_of_pool and not at.problem.test_is_complete

    @property
    def stages(self) -> tuple[Stage, ...]:
        """See `Solution`."""
        return self._students.stages

    def alone(self) -> Tensors:
        """See `Solution`."""
        variables, seen = sweep.of_ordering(self._students), self._at.start.seen
        if seen and "error_prequential" in variables:
            honest = torch.tensor([sweep.last_third(n) >= seen for n in self._students.sizes])
            told = variables["error_prequential"]
            variables["error_prequential"] = torch.where(honest, told, torch.nan)
        return variables

    def walk(self, held_out: HeldOut) -> Walk:
        """See `Solution`."""
        return self._at.opened.predictions(
            self._factored,
            self._students.solution.flatten(1),
            held_out.prior,
            self._at.order,
            self._students.sizes,
            last=self._at.last,
        )

    def learned(self) -> Callable[[int], Tensor] | None:
        """See `Solution`."""
        return None if self._path is None else self._path.learned

    def unseen(self) -> list[Tensors]:
        """See `Solution`."""
        if not self._of_pool:
            return []
        return sweep.on_pool(self._students, self._at.opened.prior[self._at.order])

    def left_out(self) -> LeftOut | None:
        """See `Solution`."""
        at = self._at
        if not (at.last and at.tells_of_pool):
            return None
        inverse = inverse_diagonal(self._factored, progress=at.problem.progress)
        found, row = sweep.LeftOut.of(self._students, inverse), {}
        if self._of_pool:
            row = sweep.on_left_out(self._students, at.opened.prior, found, at.start.seen)
        fresh = self._students.targets.copies.origin >= at.start.seen
        return LeftOut(found.logits, self._stored, fresh, row)


def _targets(problem: Problem, groups: Tensor) -> sweep.Targets:
    """Everything that students of the pool learn from."""
    pool, dtype = problem.pool, problem.dtype
    assert pool.teacher is not None
    assert pool.decisions is not None
    with problem.progress("settings", 1) as advance:
        effective, teacher, reference = problem.grid.targets(
            pool.teacher, pool.labels, problem.fill
        )
        advance(1)
    return sweep.Targets(
        finite(effective.to(dtype), "effective logits"),
        teacher.to(dtype).contiguous(),
        None if reference is None else reference.to(dtype),
        pool.decisions,
        pool.labels,
        Copies(groups),
    )
