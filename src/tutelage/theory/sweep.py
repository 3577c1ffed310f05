"""All of the theory on one ordering of the pool, for every setting and size at once."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from tutelage.progress import Progress, silent
from tutelage.theory import data_inefficiency, factor, imperfect_teacher, transfer_risk
from tutelage.theory.copies import Copies
from tutelage.theory.factor import Factored, Walk
from tutelage.theory.finite_time import Path
from tutelage.theory.transfer_risk import decisions

Tensors = dict[str, Tensor]


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
    """

    effective: Tensor
    teacher: Tensor
    reference: Tensor | None
    teacher_decision: Tensor
    labels: Tensor | None
    copies: Copies
    start: Tensor | None = None

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
        )

    def still_to_learn(self, logits: Tensor) -> Tensor:
        """Logits (N, ..., C) less those of the start, (3.7)."""
        return logits if self.start is None else logits - _spread(self.start, logits.ndim)


@dataclass(frozen=True)
class HeldOut:
    """Inputs outside the pool, and what is known of them.

    Attributes
    ----------
    prior : Tensor of shape (M,)
        Θ(x, x).
    teacher_decision : integer Tensor of shape (E, M), optional
    labels : integer Tensor of shape (M,), optional
    effective : Tensor of shape (M, E, S, C), optional
    start : Tensor of shape (M, C), optional
        z_0, see `Targets`.
    """

    prior: Tensor
    teacher_decision: Tensor | None
    labels: Tensor | None
    effective: Tensor | None
    start: Tensor | None = None


@dataclass(frozen=True)
class Students:
    """Every student of one ordering: all epochs, settings, classes and sizes.

    Attributes
    ----------
    factored : Factored
        Of the pool in the ordering.
    targets : Targets
        In the ordering.
    sizes : list of int
        Ascending, ending at N.
    solution : Tensor of shape (N, E, S, C)
        U = L⁻¹ Z.
    squared_norm : Tensor of shape (sizes, E, S)
        ‖Δŵ_n‖², summed over classes.
    scale : Tensor of shape (sizes, E, S, C)
        s², see `transfer_risk.prequential_scale`.
    residual_gram : Tensor of shape (sizes, E, S, C, C), or (sizes, E, S, C, 1)
        Gram matrices of w⊥ over classes; of many classes their diagonals.
    """

    factored: Factored
    targets: Targets
    sizes: list[int]
    solution: Tensor
    squared_norm: Tensor
    scale: Tensor
    residual_gram: Tensor

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
        return cls(
            factored,
            targets,
            sizes,
            solution,
            squares.sum(-1),
            transfer_risk.prequential_scale(flat, sizes).reshape(shape)
            * transfer_risk.centred_share(shape[-1]),
            grams[-1] - grams,
        )


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


def decide(logits: Tensor) -> Tensor:
    """Give the class that wins over the last axis, which holds C logits or the only one."""
    one = logits.shape[-1] == 1
    return decisions(logits[..., 0] if one else logits, n_logits=logits.shape[-1])


def on_test(students: Students, walk: Walk, held_out: HeldOut) -> tuple[Tensors, Tensor]:
    """Evaluate every student on held-out inputs.

    Parameters
    ----------
    students : Students
    walk : Walk
        Predictions of U's columns on them.
    held_out : HeldOut

    Returns
    -------
    variables : dict of Tensor (E, S, sizes)
        `error`, `transfer_risk`, ...: those that the held-out part allows.
    logits : Tensor of shape (M, E, S, C)
        f̂_N of the students of the whole pool.
    """
    jitter = students.factored.jitter
    shape = (len(held_out.prior), *students.solution.shape[1:])
    start = None if held_out.start is None else _spread(held_out.start, len(shape))
    oracle = _from(start, walk.last.reshape(shape))
    rows: list[Tensors] = []
    for k, (n, mean, variance) in enumerate(walk.sizes):
        logits = _from(start, mean.reshape(shape))
        row = _evaluate(students, k, logits, oracle, held_out, variance)
        if held_out.effective is not None:
            inefficiency = data_inefficiency.fresh_sample(
                students.squared_norm[k], held_out.effective - logits, variance, jitter, n
            )
            row["data_inefficiency"], row["data_inefficiency_se"] = inefficiency
        rows.append(row)
    return stack(rows), oracle


