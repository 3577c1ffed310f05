"""Transfer risk: how often a student decides otherwise than its oracle (docs/theory.md §4).

One binary logit has predictions of shape (M,); C classes have (M, C). Leading axes of settings
are welcome everywhere: (..., M) and (..., M, C).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MANY = 64  # classes from which on a Gram matrix of all is too much for each size and setting
_NODES = 32
_CHUNK = 1 << 15  # logits integrated at once: in a core's cache, too few for torch to wake threads
_WIDE = 1 << 18  # of many classes, where other threads are worth waking


@dataclass(frozen=True)
class Bounds:
    """What the oracle's weights say for certain.

    Attributes
    ----------
    risk_bound : Tensor (...)
        Ji and Zhu's bound, (4.1).
    power_bound : Tensor (...)
        The bound with the power function in place of the norm, (4.2); never larger.
    certified_fraction : Tensor (...)
        Share of inputs on which the student's decision is the oracle's, (4.3).
    certified : Tensor of bool (..., M)
        Which inputs those are.
    """

    risk_bound: Tensor
    power_bound: Tensor
    certified_fraction: Tensor
    certified: Tensor


def bounds(
    oracle: Float[Tensor, "*#settings M C"],
    student: Float[Tensor, "*#settings M C"],
    residual_gram: Float[Tensor, "*#settings C D"],
    prior: Float[Tensor, " M"],
    variance: Float[Tensor, " M"],
) -> Bounds:
    """Bound the transfer risk of a student, and certify its decisions, (4.1) to (4.3).

    Parameters
    ----------
    oracle, student : Tensor of shape (..., M, C)
        Their logits on the same inputs; C = 1 for one logit.
    residual_gram : Tensor of shape (..., C, C), or (..., C, 1)
        Gram matrix of w⊥ = Δw_* - Δŵ_n over classes: the sum of U_ia U_ib over i > n, (3.2). Or its
        diagonal: then ‖w⊥^c‖ + ‖w⊥^k‖ stands for ‖w⊥^c - w⊥^k‖, which is never larger, so that all
        that is said still holds.
    prior, variance : Tensor of shape (M,)
        Θ(x, x) = ‖φ(x)‖² and σ_n²(x).

    Returns
    -------
    Bounds

    References
    ----------
    Ji and Zhu 2020, theorem 2, for one logit; docs/theory.md §4 for C classes and the power bound.
    """
    gap, rivals = _margins(oracle, residual_gram)
    length, power = prior.sqrt()[:, None], variance.sqrt()[:, None]
    by_norm = (gap <= rivals * length).any(-1)
    by_power = (gap <= rivals * power).any(-1)
    own_gap, own_rivals = _margins(student, residual_gram)
    certified = (own_gap > own_rivals * power).all(-1)
    return Bounds(_share(by_norm), _share(by_power), _share(certified), certified)


def oracle_angle_tail(
    oracle: Float[Tensor, " M"],
    oracle_norm: Float[Tensor, ""],
    prior: Float[Tensor, " M"],
    angles: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """Give p(β), the share of inputs whose features lie at β or more from the oracle's weights.

    Parameters
    ----------
    oracle : Tensor of shape (M,)
        Logits Δw_*ᵀφ(x).
    oracle_norm : Tensor of shape ()
        ‖Δw_*‖.
    prior : Tensor of shape (M,)
        ‖φ(x)‖².
    angles : Tensor of shape (B,)
        β in [0, π/2].

    Returns
    -------
    Tensor of shape (B,)
    """
    cosine = (oracle.abs() / (oracle_norm * prior.sqrt())).clamp(max=1)
    return _share(torch.arccos(cosine)[None] >= angles[:, None])


def prequential_scale(
    solution: Float[Tensor, "N *columns"], sizes: list[int]
) -> Float[Tensor, "sizes *columns"]:
    """Give s², the mean of U² over the last third of the first n samples: (sizes, columns)."""
    return torch.stack([solution[n - max(1, n // 3) : n].square().mean(0) for n in sizes])


def centred_share(classes: int) -> float:
    """Give what s² of centred logits is to be multiplied by, so that two columns say what one logit
    says.

    (4.4) takes classes as independent. Centred logits of independent ones have 1 - 1/C of their
    variance.
    """
    return 1.0 if classes == 1 else classes / (classes - 1)


def expected_transfer_risk(
    student: Float[Tensor, "*settings M C"],
    scale: Float[Tensor, "*settings C"],
    variance: Float[Tensor, " M"],
) -> Float[Tensor, "*settings"]:
    """Give the chance that the oracle decides otherwise, averaged over inputs, (4.4).

    Parameters
    ----------
    student : Tensor of shape (..., M, C)
        f̂_n; C = 1 for one logit.
    scale : Tensor of shape (..., C)
        s_c², see `prequential_scale`.
    variance : Tensor of shape (M,)
        σ_n²(x).

    Returns
    -------
    Tensor (...)

    Examples
    --------
    >>> import torch
    >>> expected_transfer_risk(torch.zeros(5, 1), torch.ones(1), torch.ones(5))
    tensor(0.5000)
    """
    tiny = torch.finfo(student.dtype).tiny
    spread = (scale[..., None, :] * variance[:, None]).sqrt().clamp_min(tiny**0.5)  # (..., M, C)
    if student.shape[-1] == 1:
        return torch.special.ndtr(-student.abs() / spread)[..., 0].mean(-1)
    winner = student.argmax(-1, keepdim=True)
    lead = (student.gather(-1, winner) - student) / spread
    # The winner is no rival of its own: an infinite lead is always held.
    lead = lead.scatter_(-1, winner, float("inf")).flatten(0, -2)
    width = (spread.gather(-1, winner) / spread).flatten(0, -2)
    step = max(1, _CHUNK // student.shape[-1])
    if student.shape[-1] > MANY:  # a product of many Φ needs no more digits, and is worth a thread
        lead, width, step = lead.float(), width.float(), _WIDE // student.shape[-1] + 1
    parts = [_keeps(lead[i : i + step], width[i : i + step]) for i in range(0, len(lead), step)]
    return (
        (1 - torch.cat(parts).to(student.dtype).reshape(student.shape[:-1])).clamp_(0, 1).mean(-1)
    )


def _keeps(lead: Tensor, width: Tensor) -> Tensor:
    """The integral of (4.4) for each row: ∫ φ(t) Π_k Φ(lead_k + width_k t) dt."""
    total, held = lead.new_zeros(len(lead)), torch.empty_like(lead)
    lead, width = lead / 2**0.5, width / 2**0.5
    for node, weight in _hermite():
        # Φ(x) = (1 + erf(x/√2)) / 2: its error near 0 is one of the product, too, and it is three
        # times as fast as ndtr.
        torch.erf(torch.add(lead, width, alpha=node, out=held), out=held)
        total.add_(held.add_(1).mul_(0.5).prod(-1), alpha=weight)
    return total


@cache
def _hermite() -> list[tuple[float, float]]:
    """Nodes and weights of Gauss-Hermite integration against a standard normal density."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return list(zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True))


