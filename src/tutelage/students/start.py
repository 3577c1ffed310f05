"""What a student is to the engine: the places where it is linearised."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from tutelage.data.inputs import Inputs
from tutelage.data.part import Part
from tutelage.exceptions import StudentError
from tutelage.kernels import Kernel, Sequential
from tutelage.progress import Progress


@dataclass(frozen=True)
class Start:
    """A student where it is linearised, (3.7).

    Attributes
    ----------
    kernel : Kernel
        Θ there.
    serves : tuple of int
        The orderings that it is for, by their numbers.
    seen : int
        How many samples of the ordering have brought it there. Errors on those are not errors of
        unseen samples.
    logits : callable, optional
        z_0: from inputs (n, ...) to logits (n, C) there, centred over classes; by default 0.
    time_per_sample : float
        How long the student will be trained for each of its samples, t/n of docs/theory.md §8: the
        sum of learning rate / (1 - momentum) over the steps, divided by the samples. Infinite:
        until it has converged.
    notes : tuple of str
        What was done to bring it there.

    Examples
    --------
    Where an infinitely wide MLP starts, for the first ordering:

    >>> from tutelage.kernels import mlp
    >>> start = Start(mlp(depth=1), serves=(0,))
    >>> start.seen, start.time_per_sample
    (0, inf)
    """

    kernel: Kernel
    serves: tuple[int, ...]
    seen: int = 0
    logits: Callable[[Inputs], Tensor] | None = None
    time_per_sample: float = math.inf
    notes: tuple[str, ...] = ()


@runtime_checkable
class Student(Protocol):
    """A student as its starts.

    Examples
    --------
    >>> from tutelage.students import as_student
    >>> closed: Student = as_student("mlp:depth=1")
    >>> network: Student = as_student("mlp:width=64,depth=1")
    >>> [(s.learns_features, s.seen(100)) for s in (closed, network)]
    [(False, 0), (True, 25)]
    """

    @property
    def spec(self) -> str:
        """What results call it."""

    @property
    def learns_features(self) -> bool:
        """Whether its kernel is that of weights that have been trained."""

    @property
    def takes_ids(self) -> bool:
        """Whether whole numbers may be token ids to it."""

    def seen(self, n: int) -> int:
        """How many of n samples bring it to where it can still predict the others."""

    def settled(self, pool: Part, *, seed: int, progress: Progress) -> "Student":
        """Give the student with what all its starts share, such as the learning rate."""

    def starts(
        self, pool: Part, orders: Sequence[Tensor], *, whole: bool, seed: int, progress: Progress
    ) -> Iterator[Start]:
        """Give the starts one by one.

        Parameters
        ----------
        pool : Part
        orders : sequence of integer Tensor of shape (N,)
            Orderings of the pool.
        whole : bool
            Whether starts that have seen the whole pool are of use, too.
        seed : int
        progress : Progress
        """


@dataclass(frozen=True)
class Given:
    """A student that stands at one start already.

    Attributes
    ----------
    only : Start

    Examples
    --------
    >>> import numpy as np, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(30, 3))
    >>> task = tu.Task(x_train=x, teacher_logits_train=x[:, 0])
    >>> start = Start(tu.kernels.mlp(depth=1), serves=(0,))
    >>> tu.curves(task, Given(start), soft_ratio=[1.0], orderings=1).attrs["student"]
    'a start'
    """

    only: Start

    spec, learns_features, takes_ids = "a start", False, True

    def seen(self, n: int) -> int:
        """What its start has seen."""
        return self.only.seen

    def settled(self, pool: Part, *, seed: int, progress: Progress) -> "Given":
        """Itself."""
        return self

    def starts(
        self, pool: Part, orders: Sequence[Tensor], *, whole: bool, seed: int, progress: Progress
    ) -> Iterator[Start]:
        """Its start."""
        yield self.only


@dataclass(frozen=True)
class ClosedForm:
    """A student whose kernel does not depend on samples: it has one start, which has seen none.

    Attributes
    ----------
    kernel : Kernel

    Examples
    --------
    >>> from tutelage.kernels import mlp
    >>> student = ClosedForm(mlp(depth=1))
    >>> student.spec
    'mlp:depth=1,activation=relu,weight_var=2,bias_var=0.1,width=inf'
    >>> student.seen(1000), student.learns_features
    (0, False)
    """

    kernel: Kernel

    learns_features, takes_ids = False, False

    @property
    def spec(self) -> str:
        """What results call it."""
        return str(getattr(self.kernel, "spec", self.kernel))

    def seen(self, n: int) -> int:
        """No sample."""
        return 0

    def settled(self, pool: Part, *, seed: int, progress: Progress) -> "ClosedForm":
        """Itself: there is nothing to settle.

        Raises
        ------
        StudentError
            If inputs have names, which only networks know.
        """
        if isinstance(pool.x, dict) and isinstance(self.kernel, Sequential):
            raise StudentError(
                f"The task has inputs by name ({', '.join(pool.x)}), and the student {self.spec} is"
                " a closed form, which takes one input. Give a network whose forward takes those"
                " names (--student package.module:factory)."
            )
        return self

    def starts(
        self, pool: Part, orders: Sequence[Tensor], *, whole: bool, seed: int, progress: Progress
    ) -> Iterator[Start]:
        """Its kernel, for all orderings."""
        yield Start(self.kernel, tuple(range(len(orders))))
