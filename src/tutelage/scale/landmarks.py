"""A kernel in D features: those of D samples, its landmarks (Nyström)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.kernels import Kernel
from tutelage.theory.factor import factor

_ROWS = 2048


@dataclass(frozen=True)
class Landmarks:
    """φ(x) = L⁻¹ k(landmarks, x), L Lᵀ = Θ(landmarks): exact between a landmark and anything, and
    never more than Θ, but for rounding.

    Williams and Seeger, *Using the Nyström method to speed up kernel machines*, NeurIPS 2000. It
    serves any student: closed forms of vectors and images, and networks of torch.

    Attributes
    ----------
    kernel : Kernel
    points : Tensor of shape (D, ...)
    lower : Tensor of shape (D, D)
    """

    kernel: Kernel
    points: Tensor
    lower: Tensor

    @classmethod
    def of(cls, kernel: Kernel, points: Float[Tensor, "D ..."]) -> "Landmarks":
        """Factor their kernel, in float64; features come in the points' own dtype."""
        factored = factor(kernel(points.double()), overwrite=True)
        return cls(kernel, points, factored.lower.tril().to(points.dtype))

    def __len__(self) -> int:
        return len(self.points)

    def __call__(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n D"]:
        """Features of inputs."""
        found = torch.empty(len(x), len(self), dtype=x.dtype)
        for start in range(0, len(x), _ROWS):
            cross = self.kernel(self.points, x[start : start + _ROWS])
            found[start : start + _ROWS] = torch.linalg.solve_triangular(
                self.lower, cross, upper=False
            ).mT
        return found

    def left(
        self, x: Float[Tensor, "n ..."], features: Float[Tensor, "n D"]
    ) -> Float[Tensor, " n"]:
        """What they leave of Θ(x, x)."""
        return (self.kernel.diag(x) - features.square().sum(1)).clamp_min(0)
