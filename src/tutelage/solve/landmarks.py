"""A kernel in D features: those of D samples, its landmarks (Nyström)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.inputs import Inputs, floating, length, moved, split
from tutelage.devices import CPU
from tutelage.kernels import Kernel
from tutelage.solve.device import kernel_device
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
    points : Inputs
        D samples.
    lower : Tensor of shape (D, D)
    device : torch.device
        Where features are computed; they come on the CPU.
    """

    kernel: Kernel
    points: Inputs
    lower: Tensor
    device: torch.device = CPU

    @classmethod
    def of(
        cls, kernel: Kernel, points: Inputs, dtype: torch.dtype, device: torch.device
    ) -> "Landmarks":
        """Factor their kernel, in float64; features come in the dtype."""
        factored = factor(kernel(floating(points, torch.float64)).double(), overwrite=True)
        lower = factored.lower.tril().to(device, dtype)
        return cls(kernel, moved(points, kernel_device(kernel, points, device)), lower, device)

    def __len__(self) -> int:
        return length(self.points)

    def __call__(self, x: Inputs) -> Float[Tensor, "n D"]:
        """Features of inputs."""
        there, found = kernel_device(self.kernel, x, self.device), []
        for part in split(x, _ROWS):
            cross = self.kernel(self.points, moved(part, there)).to(self.lower)
            solved = torch.linalg.solve_triangular(self.lower, cross, upper=False)
            found.append(solved.mT.cpu())
        return torch.cat(found)

    def prior(self, x: Inputs) -> Float[Tensor, " n"]:
        """Θ(x, x)."""
        return self.kernel.diag(x).to(self.lower.dtype)

    def left(self, x: Inputs, features: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """What they leave of Θ(x, x)."""
        return (self.prior(x) - features.square().sum(1)).clamp_min(0)
