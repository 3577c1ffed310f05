"""The root of (2.2): C logits, solved in log space, one scalar unknown per sample."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_TOGETHER, _OUTER, _INNER = 16, 100, 60
_NEARLY = 1e-8  # relative step whose square is below rounding


def softmax_root(
    logits: Tensor, labels: Tensor, rho: float, t: float, t_power: int
) -> tuple[Tensor, Tensor]:
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
        """ℓ (n, C), and whether each sample converged: by Newton's method for all unknowns at once,
        or where that fails by brackets for b.
        """
        log_p, settled = self._together()
        if not bool(settled.all()):
            left = _Problem(self.m[~settled], self.log_a, self.log_b, self.t)
            log_p[~settled], settled[~settled] = left._bracketed()
        return log_p, settled

    def _together(self) -> tuple[Tensor, Tensor]:
        """Newton's method for ℓ and b at once: each step costs one look at the rows."""
        log_p, b = self._start(), self.m.new_zeros(len(self.m), 1)
        by_soft = self.log_b >= self.log_a
        settled = torch.zeros(len(self.m), dtype=torch.bool, device=self.m.device)
        for _ in range(_TOGETHER):
            lead = torch.mul(log_p, self.t - 1).sub_(
                b - (self.log_b - self.log_a)
            )  # of the label's term over the teacher's
            weight = torch.sigmoid(lead)
            slope = torch.mul(weight, self.t - 1).add_(1)
            # m less ln(exp(ℓ + ln A) + exp(...)), and ℓ's step at fixed b
            own = (
                functional.softplus(lead, threshold=40.0)
                .add_(log_p)
                .add_(self.log_a)
                .sub_(self.m)
                .neg_()
                .div_(slope)
            )
            change = weight.div_(slope)
            scaled = log_p if by_soft else torch.mul(log_p, self.t, out=slope)
            total = torch.logsumexp(scaled, 1, keepdim=True)
            share = torch.sub(scaled, total, out=lead).exp_()
            ahead = total + (1.0 if by_soft else self.t) * torch.linalg.vecdot(share, own)[:, None]
            moved = torch.linalg.vecdot(share, change)[:, None]
            step = -ahead / moved if by_soft else (ahead - b) / (1 - self.t * moved)
            whole = own.addcmul_(change, step)
            left = torch.abs(whole, out=change).sub_(log_p.abs(), alpha=_NEARLY).amax(1)
            settled = (left <= _NEARLY) & (step.abs() <= _NEARLY * (1 + b.abs()))[:, 0]
            log_p, b = log_p.add_(whole), b + step  # which squares what was left
            if bool(settled.all()):
                break
        # Far away every step is a small one: a root is log-probabilities, and a b that is one of
        # such.
        low, high = self._brackets()
        inside = (b >= low) & (b <= high) & (log_p.amax(1, keepdim=True) <= _NEARLY)
        return log_p, settled & inside[:, 0]

    def _brackets(self) -> tuple[Tensor, Tensor]:
        """Between which b lies, (n, 1) each."""
        spread = math.log(self.m.shape[1])
        low = self.m.new_full((len(self.m), 1), -self.t * spread - 1e-9)
        return low, self.m.new_full((len(self.m), 1), spread + 1e-9)

    def _start(self) -> Tensor:
        return torch.minimum(self.m - self.log_a, (self.m - self.log_b) / self.t)

    def _bracketed(self) -> tuple[Tensor, Tensor]:
        """Newton's method for b within brackets, and for ℓ at each of its values."""
        low, high = self._brackets()
        b = torch.zeros_like(low)
        log_p = self._start()
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
        """Newton's method for every ℓ_c at the given b; also the share of the label's term in each
        row.
        """
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
