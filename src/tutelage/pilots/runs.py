"""Pilots, one after another: which is next, and what it shows."""

import math
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from tutelage.data.inputs import Inputs
from tutelage.data.part import Part
from tutelage.data.task import Task
from tutelage.exceptions import StudentError
from tutelage.pilots.budget import Budget
from tutelage.pilots.surface import Surface
from tutelage.progress import Progress
from tutelage.students import TorchStudent
from tutelage.students.network import decisions
from tutelage.theory.pilots import Pilots, expected_regret, gains, noise, places, scale
from tutelage.train import DistillationLoss

_SMALLEST, _SHARES = 150, (1, 4, 8, 16)  # samples of a pilot; what the pool is divided by
_NOTHING = 1e-9  # but rounding
_SEED = 1000  # pilots and warm starts draw for themselves


@dataclass(frozen=True)
class Pilot:
    """A real student of the first n samples at a setting, by its number.

    Attributes
    ----------
    decided : integer Tensor of shape (M,)
        On the test part.
    voted : integer Tensor of shape (N - n,)
        On the samples that it has not seen.
    attempts : int
        Trainings that it took, each after the first at a lower learning rate.
    """

    setting: int
    n: int
    decided: Tensor
    voted: Tensor
    attempts: int = 1


@dataclass
class Runs:
    """Pilots, one after another, each where most is expected of it for its cost.

    Attributes
    ----------
    spent : float
        In trainings of the student.
    lost : list of str
        What is to be said of pilots that diverged.
    """

    task: Task
    student: TorchStudent
    epoch: int
    taught: Part
    test: Inputs
    t_power: int
    seed: int
    budget: Budget
    spent: float
    progress: Progress
    lost: list[str] = field(default_factory=list)

    def pilots(self, surface: Surface) -> list[Pilot]:
        """Train until the budget is spent, or too little is expected to be gained."""
        found: list[Pilot] = []
        tried: set[tuple[int, int]] = set()
        with self.progress("pilots", self.budget.trainings - self.spent) as advance:
            while (chosen := self._next(surface, found, tried)) is not None:
                (setting, n), share = chosen, chosen[1] / len(self.taught)
                tried.add(chosen)
                pilot = self.run(surface, setting, n)
                if pilot is None:  # nor do more samples train where some have diverged
                    tried |= {(setting, m) for m in self.sizes}
                    self.spent += share * self.student.training.attempts
                else:
                    found.append(pilot)
                    self.spent += share * pilot.attempts
                advance(share)
        return found

    def _next(
        self, surface: Surface, found: list[Pilot], tried: set[tuple[int, int]]
    ) -> tuple[int, int] | None:
        """The setting and size of the next pilot."""
        sizes = [n for n in self.sizes if self.affords(n)]
        settings = len(surface.shares)
        candidates = [(s, n) for n in sizes for s in range(settings) if (s, n) not in tried]
        if not candidates:
            return None
        chosen, n = np.array(candidates).T
        known = self.known(surface, found)
        whole = surface.doubt(len(self.taught))
        at_n = places(surface.soft_ratio, surface.temperature, 1.0, whole)
        share = n / len(self.taught)
        doubt = np.array([surface.doubt(m) for m in n])
        beside = places(surface.soft_ratio[chosen], surface.temperature[chosen], share, doubt)
        predicted = np.concatenate([surface.at(len(self.taught)), np.zeros(len(chosen))])
        mean, covariance = known.corrected(np.concatenate([at_n, beside]), predicted)
        here = slice(0, settings)
        if expected_regret(mean[here], covariance[here, here]) < self.budget.regret / 100:
            return None
        own = noise(mean[here][chosen], n, self.task.n_test, known.scale)
        worth = gains(mean[here], covariance, own) / share
        best = int(worth.argmax())
        return candidates[best] if worth[best] > _NOTHING else None

    @property
    def sizes(self) -> list[int]:
        """Samples that pilots may have. A large network learns nothing from a few."""
        found = sizes_of(len(self.taught))
        return found if self.student.last is None else found[:2]

    def affords(self, n: int) -> bool:
        """Whether there is room for a pilot of so many samples."""
        return self.spent + n / len(self.taught) <= self.budget.trainings + 1e-9

    def known(self, surface: Surface, found: list[Pilot], name: str = "error") -> Pilots:
        """What they have shown, and what was predicted of them."""
        truth = self.truth(name)
        s, n = (np.array([getattr(p, key) for p in found], int) for key in ("setting", "n"))
        shown = np.array([(p.decided.numpy() != truth).mean() for p in found])
        predicted = np.array([surface.at(p.n)[p.setting] for p in found])
        doubt = np.array([surface.doubt(m) for m in n], float)
        share = n / len(self.taught)
        at = places(surface.soft_ratio[s], surface.temperature[s], share, doubt)
        here = scale(float(surface.at(len(self.taught)).mean()))
        own = noise(shown, n, self.task.n_test, here)
        return Pilots(at, shown, predicted, own, here)

    def truth(self, name: str) -> np.ndarray:
        """What decisions on the test part are compared with."""
        if name == "error":
            assert self.task.y_test is not None
            return self.task.y_test
        taught = self.task.teacher_decisions("test")
        assert taught is not None
        return np.asarray(taught[self.epoch])

    def run(self, surface: Surface, s: int, n: int) -> Pilot | None:
        """Train one; None if it diverges."""
        rho, t = float(surface.soft_ratio[s]), float(surface.temperature[s])
        own, others = self.taught.rows(slice(0, n)), self.taught.rows(slice(n, None))
        loss = DistillationLoss(rho, t, self.t_power)
        named = f"A pilot of {n:,} samples at a soft ratio of {rho:g} and a temperature of {t:g}"
        try:
            network, done = self.student.trained(own, loss, seed=_SEED + 100 * self.seed)
        except StudentError as error:
            self.lost.append(f"{named} came to nothing: {error}")
            return None
        rate = self.student.training.learning_rate
        attempts = 1 if rate is None else 1 + round(math.log(rate / done.learning_rate, 3))
        if attempts > 1:
            self.lost.append(
                f"{named} diverged at a learning rate of {rate:.2g}, and was trained at"
                f" {done.learning_rate:.2g}."
            )
        voted = decisions(network, others.x)
        return Pilot(s, n, decisions(network, self.test), voted, attempts)


def sizes_of(n: int) -> list[int]:
    """Samples that pilots may have."""
    least = min(_SMALLEST, n // 4)
    return [n // share for share in _SHARES if n // share >= least]
