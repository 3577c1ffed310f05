"""How pilots are trained, and what they cost."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_FOLDS, _HASTE = 4, 3  # of the pool each pilot leaves one out; what epochs are divided by


@dataclass(frozen=True, order=True)
class Kind:
    """How much a pilot is trained.

    Attributes
    ----------
    n, epochs : int
        Samples and epochs.
    cost : float
        In trainings of the student on the whole pool.
    halvings : float
        How often its epochs would have to be doubled to be the student's.
    """

    n: int
    epochs: int
    cost: float
    halvings: float


def kinds_of(n: int, epochs: int, tested: int) -> list[Kind]:
    """Give the pilots that there may be of a student of n samples: the whole training, or that of
    all but a fold of the pool for a third of the epochs. Where there are too few epochs for that,
    it is a quarter of the pool for all of them.

    A pilot's cost is that of its training, and of its decisions on the test part, twice, and on
    what it has left out, each a third of a sample's step.
    """
    brief, fold = round(epochs / _HASTE), n // _FOLDS

    def kind(some: int, brief: int) -> Kind:
        decided = (2 * tested + n - some) / 3
        cost = (some * brief + decided) / (n * epochs)
        return Kind(some, brief, cost, math.log2(epochs / brief))

    hasty = kind(n - fold, brief) if 0 < brief < epochs else kind(fold, epochs)
    return [kind(n, epochs), hasty]


def left_out(n: int, kind: Kind, number: int) -> Tensor:
    """Give the samples that a pilot leaves out: the last ones, at which theory has not looked, are
    the first pilot's; the next pilot leaves out those before them.
    """
    last = n - number * (n - kind.n)
    return torch.arange(last - (n - kind.n), last) % n
