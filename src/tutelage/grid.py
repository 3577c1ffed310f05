"""The settings and sizes of a plan, checked; and the effective logits at all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tutelage.exceptions import SettingError
from tutelage.theory.effective_logits import check_settings, effective_logits, unmasked
from tutelage.theory.finite_time import Losses
from tutelage.theory.imperfect_teacher import reference_logits


@dataclass(frozen=True)
class Grid:
    """Soft ratios and temperatures, ascending, every one with every other, and ascending sizes that
    end at N.
    """

    soft_ratios: list[float]
    temperatures: list[float]
    t_power: int
    sizes: list[int]

    @classmethod
    def of(
        cls,
        soft_ratio: Sequence[float],
        temperature: Sequence[float],
        t_power: int,
        sizes: Sequence[int] | None,
        n_train: int,
        smallest: int = 2,
        count: int = 16,
    ) -> "Grid":
        """Check what was asked for, and choose sizes where none were."""
        ratios, temperatures = _axis("soft_ratio", soft_ratio), _axis("temperature", temperature)
        check_settings(ratios, temperatures, t_power)
        return cls(ratios, temperatures, t_power, _sizes(sizes, n_train, smallest, count))

    def effective(
        self, teacher: Tensor, labels: Tensor | None, fill: float | None = None
    ) -> Tensor:
        """Effective logits of teacher logits (n, E, C) at all settings: (n, E, S, C); of masked
        classes by `unmasked`.
        """
        n, epochs, columns = teacher.shape
        flat = teacher.movedim(0, 1).to(torch.float64).reshape(epochs * n, columns)
        tiled = None if labels is None else labels.repeat(epochs)
        ratios = torch.tensor(self.soft_ratios, dtype=torch.float64)[:, None]

        def solved(teacher: Tensor, temperatures: list[float]) -> Tensor:
            return effective_logits(
                teacher[:, 0] if columns == 1 else teacher,
                tiled,
                soft_ratio=ratios,
                temperature=torch.tensor(temperatures, dtype=torch.float64)[None],
                t_power=self.t_power,
            ).reshape(len(ratios), -1, epochs, n, columns)

        if fill is None:
            found = solved(flat, self.temperatures)
        else:
            found = torch.cat([solved(unmasked(flat, fill, t), [t]) for t in self.temperatures], 1)
        return found.flatten(0, 1).permute(2, 1, 0, 3).contiguous()

    def targets(
        self, teacher: Tensor, labels: Tensor | None, fill: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What students learn: effective logits (n, E, S, C), the teacher's logits (n, E, C), which
        are centred and without masks, and the reference direction (n, C) of the labels, §6.
        """
        effective, teacher = self.effective(teacher, labels, fill), teacher.to(torch.float64)
        if fill is not None:
            teacher = torch.stack([unmasked(z, fill, 1.0) for z in teacher.unbind(1)], 1)
        classes = teacher.shape[2]
        teacher = teacher if classes == 1 else teacher - teacher.mean(2, keepdim=True)
        return effective, teacher, None if labels is None else reference_logits(labels, classes)

    def losses(self, teacher: Tensor, labels: Tensor | None) -> Losses:
        """The loss (1.2) of samples with teacher logits (n, E, C) at all settings."""
        axes = (torch.tensor(v, dtype=torch.float64) for v in (self.soft_ratios, self.temperatures))
        settings = torch.cartesian_prod(*axes).reshape(-1, 2)
        return Losses.of(teacher, labels, settings[:, 0], settings[:, 1], self.t_power)


def _axis(name: str, values: Sequence[float]) -> list[float]:
    numbers = sorted({float(v) for v in values})
    if not numbers:
        raise SettingError(f"No {name} was given; expected at least one number.")
    return numbers


def _sizes(sizes: Sequence[int] | None, n_train: int, smallest: int, count: int) -> list[int]:
    if sizes is None:
        sizes = (
            np.geomspace(max(smallest, min(32, n_train // 4)), n_train, count)
            .round()
            .astype(int)
            .tolist()
        )
    for n in sizes:
        if not smallest <= n <= n_train:
            raise SettingError(
                f"A size of {n} was asked for; the pool has {n_train} samples, so sizes lie in"
                f" {smallest} … {n_train}."
            )
    return sorted({*(int(n) for n in sizes), n_train})
