"""Students that are trained for a finite time (docs/theory.md §8)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import EllipsisType

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.checks import NOT_LABELLED
from tutelage.exceptions import NumericsError
from tutelage.theory.factor import Solver

# h, a typical second derivative of the loss; what it is changes the speed, not the result.
CURVATURE = 0.05
# Of the gradient's norm: predicted errors are then a tenth of a point from where they settle.
_TOLERANCE = 2e-2
_LEAVING = 0.1  # share of settings that have to have converged for them to be taken out
_STEPS, _SEARCHES = 300, 6


@dataclass(frozen=True)
class Losses:
    """The loss (1.2) of n samples at each of K settings.

    Settings lie along the last axis, behind the classes: softmax over a short last axis is many
    times slower.

    Attributes
    ----------
    soft_targets : Tensor of shape (n, C, K)
        σ(z_t / T).
    labels : Tensor of shape (n, C, 1), optional
        One-hot; 0 and 1 for one logit.
    labelled : Tensor of shape (n, 1, 1), optional
        0 where a sample has no label, and its soft ratio is 1; by default all have one.
    soft_ratio, temperature : Tensor of shape (K,)
    t_power : {0, 2}
    """

    soft_targets: Tensor
    labels: Tensor | None
    soft_ratio: Tensor
    temperature: Tensor
    t_power: int
    labelled: Tensor | None = None

    @classmethod
    def of(
        cls,
        teacher: Float[Tensor, "n E C"],
        labels: Tensor | None,
        soft_ratio: Float[Tensor, " S"],
        temperature: Float[Tensor, " S"],
        t_power: int,
    ) -> "Losses":
        """Of E teachers at S settings, K = E S."""
        epochs, classes = teacher.shape[1:]
        rho, t = (v.to(teacher.dtype).repeat(epochs) for v in (soft_ratio, temperature))
        wide = teacher.mT.repeat_interleave(len(soft_ratio), 2)
        hard = labelled = None
        if labels is not None:
            known = labels.clamp(min=0)
            hard = known[:, None] if classes == 1 else torch.nn.functional.one_hot(known, classes)
            hard = hard[..., None].to(teacher.dtype)
            if bool((labels == NOT_LABELLED).any()):
                labelled = (labels != NOT_LABELLED)[:, None, None].to(teacher.dtype)
        return cls(_probabilities(wide / t), hard, rho, t, t_power, labelled)

    def reordered(self, order: Tensor) -> "Losses":
        """The same samples in another order."""
        return self._rows(order)

    def to(self, dtype: torch.dtype) -> "Losses":
        """The same in another dtype."""
        return replace(
            self,
            soft_targets=self.soft_targets.to(dtype),
            labels=None if self.labels is None else self.labels.to(dtype),
            labelled=None if self.labelled is None else self.labelled.to(dtype),
            soft_ratio=self.soft_ratio.to(dtype),
            temperature=self.temperature.to(dtype),
        )

    def first(self, n: int) -> "Losses":
        """Of the first n samples."""
        return self._rows(slice(n))

    def _rows(self, chosen: slice | Tensor) -> "Losses":
        return replace(
            self,
            soft_targets=self.soft_targets[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            labelled=None if self.labelled is None else self.labelled[chosen],
        )

    def __getitem__(self, settings: tuple[EllipsisType, Tensor]) -> "Losses":
        """Some of the settings: ``losses[..., chosen]``, as for the tensors beside it."""
        return replace(
            self,
            soft_targets=self.soft_targets[settings],
            soft_ratio=self.soft_ratio[settings],
            temperature=self.temperature[settings],
        )

    def gradient(self, logits: Tensor) -> Tensor:
        """∂ℓ/∂z of every sample, the left side of (2.1) and (2.2): (n, C, K) as the logits."""
        soft = _probabilities(logits / self.temperature).sub_(self.soft_targets)
        hard_ratio = self._hard_ratio
        soft *= (1 - hard_ratio) * self.temperature ** (self.t_power - 1)
        if self.labels is None:
            return soft
        return soft.add_((_probabilities(logits) - self.labels) * hard_ratio)

    def curvature(self, logits: Tensor, direction: Tensor) -> Tensor:
        """Σ dᵀ (∂²ℓ/∂z²) d over samples: (K,)."""
        hard_ratio = self._hard_ratio
        weight = (1 - hard_ratio) * self.temperature ** (self.t_power - 2)
        soft = _quadratic(_probabilities(logits / self.temperature), direction, weight)
        if self.labels is None:
            return soft
        return soft + _quadratic(_probabilities(logits), direction, hard_ratio)

    @property
    def _hard_ratio(self) -> Tensor:
        """1 - ρ, (K,), or of each sample, (n, 1, K)."""
        hard = 1 - self.soft_ratio
        return hard if self.labelled is None else self.labelled * hard


@dataclass(frozen=True)
class Path:
    """One ordering's students of every size, each trained as long a time for each of its samples.

    Attributes
    ----------
    ridged : callable
        From n to the solve with Θ_n + κI, κ = n / (t h), the same for every n.
    losses : Losses
        Of the N samples.
    start : Tensor of shape (N, C)
        z_0.
    time_per_sample : float
        t/n: over one sample's share of the steps, the sum of learning rate / (1 - momentum).
    """

    ridged: Solver
    losses: Losses
    start: Tensor
    time_per_sample: float

    @classmethod
    def of(
        cls,
        ridged: Callable[[float, torch.dtype], Solver],
        prior: Float[Tensor, " N"],
        losses: Losses,
        start: Float[Tensor, "N C"],
        time_per_sample: float,
    ) -> "Path":
        """Factor Θ + κI: in float32, twice as fast, where its rounding stays below the tolerance.

        `ridged` gives from κ and a dtype what solves with Θ + κI; `prior` is Θ(x, x).
        """
        kappa, single = 1 / (time_per_sample * CURVATURE), torch.finfo(torch.float32).eps
        condition = 1 + float(prior.sum()) / kappa  # at most
        dtype = torch.float32 if condition * single < _TOLERANCE else prior.dtype
        return cls(ridged(kappa, dtype), losses.to(dtype), start.to(dtype), time_per_sample)

    def learned(self, n: int) -> Float[Tensor, "n C K"]:
        """Solve (8.1) for all settings at once, on the first n samples: f - z_0 there.

        The stationary point is f = z_0 + Θ A with A = -(t/n) ∂ℓ/∂z at f, (8.2). It is found by
        conjugate gradients with a line search, preconditioned by what (8.1)'s solution would be if
        the loss were quadratic with second derivative h: one solve with Θ + κI, and no product with
        Θ, for each step.

        Raises
        ------
        NumericsError
            If it does not converge.
        """
        inverse, z_0, losses = self.ridged(n), self.start[:n, :, None], self.losses.first(n)
        kappa, time = 1 / (self.time_per_sample * CURVATURE), self.time_per_sample
        learned = self.start.new_zeros(losses.soft_targets.shape)
        active = torch.arange(
            learned.shape[-1], device=learned.device
        )  # settings that have not converged
        u = torch.zeros_like(learned)
        a, before, slope = torch.zeros_like(u), u, losses.gradient(z_0 + u)
        direction, along = torch.zeros_like(u), torch.zeros_like(u)
        power = first = _dot(u, u)
        for step in range(_STEPS):
            p = inverse(slope.flatten(1)).reshape(u.shape) / CURVATURE
            theta_p = slope / CURVATURE - kappa * p
            new_power = _dot(slope, theta_p)
            first = first if step else new_power
            beta = (
                ((new_power - _dot(before, theta_p)) / power).clamp_min(0) if step else power
            )  # Polak-Ribière+
            done = new_power <= _TOLERANCE**2 * first
            if float(done.double().mean()) >= _LEAVING or bool(done.all()):
                learned[..., active[done]] = u[..., done]
                if bool(done.all()):
                    return learned
                losses = losses[..., ~done]
                active, beta, new_power, first, a, u, slope, direction, along, p, theta_p = (
                    v[..., ~done]
                    for v in (
                        active,
                        beta,
                        new_power,
                        first,
                        a,
                        u,
                        slope,
                        direction,
                        along,
                        p,
                        theta_p,
                    )
                )
            # A line search that went too far can leave a sum that leads uphill; there the
            # directions begin afresh.
            beta = torch.where(_dot(slope, beta * along - theta_p) < 0, beta, 0.0)
            direction, along = (beta * v - w for v, w in ((direction, p), (along, theta_p)))
            power, before = new_power, slope
            length, slope = _searched(losses, z_0 + u, along, a, direction, time, slope)
            a, u = a + length * direction, u + length * along
        raise NumericsError(
            f"The students after a finite training time did not converge in {_STEPS} steps; look at"
            " the scale of the teacher's logits, or use float64."
        )


def _searched(
    losses: Losses,
    f: Tensor,
    along: Tensor,
    a: Tensor,
    direction: Tensor,
    time_per_sample: float,
    slope: Tensor,
) -> tuple[Tensor, Tensor]:
    """Minimise along a line, each setting on its own: step lengths (K,), and the slope where they
    lead.
    """
    downhill = _dot(slope, along)
    bend = losses.curvature(f, along) + _dot(direction, along) / time_per_sample
    length = torch.where(
        downhill < 0, -downhill / bend.clamp_min(torch.finfo(bend.dtype).tiny), 0.0
    )
    for _ in range(_SEARCHES):
        there = losses.gradient(f + length * along) + (a + length * direction) / time_per_sample
        left = _dot(there, along)
        over = left > -0.3 * downhill
        if not bool(over.any()):
            break
        # The slope grows along a convex function, so that the secant's zero lies before the point
        # that was too far.
        length = torch.where(over, length * downhill / (downhill - left), length)
    return length, there


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum((0, 1))


def _probabilities(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, 1)


def _quadratic(p: Tensor, d: Tensor, weight: Tensor) -> Tensor:
    """Σ over samples of dᵀ (diag p - p pᵀ) d, or of p (1 - p) d² for one logit, times weights of
    settings (K,), or of samples and settings (n, 1, K).
    """
    weighted = p * d
    if p.shape[1] == 1:
        each = ((d - weighted) * weighted).sum(1)
    else:
        each = (weighted * d).sum(1) - weighted.sum(1).square_()
    return each.sum(0) * weight if weight.ndim == 1 else (each * weight[:, 0]).sum(0)
