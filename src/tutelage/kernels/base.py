"""What a student is to this project: a kernel."""

import math
from collections.abc import Callable
from dataclasses import dataclass
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
    in results; `gram(x, progress=)`, if it has one, is used for a pool against itself.
    """

    def __call__(
        self, x1: Float[Tensor, "n1 ..."], x2: Float[Tensor, "n2 ..."] | None = None
    ) -> Float[Tensor, "n1 n2"]:
        """Θ(x1, x2) of shape (n1, n2), in the dtype of x1; Θ(x1, x1) without x2."""

    def diag(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Θ(x, x) of each input, shape (n,)."""


@dataclass(frozen=True)
class Tangent:
    """A finite student where it is linearised, (3.7).

    Attributes
    ----------
    kernel : Kernel
        Θ from the gradients there.
    logits : callable
        z_0: from inputs (n, ...) to logits (n, C) there, centred over classes.
    time_per_sample : float
        How long the student will be trained for each of its samples, t/n of docs/theory.md §8: the
        sum of learning rate / (1 - momentum) over the steps, divided by the samples. Infinite:
        until it has converged.
    notes : tuple of str
        What the person who plans should know of it.
    """

    kernel: Kernel
    logits: Callable[[Tensor], Tensor]
    time_per_sample: float = math.inf
    notes: tuple[str, ...] = ()


@runtime_checkable
class FiniteStudent(Protocol):
    """A student of finite width: a kernel for every place where it is linearised."""

    @property
    def spec(self) -> str:
        """What results call it."""

    @property
    def learns_features(self) -> bool:
        """Whether its kernel is that of weights that have been trained."""

    def tuned(
        self,
        x: Tensor,
        teacher: Tensor,
        labels: Tensor | None,
        *,
        seed: int,
        progress: Progress,
    ) -> "FiniteStudent":
        """Give the student with what all its starts share settled, such as the learning rate."""

    def tangent(
        self,
        x: Tensor,
        teacher: Tensor,
        labels: Tensor | None,
        *,
        seed: int,
        progress: Progress,
    ) -> Tangent:
        """Linearise a fresh network, which has seen these samples and no others."""


def gram(
    kernel: Kernel, x: Float[Tensor, "N ..."], *, progress: Progress = silent
) -> Float[Tensor, "N N"]:
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
    own = getattr(kernel, "gram", None)
    if own is not None:
        whole: Tensor = own(x, progress=progress)
        return whole
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


def cross(
    kernel: Kernel,
    x1: Float[Tensor, "n1 ..."],
    x2: Float[Tensor, "n2 ..."],
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
    """
    own = getattr(kernel, "cross", None)
    if own is None:
        return kernel(x1, x2)
    whole: Tensor = own(x1, x2, progress=progress)
    return whole
