"""What theory predicts of settings, carried on to sizes that it has not looked at."""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from tutelage.data.task import Task, Taught
from tutelage.theory.pilots import hasty, memorised, scale

_CARRIED = 0.5  # of what more samples are taken to bring
_FEWER = 0.02  # of an error, for each halving from the samples that theory looked at
_OTHERS = 0.05  # of an error, for each doubling from a quarter of the samples that theory looked at
_FALL, _FALL_OF_LAST = 0.03, 0.09  # of errors in the second half of a pilot, before one is there
_OF_LAST = 2.0  # times what they differ by where theory's kernel is of all layers
_DECAY = 0.8  # of what a doubling of samples brings, from one doubling to the next


@dataclass(frozen=True)
class Surface:
    """What theory predicts of settings, at any size.

    Attributes
    ----------
    soft_ratio, temperature : array of shape (S,)
    shares : array of shape (S,)
        At the largest size that theory looked at: errors, or transfer risks.
    used : int
        That size.
    gain : float
        What the last doubling up to it brought, over all settings: what it brings to each is too
        uncertain to be carried on.
    wrong : float
        Share of the pool's labels that seem to be wrong; of transfer risks, that the teacher
        contradicts.
    last : bool
        Whether theory's kernel is that of the network's last layers.
    """

    soft_ratio: np.ndarray
    temperature: np.ndarray
    shares: np.ndarray
    used: int
    gain: float
    wrong: float = 0.0
    last: bool = False

    @classmethod
    def of(
        cls, data: xr.Dataset, task: Task, epoch: int, name: str = "error", *, last: bool = False
    ) -> "Surface":
        """Of one teacher's epoch, from curves of two sizes."""
        one = data.isel(epoch=epoch) if "epoch" in data.dims else data
        ratio, heat = np.meshgrid(one.soft_ratio.values, one.temperature.values, indexing="ij")
        shares = one[name].mean("ordering").values.reshape(ratio.size, -1)
        gain = float((shares[:, 0] - shares[:, 1]).mean())
        used = int(one.n[-1])
        wrong = (wrong_labels if name == "error" else contradicted)(task, epoch)
        return cls(ratio.ravel(), heat.ravel(), shares[:, 1], used, gain, wrong, last)

    def at(self, n: int, halvings: float = 0.0, fall: float = 0.0) -> np.ndarray:
        """Of students of n samples, (S,); of those whose epochs were halved so often, and whose
        errors fell by so much in the second half of their training.
        """
        found = self.shares - self._carried(n) + memorised(self.soft_ratio, self.wrong, halvings)
        return np.clip(found + hasty(halvings, fall, self.scale), 0, 1)

    @property
    def fall(self) -> float:
        """What errors are taken to fall by in the second half of a pilot, before there is one:
        large networks are still far from their end then.
        """
        return _FALL_OF_LAST if self.last else _FALL

    @property
    def scale(self) -> float:
        """How much more real students differ from what is predicted than where errors are typical
        and theory's kernel is of all layers.
        """
        return (_OF_LAST if self.last else 1.0) * scale(float(self.shares.mean()))

    def doubt(self, n: int) -> float:
        """How unsure the level of students of n samples is: the standard deviation of what more
        samples than theory looked at bring, and of what other layers do. Below 0 it is that of what
        fewer samples lack: where more bring more than expected, fewer lack more.
        """
        doublings = math.log2(n / self.used)
        moved = max(0.0, 2 + doublings) if self.last else 0.0
        return _CARRIED * self._carried(n) + _FEWER * min(0.0, doublings) + _OTHERS * moved

    def _carried(self, n: int) -> float:
        """What more samples than theory looked at are taken to bring; of fewer, what they lack."""
        return self.gain * (1 - _DECAY ** math.log2(n / self.used)) / (1 - _DECAY)


def contradicted(task: Taught, epoch: int) -> float:
    """Share of the pool's labels that the teacher contradicts: what students of a low soft ratio
    learn of them, right or wrong, is what they differ from the teacher by.
    """
    accuracy = task.teacher_accuracy("train")
    return 0.0 if accuracy is None else float(1 - accuracy[epoch])


def wrong_labels(task: Taught, epoch: int) -> float:
    """Share of the pool's labels that seem to be wrong: how much more often the teacher contradicts
    them than those of the test part.
    """
    pool, test = (task.teacher_accuracy(part) for part in ("train", "test"))
    return 0.0 if pool is None or test is None else max(0.0, float(test[epoch] - pool[epoch]))
