"""Samples that are copies of one another: left out together, and counted once (docs/theory.md
§3).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.theory.factor import Factored, solve

_NEAR = 1e-3  # squared distance of two samples' features, over their squared lengths
_APART = 100.0  # by how much farther than its copies the nearest other sample has to be
_ROUNDING = 1e-6  # squared distances that are not told from zero
_MOST = 256  # near copies of one sample that are looked for
_COLUMNS = 512  # groups that are solved for at once

Rows = Callable[[Tensor], Tensor]
"""Θ(some samples of the pool, the pool), by their positions."""


@dataclass(frozen=True)
class Copies:
    """The groups of a pool in an ordering.

    A sample whose copy a student has seen says nothing of samples that it has not seen. So copies
    are left out together, none is predicted from another, and of each group only the first sample
    counts.

    Attributes
    ----------
    group : integer Tensor of shape (N,)
        A number for each group; samples without a copy have one of their own.
    """

    group: Int[Tensor, " N"]

    @classmethod
    def none(cls, n: int) -> "Copies":
        """Of samples that are all different."""
        return cls(torch.arange(n))

    @classmethod
    def found(
        cls, exact: Int[Tensor, " N"], factored: Factored, prior: Float[Tensor, " N"], rows: Rows
    ) -> "Copies":
        """Add to exact copies those whose features are nearly the same.

        Nearly: much nearer than any sample beside them, which keeps apart what merely lies dense.
        Only a sample that those before it nearly span can be such a copy, as σ_{i-1}(x_i) is at
        most the distance to any of them.

        Parameters
        ----------
        exact : integer Tensor of shape (N,)
            Groups of equal inputs.
        factored : Factored
            Of the pool in the same ordering.
        prior : Tensor of shape (N,)
            Θ(x, x).
        rows : callable
            Gives the kernel of some samples with the whole pool.
        """
        origin = cls(exact).origin.clone()
        spanned = factored.diagonal.square() - factored.jitter <= _NEAR * prior
        candidates = (spanned & (origin == torch.arange(len(origin)))).nonzero()[:, 0]
        for part in _parts(candidates):
            lengths = 0.5 * (prior[part, None] + prior)
            apart = (1 - rows(part) / lengths).mul_(2).clamp_min_(_ROUNDING)
            nearest, where = apart.topk(
                min(len(prior), _MOST + 2), largest=False
            )  # the sample itself is the first
            alone = (nearest[:, 1:] >= _APART * nearest[:, :-1]) & (nearest[:, :-1] <= _NEAR)
            for row, gaps in zip(where, alone, strict=True):
                if bool(gaps.any()):
                    group = torch.unique(origin[row[: 1 + int(gaps.nonzero()[-1])]])
                    origin[torch.isin(origin, group)] = group.min()
        return cls(origin)

    def reordered(self, order: Int[Tensor, " N"]) -> "Copies":
        """The same groups in another ordering."""
        return Copies(self.group[order])

    @property
    def origin(self) -> Int[Tensor, " N"]:
        """The position of the first sample of each one's group."""
        n, numbers = len(self.group), torch.unique(self.group, return_inverse=True)[1]
        return torch.full((n,), n).scatter_reduce(0, numbers, torch.arange(n), "amin")[numbers]

    @property
    def first(self) -> Tensor:
        """Which samples no copy comes before: bool (N,)."""
        return self.origin == torch.arange(len(self.group))

    def left_out(
        self,
        factored: Factored,
        coefficients: Float[Tensor, "N columns"],
        inverse_diagonal: Float[Tensor, " N"],
        targets: Float[Tensor, "N columns"],
    ) -> tuple[Float[Tensor, "N columns"], Float[Tensor, " N"], Float[Tensor, "N columns"]]:
        """Give what (3.6) takes for samples that are left out with all of their copies, (3.6a).

        With e_G the indicator of a group: Σ_G [Θ⁻¹Z]_i, e_Gᵀ Θ⁻¹ e_G, and the group's mean target,
        each at every one of its samples. Samples without a copy keep their own.
        """
        origin = self.origin
        copied = (torch.bincount(origin, minlength=len(origin))[origin] > 1).nonzero()[:, 0]
        if not len(copied):
            return coefficients, inverse_diagonal, targets
        groups, member = torch.unique(origin[copied], return_inverse=True)
        sizes = torch.bincount(member).to(targets)[:, None]
        summed, mean = (
            v.new_zeros(len(groups), v.shape[1]).index_add_(0, member, v[copied])
            for v in (coefficients, targets)
        )
        within = []
        for part in _parts(torch.arange(len(groups))):
            indicators = targets.new_zeros(len(origin), len(part))
            chosen = (member >= part[0]) & (member <= part[-1])
            indicators[copied[chosen], member[chosen] - part[0]] = 1
            within.append(solve(factored, indicators, overwrite=True).square_().sum(0))
        coefficients, inverse_diagonal, targets = (
            coefficients.clone(),
            inverse_diagonal.clone(),
            targets.clone(),
        )
        coefficients[copied], targets[copied] = summed[member], (mean / sizes)[member]
        inverse_diagonal[copied] = torch.cat(within)[member]
        return coefficients, inverse_diagonal, targets


def _parts(positions: Tensor) -> list[Tensor]:
    return [positions[start : start + _COLUMNS] for start in range(0, len(positions), _COLUMNS)]
