"""The theory run over several starts of a finite student: each linearised after a brief training of
its own.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tutelage.exceptions import TaskError
from tutelage.kernels import FiniteStudent, Tangent, cross, gram
from tutelage.orderings import Found, Problem, finite
from tutelage.theory import finite_time, sweep
from tutelage.theory.copies import Copies
from tutelage.theory.factor import Walk, factor, inverse_diagonal, solve


def sweep_starts(
    problem: Problem, student: FiniteStudent, orders: list[Tensor], seed: int
) -> Found:
    """Linearise a finite student afresh for every ordering, and read everything off (docs/theory.md
    §3.1).

    The decision at n = N comes from a start that has seen the whole pool. Everything that must not
    have seen what it predicts, the curve over smaller n and what the pool tells of itself, comes
    from a start that has seen the first n_0 samples of the ordering only. Errors and risks on the
    test part are those after the student's training time (§8); all else is of the converged
    student.
    """
    task, targets, found = problem.task, problem.targets(), Found()
    labels = None if task.y_train is None else torch.as_tensor(task.y_train)
    student = student.tuned(
        problem.pool, torch.as_tensor(task.teacher_logits("train")[-1]), labels,
        seed=seed, progress=problem.progress,
    )  # fmt: skip
    found.student = student
    told: Tensor | float = (
        0.0  # sums of left-out logits over the starts that have not seen the sample
    )
    voters = torch.zeros(len(orders[0]))
    for r, order in enumerate(orders):
        unseen = slice(first_size(len(order)), None)
        early = _Start.of(
            problem,
            student,
            order[: unseen.start],
            order,
            targets,
            2 * (1000 * seed + r),
            first=r == 0,
        ).honest(unseen)
        copies = early.students.targets.copies
        targets = replace(
            targets, copies=copies.reordered(torch.argsort(order))
        )  # found once, in the first ordering
        left_out = sweep.LeftOut.of(
            early.students, inverse_diagonal(early.students.factored, progress=problem.progress)
        )
        variables, _ = early.evaluate(problem, unseen, left_out)
        fresh = copies.origin >= unseen.start  # neither the sample nor a copy of it was seen
        logits = torch.zeros_like(left_out.logits)
        logits[order[fresh]] = left_out.logits[fresh]
        told, voters[order[fresh]] = told + logits, voters[order[fresh]] + 1
        last = early
        if problem.error_from_test:
            last = _Start.of(
                problem, student, order, order, targets, 2 * (1000 * seed + r) + 1
            ).with_scale_of(early)
            whole, decided = last.evaluate(problem)
            for name in whole.keys() - {"squared_norm", "error_prequential"}:
                variables[name][..., -1] = whole[name][..., -1]
            found.decision.append(decided)
        found.note_jitter(last.students.factored)
        found.distances.append(last.students.squared_norm[-1].sqrt())
        found.orderings.append(variables)
        found.notes = list(last.tangent.notes)
        del early, last  # each holds a factor as large as the kernel
    found.copies = targets.copies
    if not bool(voters.any()):
        raise TaskError(
            "Every sample of the pool is a copy of one that the brief trainings have seen, so that"
            " none is left to measure errors on. Give a pool of different inputs, or a closed form"
            " (mlp)."
        )
    found.decision_loo = torch.where(
        voters[:, None, None] > 0, sweep.decide(torch.as_tensor(told)), -1
    )
    return found


def _last_third(n: int) -> int:
    return n - max(1, n // 3)


def first_size(n_train: int) -> int:
    """Give n_0, the samples that an early start sees: a quarter of the pool."""
    return n_train // 4


@dataclass(frozen=True)
class _Start:
    """A finite student linearised where some of the pool has brought it."""

    tangent: Tangent
    students: sweep.Students
    pool: Tensor
    prior: Tensor
    trained: finite_time.Path | None

    @classmethod
    def of(
        cls,
        problem: Problem,
        student: FiniteStudent,
        seen: Tensor,
        order: Tensor,
        targets: sweep.Targets,
        seed: int,
        *,
        first: bool = False,
    ) -> "_Start":
        task, pool = problem.task, problem.pool[order]
        tangent = student.tangent(
            problem.pool[seen],
            torch.as_tensor(task.teacher_logits("train")[-1])[seen],
            None if task.y_train is None else torch.as_tensor(task.y_train)[seen],
            seed=seed,
            progress=problem.progress,
        )
        theta = gram(tangent.kernel, pool, progress=problem.progress)
        prior = theta.diagonal().clone()
        z_0, path = tangent.logits(pool), None
        if problem.error_from_test and math.isfinite(tangent.time_per_sample):
            path = finite_time.Path.of(
                theta, problem.losses.reordered(order), z_0, tangent.time_per_sample
            )
        factored = factor(theta, overwrite=True, progress=problem.progress)
        ordered = replace(targets.reordered(order), start=z_0)
        if first:
            near = Copies.found(
                ordered.copies.group, factored, prior, lambda part: tangent.kernel(pool[part], pool)
            )
            ordered = replace(ordered, copies=near)
        sizes = problem.grid.sizes[-1:] if len(seen) == len(order) else problem.grid.sizes
        students = sweep.Students.of(factored, ordered, sizes)
        return cls(tangent, students, pool, prior, path)

    def honest(self, unseen: slice) -> "_Start":
        """Where the last third of n samples was seen, take the scale of the first n where it was
        not.
        """
        sizes, scale = self.students.sizes, self.students.scale
        first = next(k for k, n in enumerate(sizes) if _last_third(n) >= unseen.start)
        index = torch.arange(len(sizes)).clamp_min(first)
        return replace(self, students=replace(self.students, scale=scale[index]))

    def with_scale_of(self, other: "_Start") -> "_Start":
        """Take the prequential scale of a start that has seen less: residuals of samples seen are
        too small to go by.

        The scale is in units of the kernel, so that it is brought to this one's by the last third's
        pivots.
        """
        pivots = [
            s.students.factored.diagonal.square()[-(len(s.pool) // 3) :].mean()
            for s in (other, self)
        ]
        return replace(
            self,
            students=replace(
                self.students, scale=other.students.scale[-1:] * pivots[0] / pivots[1]
            ),
        )

    def evaluate(
        self, problem: Problem, unseen: slice | None = None, left_out: sweep.LeftOut | None = None
    ) -> tuple[sweep.Tensors, Tensor]:
        """Every variable at every size, and the decisions on the test part; on the pool only what
        is unseen.
        """
        variables, decided = sweep.of_ordering(self.students), torch.empty(0)
        if unseen is not None and "error_prequential" in variables:
            honest = torch.tensor([_last_third(n) >= unseen.start for n in self.students.sizes])
            variables["error_prequential"] = torch.where(
                honest, variables["error_prequential"], torch.nan
            )
        if problem.test is not None:
            test, kernel = problem.test, self.tangent.kernel
            held_out = problem.held_out(kernel.diag(test), self.tangent.logits(test))
            between = finite(
                cross(kernel, self.pool, test, progress=problem.progress),
                "kernel between pool and test inputs",
            )
            test_solution = solve(self.students.factored, between, overwrite=True)
            walk = Walk.of(
                self.students.solution.flatten(1),
                test_solution,
                held_out.prior,
                self.students.sizes,
            )
            from_test, logits = sweep.on_test(self.students, walk, held_out)
            if self.trained is not None:
                # At n = N a start that has seen the whole pool tells.
                sizes = self.students.sizes if unseen is None else self.students.sizes[:-1]
                in_time, at_last = sweep.on_test_in_time(
                    self.students, test_solution, held_out, self.trained, sizes, problem.progress
                )
                logits = logits if at_last is None else at_last
                for k, row in enumerate(in_time):
                    for name, value in row.items():
                        from_test[name][..., k] = value
            variables, decided = variables | from_test, sweep.decide(logits)
        if unseen is not None and left_out is not None and problem.needs_pool:
            rows = sweep.on_pool(self.students, self.prior)
            last = sweep.on_left_out(self.students, self.prior, left_out, unseen.start)
            variables |= {k: v for k, v in sweep.stack([*rows, last]).items() if k not in variables}
        return variables, decided
