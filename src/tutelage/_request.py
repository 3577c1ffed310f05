"""What was asked of curves, as one thing to hand on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tutelage.progress import Progress
from tutelage.solve import Scale
from tutelage.students import Student

DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Request:
    """The arguments of `tutelage.curves`, which says what they are, checked."""

    student: Student
    soft_ratio: Sequence[float]
    temperature: Sequence[float]
    t_power: int
    sizes: Sequence[int] | None
    orderings: int | None
    seed: int
    dtype: str
    device: torch.device
    standardise: bool
    progress: Progress
    scale: Scale
    features: int | None
    pool: int | None
    left_out: bool

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the computation."""
        return DTYPES[self.dtype]

    @property
    def settings(self) -> int:
        """How many there are."""
        return len(self.soft_ratio) * len(self.temperature)
