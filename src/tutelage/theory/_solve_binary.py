"""The root of (2.1): one logit, solved in log space, where saturated sigmoids keep their digits."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

_STEPS = 200
_TINIEST = -740.0  # exp of this is the smallest number above zero


def binary_root(
    logits: Tensor, labels: Tensor, rho: float, t: float, t_power: int
) -> tuple[Tensor, Tensor]:
    """Solve (2.1) for every sample; return the roots and whether each converged.

    With the label's side counted as positive, (2.1) reads, since
    σ(s) - σ(s_t) = σ(s) σ(-s_t) (1 - exp(s_t - s)) with s = z / T,

        h(z) = ln(ρ T^(a-1) / (1-ρ)) + ln σ(s) + ln σ(-s_t) + ln(1 - exp(s_t - s)) - ln σ(-z) = 0.

    h rises from -∞ at z = z_t, so the root is z_t + exp(v) with v in a known bracket.
    """
    sign = torch.where(labels == 1, 1.0, -1.0).to(logits.dtype)
    teacher = sign * logits
    if t == 1.0:
        return sign * _closed_form(teacher, rho), torch.ones_like(labels, dtype=torch.bool)
    odds = math.log(rho) + (t_power - 1) * math.log(t) - math.log1p(-rho)
    highest = torch.maximum(torch.full_like(teacher, 0.0), teacher + t * math.log(2))
    highest = torch.maximum(highest, softplus(teacher / t) + (2 * math.log(2) - odds))
    high = (highest - teacher).log() + 1e-9
    low = (math.log(t) - odds - softplus(highest)).clamp_max(high - 1e-6).clamp_min(_TINIEST)
    v = (0.5 * (low + high)).clamp(low, high)
    converged = torch.zeros_like(labels, dtype=torch.bool)
    for _ in range(_STEPS):
        u = v.exp()
        h, slope = _residual(teacher, teacher + u, u, odds, t)
        low, high = torch.where(h < 0, v, low), torch.where(h < 0, high, v)
        step = h / (slope * u)
        proposal = v - step
        inside = (proposal > low) & (proposal < high)
        # The step just found squares its own error; or the root is too close to z_t to be told from
        # it.
        done = (step.abs() * u.clamp_min(1) <= 1e-9) | (high - low <= 4e-16 * v.abs())
        done |= high.exp() <= 1e-17 * teacher.abs()
        v = torch.where(
            converged, v, torch.where(inside, proposal, torch.where(done, v, 0.5 * (low + high)))
        )
        converged |= done
        if bool(converged.all()):
            break
    return sign * _polished(teacher, v.exp(), odds, t), converged


def _closed_form(teacher: Tensor, rho: float) -> Tensor:
    """T = 1: σ(z) = ρ σ(z_t) + 1 - ρ, written so that neither end cancels."""
    lifted = teacher + softplus(math.log1p(-rho) - math.log(rho) - logsigmoid(teacher))
    excess = (1 - 2 * rho) + 2 * rho * torch.sigmoid(teacher)
    return torch.where(teacher < 0, torch.log1p(excess / (rho * torch.sigmoid(-teacher))), lifted)


def _residual(
    teacher: Tensor, z: Tensor, u: Tensor, odds: float, t: float
) -> tuple[Tensor, Tensor]:
    s, s_t = z / t, teacher / t
    gone = u / t
    h = odds + logsigmoid(s) + logsigmoid(-s_t) + torch.log(-torch.expm1(-gone)) - logsigmoid(-z)
    slope = (torch.sigmoid(-s) + 1 / torch.expm1(gone)) / t + torch.sigmoid(z)
    return h, slope


def _polished(teacher: Tensor, u: Tensor, odds: float, t: float) -> Tensor:
    """Where z is far smaller than the way to it, u carries the rounding of z_t: finish in z
    itself.
    """
    z = teacher + u
    for _ in range(2):
        h, slope = _residual(teacher, z, (z - teacher).clamp_min(1e-300), odds, t)
        z = torch.where(z.abs() < u, z - h / slope, z)
    return z
