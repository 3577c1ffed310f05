"""The root of (2.2): C logits, solved in log space, one scalar unknown per sample."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_OUTER, _INNER = 100, 60


def softmax_root(logits: Tensor, labels: Tensor, rho: float, t: float, t_power: int) -> tuple[Tensor, Tensor]:
    """Solve (2.2) for every sample; return the centred roots (n, C) and whether each converged."""
    if t == 1.0:
        return _closed_form(logits, labels, rho), torch.ones_like(labels, dtype=torch.bool)
    problem = _Problem.pose(logits, labels, rho, t, t_power)
    log_p, converged = problem.solve()
    z = t * log_p
    return z - z.mean(1, keepdim=True), converged


def _closed_form(logits: Tensor, labels: Tensor, rho: float) -> Tensor:
    """T = 1: softmax(z) = ρ softmax(z_t) + (1 - ρ) e_y."""
    log_mix = math.log(rho) + torch.log_softmax(logits, dim=1)
    label = labels[:, None]
    at_label = torch.logaddexp(log_mix.gather(1, label), log_mix.new_full((), math.log1p(-rho)))
    log_mix.scatter_(1, label, at_label)
    return log_mix - log_mix.mean(1, keepdim=True)


@dataclass(frozen=True)
class _Problem:
    """(2.2) with ℓ = ln softmax(z/T) as the unknown and b = logsumexp(T ℓ) as the only coupling.

    With A = ρ T^(a-1), B = 1 - ρ and q = softmax(z_t / T), row c of (2.2) reads

        ln(A exp(ℓ_c) + B exp(T ℓ_c - b)) = m_c,   m_c = ln(A q_c + B [c = y]),

    increasing and convex in ℓ_c with slopes between 1 and T, so that Newton's method finds ℓ(b)
    for any b and any saturation. Then b is the root of the increasing F(b) = logsumexp(ℓ(b)), or,
    as A (e^F - 1) + B (e^H - 1) = 0, of the decreasing H(b) = logsumexp(T ℓ(b)) - b. Whichever
    carries the larger weight keeps its digits.
    """

    m: Tensor  # (n, C)
    log_a: float
    log_b: float
    t: float

    @classmethod
    def pose(cls, logits: Tensor, labels: Tensor, rho: float, t: float, t_power: int) -> "_Problem":
        log_a = math.log(rho) + (t_power - 1) * math.log(t)
        log_b = math.log1p(-rho)
        m = log_a + torch.log_softmax(logits / t, dim=1)
        label = labels[:, None]
        m.scatter_(1, label, torch.logaddexp(m.gather(1, label), m.new_full((), log_b)))
        return cls(m, log_a, log_b, t)

    def solve(self) -> tuple[Tensor, Tensor]:
        spread = math.log(self.m.shape[1])
        low = self.m.new_full((len(self.m), 1), -self.t * spread - 1e-9)
        high = self.m.new_full((len(self.m), 1), spread + 1e-9)
        b = torch.zeros_like(low)
        log_p = torch.minimum(self.m - self.log_a, (self.m - self.log_b) / self.t)
        for _ in range(_OUTER):
            log_p, weight, settled = self._rows(log_p, b)
            closure, slope, change = self._closure(log_p, weight, b)
            low, high = torch.where(closure < 0, b, low), torch.where(closure < 0, high, b)
            step = -closure / slope
            converged = settled & ((closure.abs() <= 1e-14) | (step.abs() <= 1e-14 * (1 + b.abs())))
            converged |= settled & ((high - low) <= 1e-15 * (1 + b.abs()))
            if bool(converged.all()):
                break
            proposal = b + step
            inside = (proposal > low) & (proposal < high)
            new = torch.where(converged, b, torch.where(inside, proposal, 0.5 * (low + high)))
            log_p = log_p + change * (new - b)
            b = new
        return log_p, converged[:, 0]

    def _rows(self, log_p: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Newton's method for every ℓ_c at the given b; also the share of the label's term in each row."""
        for _ in range(_INNER):
            soft, hard = log_p + self.log_a, self.t * log_p + (self.log_b - b)
            weight = torch.sigmoid(hard - soft)
            step = (torch.logaddexp(soft, hard) - self.m) / (1 + (self.t - 1) * weight)
            log_p = log_p - step
            settled = step.abs() <= 1e-8 * (1 + log_p.abs())  # squared by the step just taken
            if bool(settled.all()):
                break
        return log_p, weight, settled.all(1, keepdim=True)

    def _closure(self, log_p: Tensor, weight: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """An increasing function of b whose root closes the system, its slope, and dℓ/db."""
        change = weight / (1 + (self.t - 1) * weight)
        if self.log_b >= self.log_a:
            total = torch.logsumexp(log_p, 1, keepdim=True)
            slope = ((log_p - total).exp() * change).sum(1, keepdim=True)
            return total, slope, change
        scaled = self.t * log_p
        total = torch.logsumexp(scaled, 1, keepdim=True)
        kept = (1 - weight) / (1 + (self.t - 1) * weight)  # 1 - T dℓ/db
        slope = ((scaled - total).exp() * kept).sum(1, keepdim=True)
        return b - total, slope, change
