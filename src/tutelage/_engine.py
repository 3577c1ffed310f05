"""The one loop: starts of a student, the orderings that each serves, and all sizes at once."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tutelage.data.part import decide
from tutelage.exceptions import TaskError
from tutelage.progress import Progress
from tutelage.solve.solution import LeftOut, Problem, Solution, Solver, finite
from tutelage.students import Student
from tutelage.theory.copies import Copies
from tutelage.theory.stage import HeldOut, Tensors, on_test, on_test_in_time, stack


@dataclass
class Found:
    """Results of the loop.

    Attributes
    ----------
    student : Student
        With what all its starts shared.
    orderings : dict of dict of Tensor (E, S, sizes)
        Variables of each ordering, by its number.
    decision : list of Tensor (M, E, S)
        On the test part, one for each start that is of the whole pool.
    decision_loo : Tensor (N, E, S)
        On the pool, each sample left out; -1 where no student can tell.
    jitters : dict of (float, float)
        λ, and λ over the kernel's mean diagonal, of each ordering.
    redundant : dict of int
        Samples that only the jitter tells from those before them, of each ordering.
    distances : dict of Tensor (E, S)
        ‖Δŵ_N‖ of the student that the decision is about, of each ordering.
    evaluated : list of int
        Samples behind each error: at n < N the mean of the orderings'.
    copies : Copies
        In the order that the pool is stored in.
    notes : tuple of str
        What was done with the students.
    """

    student: Student
    orderings: dict[int, Tensors] = field(default_factory=dict)
    decision: list[Tensor] = field(default_factory=list)
    decision_loo: Tensor = field(default_factory=lambda: torch.empty(0))
    jitters: dict[int, tuple[float, float]] = field(default_factory=dict)
    redundant: dict[int, int] = field(default_factory=dict)
    distances: dict[int, Tensor] = field(default_factory=dict)
    evaluated: list[int] = field(default_factory=list)
    copies: Copies = field(default_factory=lambda: Copies.none(0))
    notes: tuple[str, ...] = ()

    def take(self, r: int, variables: Tensors, solution: Solution) -> None:
        """Keep what is known of an ordering; of a start that has seen more only the last size."""
        merged = self.orderings.setdefault(r, variables)
        if merged is not variables:
            for name in variables.keys() - {"squared_norm", "error_prequential"}:
                merged[name][..., -1] = variables[name][..., -1]
        self.jitters[r], self.redundant[r] = solution.jitter, solution.redundant
        self.distances[r] = solution.stages[-1].squared_norm.sqrt()

    def spread(self, used: Tensor, copies: Copies) -> None:
        """Say where the samples lie in a larger pool, of whose others nothing is told."""
        told = self.decision_loo
        self.decision_loo = told.new_full((len(copies.group), *told.shape[1:]), -1)
        self.decision_loo[used] = told
        self.copies = copies


def explore(
    problem: Problem, student: Student, orders: list[Tensor], solver: Solver, seed: int
) -> Found:
    """Evaluate the students of every start, ordering and size (docs/theory.md §3).

    A start that has seen samples says nothing of them. So each ordering has two. Its curve over
    smaller n, and what the pool tells of itself, come from a start that has seen none of the
    samples, or the first n_0. Its decision at n = N comes from one that has seen none, or all.
    Errors and risks on the test part are those after the student's training time (§8). All else is
    of the converged student.

    Parameters
    ----------
    problem : Problem
    student : Student
    orders : list of integer Tensor of shape (N,)
        Orderings of the pool.
    solver : Solver
    seed : int
        Of the starts.
    """
    pool, progress, n = problem.pool, problem.progress, len(problem.pool)
    student = student.settled(pool, seed=seed, progress=progress)
    found, votes = Found(student), _Votes()
    whole = problem.error_from_test and not solver.one_start
    starts = student.starts(pool, orders, whole=whole, seed=seed, progress=progress)
    for number, start in enumerate(starts):
        held_out, found.notes = problem.held_out(start), start.notes
        partly = 0 < start.seen < n and not solver.one_start
        decision, left_out, of_pool = None, None, {}
        for r, solution in solver.solutions(number, start):
            variables = solution.alone()
            if held_out is not None:
                from_test, decision = _on_test(solution, held_out, progress, partly=partly)
                variables |= from_test
            for name, where in solution.lacking.items():
                like = variables.get(name, torch.zeros_like(variables["squared_norm"]))
                variables[name] = torch.where(where, torch.nan, like)
            found.take(r, variables, solution)
            of_pool[r], left_out = solution.unseen(), solution.left_out()
            del solution  # as large as the kernel: gone before the next is made
        if decision is not None and not partly:
            found.decision.append(decision)
        if left_out is not None:
            votes.add(left_out)
            for r, rows in of_pool.items():
                # What the test part can tell, it tells; the pool tells the rest.
                known, told = found.orderings[r], stack([*rows, left_out.row])
                known |= {name: value for name, value in told.items() if name not in known}
    found.copies, found.decision_loo = solver.copies(), votes.decided(problem.n)
    found.evaluated = _evaluated(problem, orders, found.copies, student.seen(n))
    return found


def _on_test(
    solution: Solution, held_out: HeldOut, progress: Progress, *, partly: bool
) -> tuple[Tensors, Tensor]:
    """Every variable of the test part, and what the students of the whole pool decide for."""
    walk = solution.walk(held_out)
    finite(walk.last, "kernel between pool and test inputs")
    variables, logits = on_test(solution.stages, walk, held_out)
    learned = solution.learned()
    if learned is not None:
        # At n = N a start that has seen the whole pool tells.
        sizes = [stage.n for stage in solution.stages]
        shape = solution.stages[0].scale.shape
        timed, at_last = on_test_in_time(
            shape, walk, held_out, learned, sizes[:-1] if partly else sizes, progress
        )
        for k, row in enumerate(timed):
            for name, value in row.items():
                variables[name][..., k] = value
        logits = logits if at_last is None else at_last
    return variables, decide(logits)


def _evaluated(problem: Problem, orders: list[Tensor], copies: Copies, seen: int) -> list[int]:
    """Samples behind each error: at n < N the mean of the orderings'."""
    sizes, n = problem.grid.sizes, problem.n
    if problem.error_from_test:
        assert problem.test is not None
        return [len(problem.test)] * len(sizes)
    firsts = [copies.reordered(order).first for order in orders]
    unseen = [[int(first[k if k < n else seen :].sum()) for first in firsts] for k in sizes]
    return [round(sum(counts) / len(counts)) for counts in unseen]


