"""What the engine asks of a way to solve: the students of a start, ordering by ordering."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tutelage.data.part import Part
from tutelage.exceptions import NumericsError
from tutelage.grid import Grid
from tutelage.progress import Progress
from tutelage.students import Start
from tutelage.theory.copies import Copies
from tutelage.theory.stage import HeldOut, Stage, Tensors, Walk


@dataclass(frozen=True)
class Problem:
    """A pool and a test part, and what is to be looked at.

    Attributes
    ----------
    pool : Part
        The samples of the pool; of one that is read in parts its first.
    test : Part, optional
    n : int
        Samples of the whole pool.
    fill : float, optional
        The logit that stands for classes that the teacher has masked.
    grid : Grid
    dtype, device : torch.dtype, torch.device
        Of the computation.
    progress : Progress
    """

    pool: Part
    test: Part | None
    n: int
    fill: float | None
    grid: Grid
    dtype: torch.dtype
    device: torch.device
    progress: Progress

    @property
    def error_from_test(self) -> bool:
        """Whether errors come from the test part: it has labels, or nothing has."""
        return self.test is not None and (self.test.labels is not None or self.pool.labels is None)

    @property
    def test_is_complete(self) -> bool:
        """Whether the test part tells all that a pool could tell."""
        return self.error_from_test and self.test is not None and self.test.teacher is not None

    def effective(self, part: Part) -> Tensor:
        """Effective logits, (n, E, S, C)."""
        assert part.teacher is not None
        found = self.grid.effective(part.teacher, part.labels, self.fill).to(self.dtype)
        return finite(found, "effective logits")

    @cached_property
    def _test_effective(self) -> Tensor | None:
        """Solved once, for all starts."""
        return self.effective(self.test) if self.test_is_complete and self.test else None

    def held_out(self, start: Start) -> HeldOut | None:
        """The test part as a start sees it."""
        test = self.test
        if test is None:
            return None
        z_0 = None if start.logits is None else start.logits(test.x).to(self.dtype)
        prior = start.kernel.diag(test.x).to("cpu", self.dtype)
        return HeldOut(
            finite(prior, "kernel's values of the test inputs"),
            test.decisions,
            test.labels,
            self._test_effective,
            z_0,
        )

    def is_timed(self, start: Start) -> bool:
        """Whether errors are those after a training time, (8.1)."""
        return self.error_from_test and math.isfinite(start.time_per_sample)


class LeftOut(NamedTuple):
    """Each pool sample as the students of all the others see it.

    Attributes
    ----------
    told : Tensor of shape (N, E, S, C), or integer Tensor of shape (N, E, S)
        Logits, or the class that is decided for; in an ordering.
    order : integer Tensor of shape (N,)
        The ordering.
    fresh : bool Tensor of shape (N,)
        Which of them the start has not seen.
    row : dict of Tensor (E, S)
        What they tell of the whole pool's students, where the test part does not.
    """

    told: Tensor
    order: Tensor
    fresh: Tensor
    row: Tensors


class Solution(Protocol):
    """The students of one start in one ordering of the pool, at every size."""

    @property
    def stages(self) -> Sequence[Stage]:
        """The students of every size."""

    @property
    def jitter(self) -> tuple[float, float]:
        """What is added to the kernel's diagonal, and that over the diagonal's mean."""

    @property
    def redundant(self) -> int:
        """Samples that only the jitter tells from those before them."""

    @property
    def lacking(self) -> Mapping[str, Tensor]:
        """Variables that it cannot give: at which sizes, (sizes,)."""

    def alone(self) -> Tensors:
        """What it tells without held-out inputs, (E, S, sizes) each."""

    def walk(self, held_out: HeldOut) -> Walk:
        """Predictions of every size on the test part."""

    def learned(self) -> Callable[[int], Tensor] | None:
        """From n to what n samples have taught after the training time, if that is finite."""

    def unseen(self) -> list[Tensors]:
        """Of every size but the last, what pool samples tell that were not seen, (E, S) each."""

    def left_out(self) -> LeftOut | None:
        """Each sample left out, of the last ordering that a start serves."""


class Solver(Protocol):
    """A way to solve."""

    @property
    def one_start(self) -> bool:
        """Whether a start that has seen a part of the pool does for all sizes."""

    def solutions(self, number: int, start: Start) -> Iterator[tuple[int, Solution]]:
        """Give the solutions of a start, with the numbers of the orderings that they are of."""

    def copies(self) -> Copies:
        """Which samples are copies of others, in the order that the pool is stored in."""


def finite(values: Tensor, what: str) -> Tensor:
    """Give the values back, or raise a `NumericsError` that says what they are."""
    if not bool(torch.isfinite(values.sum())):
        raise NumericsError(
            f"The {what} are not all finite numbers; look at the scale of the inputs and of the"
            " teacher's logits, or use float64."
        )
    return values