def _from_winner(gram: Tensor, winner: Tensor) -> Tensor:
    """‖w^c - w^k‖ from each input's winner c to every class k, (..., M, C): from a Gram matrix, or
    a bound from its diagonal.
    """
    if gram.shape[-1] == 1:
        norms = gram.clamp_min(0).sqrt().mT
        return norms.expand(*winner.shape[:-1], -1).gather(-1, winner) + norms
    squares = gram.diagonal(dim1=-2, dim2=-1)
    distance = (squares[..., :, None] + squares[..., None, :] - 2 * gram).clamp_min(0).sqrt()
    classes = gram.shape[-1]
    rows = distance[..., None, :, :].expand(*winner.shape[:-1], classes, classes)
    return rows.gather(-2, winner[..., None].expand(*winner.shape, classes))[..., 0, :]


def _margins(logits: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    """Each input's margin over its rivals and the rivals' distances to its winner, (..., M, K)."""
    if logits.shape[-1] == 1:
        return logits.abs(), gram.clamp_min(0).sqrt().expand_as(logits)
    winner = logits.argmax(-1, keepdim=True)
    gap = logits.gather(-1, winner) - logits
    # The winner is no rival of its own: an infinite gap never meets a bound.
    return gap.scatter(-1, winner, float("inf")), _from_winner(gram, winner)


def _share(events: Tensor) -> Tensor:
    return events.to(torch.float64).mean(-1)
