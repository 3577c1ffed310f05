"""Where numbers are computed: the CPU, or a GPU for kernels, features, factors and training."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.inputs import Inputs
from tutelage.devices import CPU
from tutelage.kernels import Kernel, Sequential
from tutelage.progress import Progress
from tutelage.theory.factor import Factored


def kernel_device(kernel: Kernel, x: Inputs, device: torch.device) -> torch.device:
    """Where a kernel takes its inputs: those of images are compiled for the CPU, and a network
    moves its own.
    """
    vectors = isinstance(x, Tensor) and x.ndim == 2
    return device if vectors and isinstance(kernel, Sequential) else CPU


@dataclass(frozen=True)
class OnDevice:
    """A factor that lies on a device, to those who have their tensors on the CPU."""

    inner: Factored
    device: torch.device

    def __len__(self) -> int:
        return len(self.inner)

    @property
    def jitter(self) -> float:
        """See `Factored`."""
        return self.inner.jitter

    @property
    def relative_jitter(self) -> float:
        """See `Factored`."""
        return self.inner.relative_jitter

    @property
    def diagonal(self) -> Float[Tensor, " N"]:
        """See `Factored`."""
        return self.inner.diagonal.cpu()

    @property
    def redundant(self) -> int:
        """See `Factored`."""
        return self.inner.redundant

    def leading(self, n: int) -> "OnDevice":
        """See `Factored`."""
        return OnDevice(self.inner.leading(n), self.device)

    def forward(self, rhs: Float[Tensor, "N columns"]) -> Float[Tensor, "N columns"]:
        """See `Factored`."""
        return self.inner.forward(rhs.to(self.device)).cpu()

    def backward(self, rhs: Float[Tensor, "N columns"]) -> Float[Tensor, "N columns"]:
        """See `Factored`."""
        return self.inner.backward(rhs.to(self.device)).cpu()

    def columns(self, start: int, stop: int) -> Iterator[tuple[slice, Float[Tensor, "N width"]]]:
        """See `Factored`."""
        for part, values in self.inner.columns(start, stop):
            yield part, values.cpu()

    def inverse_diagonal(self, progress: Progress) -> Float[Tensor, " N"]:
        """See `Factored`."""
        return self.inner.inverse_diagonal(progress).cpu()