def on_test_in_time(
    students: Students,
    test_solution: Tensor,
    held_out: HeldOut,
    path: Path,
    sizes: list[int],
    progress: Progress = silent,
) -> tuple[list[Tensors], Tensor | None]:
    """Evaluate the students after their training time (docs/theory.md §8) on held-out inputs.

    Parameters
    ----------
    students : Students
        At convergence.
    test_solution : Tensor of shape (N, M)
        V = L⁻¹ Θ(pool, held out).
    held_out : HeldOut
    path : Path
        Of the same ordering.
    sizes : list of int
        Ascending.
    progress : Progress
        Told of the samples done.

    Returns
    -------
    rows : list of dict of Tensor (E, S)
        `error` and `transfer_risk`, for each size.
    logits : Tensor of shape (M, E, S, C) or None
        Of the students of the last size, if there is one.
    """
    shape, rows, logits = (len(held_out.prior), *students.solution.shape[1:]), [], None
    start = None if held_out.start is None else _spread(held_out.start, len(shape))
    with progress("training time", sum(sizes)) as advance:
        for n in sizes:
            # Where training ends, f - z_0 is in the span of the samples, and so interpolated as
            # (3.1) interpolates, (8.2).
            on_pool = path.learned(n).flatten(1).to(test_solution.dtype)
            solution = factor.solve(students.factored.leading(n), on_pool, overwrite=True)
            learned = (test_solution[:n].mT @ solution).reshape(shape[0], shape[-1], -1)
            logits = _from(start, learned.mT.reshape(shape))
            rows.append(_risks(decide(logits.movedim(0, -2)), held_out))
            advance(n)
    return rows, logits


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
    start = None if students.targets.start is None else _spread(students.targets.start, oracle.ndim)
    first = students.targets.copies.first
    rows: list[Tensors] = []
    walk = factor.pool_predictions(
        factored, students.solution.flatten(1), prior, students.sizes[:-1]
    )
    for k, (n, mean, variance) in enumerate(walk):
        unseen = n + first[n:].nonzero()[:, 0]
        if not len(unseen):  # copies of what was seen are all that is left
            rows.append({})
            continue
        logits = _from(
            None if start is None else start[unseen], mean[unseen].reshape(-1, *oracle.shape[1:])
        )
        # A pool sample has a feature √λ of its own, which lengthens it and keeps it out of the span
        # of the others.
        row = _evaluate_pool(students, k, unseen, logits, prior, variance[unseen] + factored.jitter)
        row["data_inefficiency"], row["data_inefficiency_se"] = data_inefficiency.fresh_sample(
            students.squared_norm[k], oracle[unseen] - logits, variance[unseen], factored.jitter, n
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
    variance = 1 / left_out.inverse_diagonal[unseen]
    row = _evaluate_pool(students, -1, unseen, left_out.logits[unseen], prior, variance)
    row["data_inefficiency"], row["data_inefficiency_se"] = data_inefficiency.leave_one_out(
        students.squared_norm[-1],
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
    variables: Tensors = {"squared_norm": students.squared_norm.movedim(0, -1)}
    if targets.labels is None or targets.reference is None:
        return variables
    ahead = factor.one_step_ahead(
        students.factored, solution.flatten(1), targets.effective.flatten(1)
    )
    wrong = decide(ahead.reshape(solution.shape)) != targets.labels[:, None, None]
    first, thirds = targets.copies.first, [slice(n - max(1, n // 3), n) for n in students.sizes]
    last_third = [
        wrong[third][first[third]].double().mean(0) for third in thirds
    ]  # NaN where all are copies
    variables["error_prequential"] = torch.stack(last_third, -1)
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
    students: Students, k: int, unseen: Tensor, logits: Tensor, prior: Tensor, variance: Tensor
) -> Tensors:
    targets = students.targets
    held_out = HeldOut(
        prior[unseen] + students.factored.jitter,
        targets.teacher_decision[:, unseen],
        None if targets.labels is None else targets.labels[unseen],
        None,
    )
    return _evaluate(students, k, logits, targets.effective[unseen], held_out, variance)


def _evaluate(
    students: Students, k: int, logits: Tensor, oracle: Tensor, held_out: HeldOut, variance: Tensor
) -> Tensors:
    """Every quantity of §4 at the k-th size: (E, S) each."""
    student_logits, oracle_logits = logits.movedim(0, -2), oracle.movedim(0, -2)  # (E, S, M, C)
    decided = decide(student_logits)

    def of(at: tuple[int, ...]) -> Tensors:
        gram, scale = students.residual_gram[k][at], students.scale[k][at]
        bounded = transfer_risk.bounds(
            oracle_logits[at], student_logits[at], gram, held_out.prior, variance
        )
        return {
            "expected_transfer_risk": transfer_risk.expected_transfer_risk(
                student_logits[at], scale, variance
            ),
            "risk_bound": bounded.risk_bound,
            "power_bound": bounded.power_bound,
            "certified_fraction": bounded.certified_fraction,
        }

    settings = decided.shape[:2]
    if student_logits.shape[-1] <= transfer_risk.MANY:
        row = of(())
    else:  # each setting on its own: what many classes take stays near a core's cache
        rows = [of(at) for at in product(*map(range, settings))]
        row = {name: values.reshape(settings) for name, values in stack(rows).items()}
    return (
        _risks(decided, held_out) | {"oracle_risk": _share(decided != decide(oracle_logits))} | row
    )


def _risks(decided: Tensor, held_out: HeldOut) -> Tensors:
    """Disagreement of decisions (E, S, M) with the teacher and the labels."""
    row = {}
    if held_out.teacher_decision is not None:
        row["transfer_risk"] = _share(decided != held_out.teacher_decision[:, None])
    if held_out.labels is not None:
        row["error"] = _share(decided != held_out.labels)
    return row


def _spread(start: Tensor, axes: int) -> Tensor:
    """z_0 of shape (n, C), with axes for epochs and settings between."""
    return start.reshape(len(start), *(1,) * (axes - 2), -1)


def _from(start: Tensor | None, learned: Tensor) -> Tensor:
    return learned if start is None else start + learned


def _share(events: Tensor) -> Tensor:
    return events.double().mean(-1)


def stack(rows: list[Tensors]) -> Tensors:
    """Put the sizes of every variable along a last axis, NaN where nothing could be evaluated."""
    fullest = max(rows, key=len)
    return {
        name: torch.stack([row.get(name, torch.full_like(value, torch.nan)) for row in rows], -1)
        for name, value in fullest.items()
    }
