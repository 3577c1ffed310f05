"""All of the theory on one ordering of the pool, for every setting and size at once."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.part import decide
from tutelage.theory import data_inefficiency, factor, imperfect_teacher, transfer_risk
from tutelage.theory.copies import Copies
from tutelage.theory.factor import Factored
from tutelage.theory.stage import HeldOut, Stage, Tensors, evaluate, from_start, spread


@dataclass(frozen=True)
class Targets:
    """What the students are to fit on the pool.

    Attributes
    ----------
    effective : Tensor of shape (N, E, S, C)
        Effective logits of E teacher epochs and S settings.
    teacher : Tensor of shape (N, E, C)
        The teacher's logits, centred.
    reference : Tensor of shape (N, C), optional
        The direction z_g that a better teacher or the labels point in (docs/theory.md §6).
    teacher_decision : integer Tensor of shape (E, N)
    labels : integer Tensor of shape (N,), optional
    copies : Copies
        Samples that are copies of one another.
    start : Tensor of shape (N, C), optional
        z_0, the student's logits where it is linearised; 0 for a centred student.
    searched : bool
        Whether near copies have been looked for.
    """

    effective: Tensor
    teacher: Tensor
    reference: Tensor | None
    teacher_decision: Tensor
    labels: Tensor | None
    copies: Copies
    start: Tensor | None = None
    searched: bool = False

    def reordered(self, order: Tensor) -> "Targets":
        """The same targets in another ordering."""
        if torch.equal(order, torch.arange(len(order))):
            return self
        return Targets(
            self.effective[order],
            self.teacher[order],
            None if self.reference is None else self.reference[order],
            self.teacher_decision[:, order],
            None if self.labels is None else self.labels[order],
            self.copies.reordered(order),
            None if self.start is None else self.start[order],
            self.searched,
        )

    def still_to_learn(self, logits: Tensor) -> Tensor:
        """Logits (N, ..., C) less those of the start, (3.7)."""
        return logits if self.start is None else logits - spread(self.start, logits.ndim)


@dataclass(frozen=True)
class Students:
    """Every student of one ordering: all epochs, settings, classes and sizes.

    Attributes
    ----------
    factored : Factored
        Of the pool in the ordering.
    targets : Targets
        In the ordering.
    solution : Tensor of shape (N, E, S, C)
        U = L⁻¹ Z.
    stages : tuple of Stage
        Of every size, ascending and ending at N.
    """

    factored: Factored
    targets: Targets
    solution: Tensor
    stages: tuple[Stage, ...]

    @property
    def sizes(self) -> list[int]:
        """Of the stages."""
        return [stage.n for stage in self.stages]

    @classmethod
    def of(cls, factored: Factored, targets: Targets, sizes: list[int]) -> "Students":
        """Solve for all of them."""
        flat = factor.solve(factored, targets.still_to_learn(targets.effective).flatten(1))
        solution, shape = (
            flat.reshape(targets.effective.shape),
            (
                len(sizes),
                *targets.effective.shape[1:],
            ),
        )
        squares = factor.squared_norms(flat, sizes).reshape(shape)
        many = shape[-1] > transfer_risk.MANY
        grams = squares[..., None] if many else factor.gram_matrices(solution, sizes)
        scale = transfer_risk.prequential_scale(flat, sizes).reshape(shape)
        scale = scale * transfer_risk.centred_share(shape[-1])
        norms, missing = squares.sum(-1), grams[-1] - grams
        stages = [
            Stage(n, norm, s_squared, left, factored.jitter)
            for n, norm, s_squared, left in zip(sizes, norms, scale, missing, strict=True)
        ]
        return cls(factored, targets, solution, tuple(stages))

    def honest(self, seen: int) -> "Students":
        """Where the last third of n samples was seen, take the scale of the first n where it was
        not.
        """
        if seen == 0:
            return self
        first = next(stage for stage in self.stages if last_third(stage.n) >= seen)
        honest = (replace(s, scale=max(s, first, key=lambda s: s.n).scale) for s in self.stages)
        return replace(self, stages=tuple(honest))

    def with_scale(self, other: "Scale") -> "Students":
        """Take the scale of a start that has seen less, brought to this one's units."""
        scale = other.scale * other.pivots / Scale.of(self).pivots
        return replace(self, stages=tuple(replace(s, scale=scale) for s in self.stages))


