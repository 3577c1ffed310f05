"""Samples with what is known of them: a pool, a test part, a chunk of a stream."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tutelage.data.inputs import Inputs, floating, length, rows


@dataclass(frozen=True)
class Part:
    """Some samples.

    Attributes
    ----------
    x : Inputs
        Prepared: standardised, images channels-first.
    teacher : Tensor of shape (n, E, C), optional
        Logits of E teacher epochs; C = 1 for one logit.
    labels : integer Tensor of shape (n,), optional
    """

    x: Inputs
    teacher: Tensor | None
    labels: Tensor | None

    def __len__(self) -> int:
        return length(self.x)

    def rows(self, chosen: slice | Tensor) -> "Part":
        """Some of them."""
        return Part(
            rows(self.x, chosen),
            None if self.teacher is None else self.teacher[chosen],
            None if self.labels is None else self.labels[chosen],
        )

    def floating(self, dtype: torch.dtype) -> "Part":
        """The same in a dtype; token ids and labels stay what they are."""
        teacher = None if self.teacher is None else self.teacher.to(dtype)
        return Part(floating(self.x, dtype), teacher, self.labels)

    @property
    def decisions(self) -> Tensor | None:
        """The class that each epoch's teacher gives each sample, (E, n)."""
        return None if self.teacher is None else decide(self.teacher.movedim(0, 1))


AnyArray = TypeVar("AnyArray", Tensor, np.ndarray)


def decide(logits: AnyArray) -> AnyArray:
    """Give the class that wins over the last axis, which holds C logits or the only one."""
    if logits.shape[-1] == 1:
        return 1 * (logits[..., 0] > 0)
    return logits.argmax(-1)
