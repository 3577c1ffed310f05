"""The students of n samples, and everything that §4 and §5 say of them on inputs outside the pool.

How they were solved for, by a factor of the kernel or in features, does not matter here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.part import decide
from tutelage.progress import Progress, silent
from tutelage.theory import data_inefficiency, transfer_risk

Tensors = dict[str, Tensor]


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
class Stage:
    """The students of n samples, of E epochs, S settings and C classes.

    Attributes
    ----------
    n : int
    squared_norm : Tensor of shape (E, S)
        ‖Δŵ_n‖², summed over classes.
    scale : Tensor of shape (E, S, C)
        s² of (4.4).
    missing : Tensor of shape (E, S, C, C), or (E, S, C, 1)
        Gram matrices over classes of w⊥ = Δŵ_N - Δŵ_n; of many classes their diagonals.
    jitter : float
        λ, the squared length of a feature that each sample has for itself.
    """

    n: int
    squared_norm: Tensor
    scale: Tensor
    missing: Tensor
    jitter: float = 0.0


@dataclass(frozen=True)
class Walk:
    """What the students of every stage say of some inputs, less z_0.

    Attributes
    ----------
    last : Tensor of shape (M, columns)
        f̂_N; columns are epochs, settings and classes.
    sizes : iterable of (int, Tensor of shape (M, columns), Tensor of shape (M,))
        n, f̂_n and σ_n², stage by stage; to be gone through once.
    interpolate : callable
        From n and what is learned on the first n samples, (n, columns), to what that is on these
        inputs, (M, columns): it is in the span of the samples, and so is interpolated as (3.1)
        interpolates, (8.2).
    """

    last: Tensor
    sizes: Iterable[tuple[int, Tensor, Tensor]]
    interpolate: Callable[[int, Tensor], Tensor]


def on_test(stages: Sequence[Stage], walk: Walk, held_out: HeldOut) -> tuple[Tensors, Tensor]:
    """Evaluate every student on held-out inputs.

    Parameters
    ----------
    stages : sequence of Stage
        Of ascending sizes.
    walk : Walk
        Of the same sizes.
    held_out : HeldOut

    Returns
    -------
    variables : dict of Tensor (E, S, sizes)
        `error`, `transfer_risk`, ...: those that the held-out part allows.
    logits : Tensor of shape (M, E, S, C)
        f̂_N of the students of the whole pool.
    """
    shape = (len(held_out.prior), *stages[0].scale.shape)
    start = None if held_out.start is None else spread(held_out.start, len(shape))
    oracle = from_start(start, walk.last.reshape(shape))
    rows: list[Tensors] = []
    for stage, (n, mean, variance) in zip(stages, walk.sizes, strict=True):
        logits = from_start(start, mean.reshape(shape))
        row = evaluate(stage, logits, oracle, held_out, variance)
        if held_out.effective is not None:
            row["data_inefficiency"], row["data_inefficiency_se"] = data_inefficiency.fresh_sample(
                stage.squared_norm, held_out.effective - logits, variance, stage.jitter, n
            )
        rows.append(row)
    return stack(rows), oracle


def on_test_in_time(
    shape: Sequence[int],
    walk: Walk,
    held_out: HeldOut,
    learned_by: Callable[[int], Tensor],
    sizes: list[int],
    progress: Progress = silent,
) -> tuple[list[Tensors], Tensor | None]:
    """Evaluate the students after their training time (docs/theory.md §8) on held-out inputs.

    Parameters
    ----------
    shape : (E, S, C)
    walk : Walk
        Of predictions on the held-out inputs.
    held_out : HeldOut
    learned_by : callable
        From n to what is learned on the first n samples, (n, C, E S), see `finite_time.Path`.
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
    whole, rows, logits = (len(held_out.prior), *shape), [], None
    start = None if held_out.start is None else spread(held_out.start, len(whole))
    with progress("training time", sum(sizes)) as advance:
        for n in sizes:
            learned = walk.interpolate(n, learned_by(n).flatten(1))
            learned = learned.reshape(whole[0], whole[-1], -1)
            logits = from_start(start, learned.mT.reshape(whole))
            rows.append(_risks(decide(logits.movedim(0, -2)), held_out))
            advance(n)
    return rows, logits


def evaluate(
    stage: Stage, logits: Tensor, oracle: Tensor, held_out: HeldOut, variance: Tensor
) -> Tensors:
    """Give every quantity of §4, (E, S) each, of students with these logits (M, E, S, C) and σ²."""
    student_logits, oracle_logits = logits.movedim(0, -2), oracle.movedim(0, -2)  # (E, S, M, C)
    decided = decide(student_logits)

    def of(at: tuple[int, ...]) -> Tensors:
        gram, scale = stage.missing[at], stage.scale[at]
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
        known = held_out.labels != NOT_LABELLED
        row["error"] = _share((decided != held_out.labels)[..., known])
    return row


def spread(start: Tensor, axes: int) -> Tensor:
    """z_0 of shape (n, C), with axes for epochs and settings between."""
    return start.reshape(len(start), *(1,) * (axes - 2), -1)


def from_start(start: Tensor | None, learned: Tensor) -> Tensor:
    """What is learned on top of z_0, which is 0 without it."""
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
