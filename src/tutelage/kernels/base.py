"""What a student is to this project: a kernel."""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.inputs import Inputs, length, rows
from tutelage.progress import Progress, silent

_PANEL = 2048


@runtime_checkable
class Kernel(Protocol):
    """A student seen as its neural tangent kernel Θ, (1.1).

    Anything callable on (x1, x2=None), with a `.diag`, is a kernel; `spec`, if it has one, names it
    in results; `gram(x, progress=)`, if it has one, is used for a pool against itself.

    Examples
    --------
    A kernel of your own:

    >>> class Dot:
    ...     spec = "dot"
    ...     def __call__(self, x1, x2=None):
    ...         return x1 @ (x1 if x2 is None else x2).mT
    ...     def diag(self, x):
    ...         return x.square().sum(1)
    >>> gram(Dot(), torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    tensor([[1., 1.],
            [1., 5.]])
    """

    def __call__(self, x1: Any, x2: Any = None) -> Float[Tensor, "n1 n2"]:
        """Θ(x1, x2) of shape (n1, n2), in the dtype of x1; Θ(x1, x1) without x2."""

    def diag(self, x: Any) -> Float[Tensor, " n"]:
        """Θ(x, x) of each input, shape (n,)."""


def gram(kernel: Kernel, x: Inputs, *, progress: Progress = silent) -> Float[Tensor, "N N"]:
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

    Examples
    --------
    >>> import torch
    >>> from tutelage.kernels import mlp
    >>> theta = gram(mlp(depth=1), torch.eye(4))
    >>> theta.shape, torch.equal(theta, theta.mT)
    (torch.Size([4, 4]), True)
    """
    own = getattr(kernel, "gram", None)
    if own is not None:
        whole: Tensor = own(x, progress=progress)
        return whole
    n, result = length(x), torch.empty(0)
    with progress("kernel", n * n) as advance:
        for start in range(0, n, _PANEL):
            panel = slice(start, min(start + _PANEL, n))
            own_block = kernel(rows(x, panel))
            if start == 0:
                result = own_block.new_empty(n, n)
            result[panel, panel] = own_block
            if start:
                result[panel, :start] = kernel(rows(x, panel), rows(x, slice(0, start)))
                result[:start, panel] = result[panel, :start].mT
            advance((panel.stop - start) * (panel.stop + start))
    return result


def cross(
    kernel: Kernel,
    x1: Inputs,
    x2: Inputs,
    *,
    progress: Progress = silent,
) -> Float[Tensor, "n1 n2"]:
    """Θ between two sets of inputs, told of as it goes if the kernel can tell.

    Parameters
    ----------
    kernel : Kernel
    x1, x2 : Tensor of shape (n1, ...) and (n2, ...)
    progress : Progress
        Told of the pairs of samples that are done.

    Returns
    -------
    Tensor of shape (n1, n2)

    Examples
    --------
    >>> import torch
    >>> from tutelage.kernels import mlp
    >>> kernel, x = mlp(depth=1), torch.eye(4)
    >>> torch.allclose(cross(kernel, x, x[:2]), kernel(x)[:, :2])
    True
    """
    own = getattr(kernel, "cross", None)
    if own is None:
        return kernel(x1, x2)
    whole: Tensor = own(x1, x2, progress=progress)
    return whole