@dataclass(frozen=True)
class Scale:
    """The prequential scale of the students of the whole pool, for a start that has seen all of it:
    its own residuals are too small to go by.

    Attributes
    ----------
    scale : Tensor of shape (E, S, C)
        s², in units of the kernel.
    pivots : Tensor of shape ()
        Mean square of the last third's pivots, which tells the kernel's units.
    """

    scale: Tensor
    pivots: Tensor

    @classmethod
    def of(cls, students: Students) -> "Scale":
        """Of the students of the whole pool."""
        factored = students.factored
        return cls(
            students.stages[-1].scale, factored.diagonal.square()[-(len(factored) // 3) :].mean()
        )


def last_third(n: int) -> int:
    """Give where the last third of n samples begins."""
    return n - max(1, n // 3)


@dataclass(frozen=True)
class LeftOut:
    """Each pool sample as the students of all the others see it, (3.6); the same for every
    ordering.

    Copies are left out together, (3.6a).

    Attributes
    ----------
    logits : Tensor of shape (N, E, S, C)
    coefficients : Tensor of shape (N, E, S, C)
        Θ⁻¹Z, summed over copies.
    inverse_diagonal : Tensor of shape (N,)
        Of Θ⁻¹, summed over pairs of copies.
    """

    logits: Tensor
    coefficients: Tensor
    inverse_diagonal: Tensor

    @classmethod
    def of(cls, students: Students, inverse_diagonal: Tensor) -> "LeftOut":
        """In the ordering of the students."""
        targets, copies = students.targets.effective, students.targets.copies
        weights = factor.coefficients(students.factored, students.solution.flatten(1))
        weights, inverse_diagonal, means = copies.left_out(
            students.factored, weights, inverse_diagonal, targets.flatten(1)
        )
        logits = factor.leave_one_out(weights, inverse_diagonal, means)
        return cls(logits.reshape(targets.shape), weights.reshape(targets.shape), inverse_diagonal)

    def reordered(self, order: Tensor) -> "LeftOut":
        """The same samples in another ordering."""
        return LeftOut(self.logits[order], self.coefficients[order], self.inverse_diagonal[order])


def on_pool(students: Students, prior: Tensor) -> list[Tensors]:
    """Evaluate the students of n < N samples on the part of the pool that they have not seen.

    Parameters
    ----------
    students : Students
    prior : Tensor of shape (N,)
        Θ(x, x), in the ordering.

    Returns
    -------
    list of dict of Tensor (E, S)
        One for each size but the last.
    """
    factored, oracle = students.factored, students.targets.effective
    start = None if students.targets.start is None else spread(students.targets.start, oracle.ndim)
    first = students.targets.copies.first
    rows: list[Tensors] = []
    walk = factor.pool_predictions(
        factored, students.solution.flatten(1), prior, students.sizes[:-1]
    )
    for stage, (n, mean, variance) in zip(students.stages[:-1], walk, strict=True):
        unseen = n + first[n:].nonzero()[:, 0]
        if not len(unseen):  # copies of what was seen are all that is left
            rows.append({})
            continue
        logits = from_start(
            None if start is None else start[unseen], mean[unseen].reshape(-1, *oracle.shape[1:])
        )
        # A pool sample has a feature √λ of its own, which lengthens it and keeps it out of the span
        # of the others.
        own = variance[unseen] + stage.jitter
        row = _evaluate_pool(students, stage, unseen, logits, prior, own)
        row["data_inefficiency"], row["data_inefficiency_se"] = data_inefficiency.fresh_sample(
            stage.squared_norm, oracle[unseen] - logits, variance[unseen], stage.jitter, n
        )
        rows.append(row)
    return rows


def on_left_out(students: Students, prior: Tensor, left_out: LeftOut, begin: int = 0) -> Tensors:
    """Evaluate the students of the whole pool on samples in turn, each left out; (E, S) each.

    Those from `begin` on in the ordering are what the start has not seen.
    """
    unseen = begin + students.targets.copies.first[begin:].nonzero()[:, 0]
    if not len(unseen):
        return {}
    variance, last = 1 / left_out.inverse_diagonal[unseen], students.stages[-1]
    row = _evaluate_pool(students, last, unseen, left_out.logits[unseen], prior, variance)
    row["data_inefficiency"], row["data_inefficiency_se"] = data_inefficiency.leave_one_out(
        last.squared_norm,
        left_out.coefficients[unseen],
        left_out.inverse_diagonal[unseen],
        len(prior),
    )
    return row


def of_ordering(students: Students) -> Tensors:
    """What the ordering alone tells: norms, prequential errors, correction angles; (E, S, sizes)
    each.
    """
    targets, solution = students.targets, students.solution
    norms = torch.stack([stage.squared_norm for stage in students.stages], -1)
    variables: Tensors = {"squared_norm": norms}
    if targets.labels is None or targets.reference is None:
        return variables
    ahead = factor.one_step_ahead(
        students.factored, solution.flatten(1), targets.effective.flatten(1)
    )
    wrong = decide(ahead.reshape(solution.shape)) != targets.labels[:, None, None]
    first = targets.copies.first & (targets.labels != NOT_LABELLED)
    thirds = [slice(last_third(n), n) for n in students.sizes]
    # NaN where all are copies, or not labelled
    found = [wrong[third][first[third]].double().mean(0) for third in thirds]
    variables["error_prequential"] = torch.stack(found, -1)
    reference = factor.solve(students.factored, targets.reference)
    teacher = factor.solve(students.factored, targets.still_to_learn(targets.teacher).flatten(1))
    teacher = teacher.reshape(targets.teacher.shape)
    epochs = [
        imperfect_teacher.angles(teacher[:, e], solution[:, e], reference, students.sizes)
        for e in range(teacher.shape[1])
    ]
    names = (
        "teacher_reference",
        "correction_reference",
        "correction_teacher",
        "effective_reference",
    )
    return variables | {
        f"cos_{name}": torch.stack([getattr(a, name).movedim(0, -1) for a in epochs])
        for name in names
    }


def _evaluate_pool(
    students: Students,
    stage: Stage,
    unseen: Tensor,
    logits: Tensor,
    prior: Tensor,
    variance: Tensor,
) -> Tensors:
    targets = students.targets
    held_out = HeldOut(
        prior[unseen] + stage.jitter,
        targets.teacher_decision[:, unseen],
        None if targets.labels is None else targets.labels[unseen],
        None,
    )
    return evaluate(stage, logits, targets.effective[unseen], held_out, variance)
