"""What a student is to this project: a kernel."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.progress import Progress, silent

_PANEL = 2048


@runtime_checkable
class Kernel(Protocol):
    """A student seen as its neural tangent kernel Θ, (1.1).

    Anything callable on (x1, x2=None), with a `.diag`, is a kernel; `spec`, if it has one, names it
    in results.
    """

    def __call__(
        self, x1: Float[Tensor, "n1 ..."], x2: Float[Tensor, "n2 ..."] | None = None
    ) -> Float[Tensor, "n1 n2"]:
        """Θ(x1, x2) of shape (n1, n2), in the dtype of x1; Θ(x1, x1) without x2."""

    def diag(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Θ(x, x) of each input, shape (n,)."""


def gram(kernel: Kernel, x: Float[Tensor, "N ..."], *, progress: Progress = silent) -> Float[Tensor, "N N"]:
    """Θ of a pool against itself, symmetric to the bit, a panel of rows at a time.

    Parameters
    ----------
    kernel : Kernel
    x : Tensor of shape (N, ...)
    progress : Progress
        Told of the pairs of samples that are done.

    Returns
    -------
    Tensor of shape (N, N)
    """
    n = len(x)
    result = torch.empty(n, n, dtype=x.dtype, device=x.device)
    with progress("kernel", n * n) as advance:
        for start in range(0, n, _PANEL):
            rows = slice(start, min(start + _PANEL, n))
            result[rows, rows] = kernel(x[rows])
            if start:
                result[rows, :start] = kernel(x[rows], x[:start])
                result[:start, rows] = result[rows, :start].mT
            advance((rows.stop - start) * (rows.stop + start))
    return result
