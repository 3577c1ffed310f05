"""The kernel of a pool, factored in each of its orderings; here in memory, in `tiled` in parts."""

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.inputs import Inputs, moved
from tutelage.devices import CPU
from tutelage.kernels import Kernel, cross, gram
from tutelage.progress import Progress
from tutelage.solve.device import OnDevice, kernel_device
from tutelage.theory.factor import Factored, factor, reordered, solve, walk
from tutelage.theory.stage import Walk


class Pool(Protocol):
    """A pool whose orderings can be factored; an ordering is one of memory's, and the last one is
    memory's own.
    """

    @property
    def prior(self) -> Float[Tensor, " N"]:
        """Θ(x, x)."""

    def ridged(
        self, ridge: float, dtype: torch.dtype, order: Tensor, number: int, *, last: bool
    ) -> Factored:
        """Factor Θ + ridge · I in an ordering; to be asked for before `factor`."""

    def factor(self, order: Tensor, number: int, *, last: bool) -> Factored:
        """Factor the kernel in an ordering; the last one may use up the kernel."""

    def predictions(
        self,
        factored: Factored,
        solution: Tensor,
        prior: Tensor,
        order: Tensor,
        sizes: list[int],
        *,
        last: bool,
    ) -> Walk:
        """Walk through the sizes with predictions of the test part, whose Θ(x, x) is `prior`."""


class DensePool:
    """With the whole kernel in memory."""

    def __init__(
        self,
        kernel: Kernel,
        x: Inputs,
        test: Inputs | None,
        dtype: torch.dtype,
        progress: Progress,
        device: torch.device = CPU,
    ) -> None:
        self._progress, self._device = progress, device
        there = kernel_device(kernel, x, device)
        left = moved(x, there)
        self._theta = gram(kernel, left, progress=progress).to(device, dtype)
        self.prior = self._theta.diagonal().cpu().clone()
        if test is not None:
            between = cross(kernel, left, moved(test, there), progress=progress)
            self._between = between.to("cpu", dtype)

    @property
    def n_test(self) -> int:
        """Samples of the test part."""
        return self._between.shape[1]

    def _seen(self, found: Factored) -> Factored:
        return found if self._device == CPU else OnDevice(found, self._device)

    def ridged(
        self, ridge: float, dtype: torch.dtype, order: Tensor, number: int, *, last: bool
    ) -> Factored:
        """See `Pool`."""
        theta = self._theta if last else reordered(self._theta, order.to(self._device))
        added = theta.to(dtype, copy=True)
        added.diagonal().add_(ridge)
        return self._seen(factor(added, overwrite=True))

    def factor(self, order: Tensor, number: int, *, last: bool) -> Factored:
        """See `Pool`."""
        theta = self._theta if last else reordered(self._theta, order.to(self._device))
        return self._seen(factor(theta, overwrite=True, progress=self._progress))

    def predictions(
        self,
        factored: Factored,
        solution: Tensor,
        prior: Tensor,
        order: Tensor,
        sizes: list[int],
        *,
        last: bool,
    ) -> Walk:
        """See `Pool`."""
        between = self._between if last else self._between[order]
        test_solution = solve(factored, between, overwrite=True)
        return walk(factored, solution, test_solution, prior, sizes)