class _Votes:
    """What is told of left-out samples by the starts that have not seen them."""

    def __init__(self) -> None:
        self._first: LeftOut | None = None
        self._sum: tuple[Tensor, Tensor] | None = None  # of logits, and of those who gave some

    def add(self, left_out: LeftOut) -> None:
        """Take what one start tells; the first one's is kept as it is, for lack of memory."""
        if self._first is None:
            self._first = left_out
            return
        if self._sum is None:
            counts = torch.zeros(len(left_out.told), dtype=torch.int64)
            self._sum = torch.zeros_like(left_out.told), counts
            self._added(self._first)
        self._added(left_out)

    def _added(self, left_out: LeftOut) -> None:
        assert self._sum is not None
        told, voters = self._sum
        where = left_out.order[left_out.fresh]
        told[where] += left_out.told[left_out.fresh]
        voters[where] += 1

    def decided(self, n: int) -> Tensor:
        """The class that each of n samples is given, (n, E, S); -1 where nobody can tell."""
        assert self._first is not None
        if self._sum is None:
            told, order, fresh, _ = self._first
            decided = decide(told) if told.is_floating_point() else told
            decided[~fresh] = -1
            found = decided.new_full((n, *decided.shape[1:]), -1)
            found[order] = decided
        else:
            told, voters = self._sum
            found = decide(told)
            found[voters == 0] = -1
        if bool((found < 0).all()) and len(self._first.told):
            raise TaskError(
                "Every sample of the pool is a copy of one that the brief trainings have seen, so"
                " that none is left to measure errors on. Give a pool of different inputs, or a"
                " closed form (mlp)."
            )
        return found
