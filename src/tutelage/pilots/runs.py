"""Pilots, one after another: which is next, and what it shows."""

import math
from collections.abc import Sequence
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
from tutelage.theory.pilots import (
    Pilots,
    Places,
    expected_regret,
    gains,
    noise,
    places,
    scale,
)
from tutelage.train import DistillationLoss

_SMALLEST = 150  # samples of a pilot
# What the pool and the student's epochs are divided by.
KINDS = ((1, 1), (4, 1), (8, 1), (16, 1), (1, 4))
_OF_LAST = ((1, 1), (1, 4))  # a large network learns nothing from a few samples
_NOTHING = 1e-9  # but rounding
_SEED = 1000  # pilots and warm starts draw for themselves


@dataclass(frozen=True, order=True)
class Kind:
    """How much a pilot is trained.

    Attributes
    ----------
    n, epochs : int
        Samples and epochs.
    cost : float
        In trainings of the student on the whole pool.
    haste : float
        How often its epochs would have to be doubled to be the student's.
    """

    n: int
    epochs: int
    cost: float
    haste: float


@dataclass(frozen=True)
class Pilot:
    """A real student of the first samples of the pool at a setting, by its number.

    Attributes
    ----------
    kind : Kind
    decided : integer Tensor of shape (M,)
        On the test part.
    voted : integer Tensor of shape (N - n,)
        On the samples that it has not seen.
    attempts : int
        Trainings that it took, each after the first at a lower learning rate.
    """

    setting: int
    kind: Kind
    decided: Tensor
    voted: Tensor
    attempts: int = 1

    @property
    def n(self) -> int:
        """Samples that it has seen."""
        return self.kind.n


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
        tried: set[tuple[int, Kind]] = set()
        with self.progress("pilots", self.budget.trainings - self.spent) as advance:
            while (chosen := self._next(surface, found, tried)) is not None:
                setting, kind = chosen
                tried.add(chosen)
                pilot = self.run(surface, setting, kind)
                if pilot is None:  # nor do more samples train where some have diverged
                    tried |= {(setting, other) for other in self.kinds}
                    self.spent += kind.cost * self.student.training.attempts
                else:
                    found.append(pilot)
                    self.spent += kind.cost * pilot.attempts
                advance(kind.cost)
        return found

    def _next(
        self, surface: Surface, found: list[Pilot], tried: set[tuple[int, Kind]]
    ) -> tuple[int, Kind] | None:
        """The setting of the next pilot, and what kind it is."""
        kinds = [kind for kind in self.kinds if self.affords(kind)]
        settings = range(len(surface.shares))
        candidates = [(s, k) for k in kinds for s in settings if (s, k) not in tried]
        if not candidates:
            return None
        chosen = np.array([s for s, _ in candidates])
        wanted = [kind for _, kind in candidates]
        known = self.known(surface, found)
        whole = surface.doubt(len(self.taught))
        at_n = places(surface.soft_ratio, surface.temperature, 1.0, whole)
        beside = self._places(surface, chosen, wanted)
        predicted = np.concatenate([surface.at(len(self.taught)), np.zeros(len(chosen))])
        mean, covariance = known.corrected(np.concatenate([at_n, beside]), predicted)
        here = slice(0, len(settings))
        if expected_regret(mean[here], covariance[here, here]) < self.budget.regret / 100:
            return None
        n = np.array([kind.n for kind in wanted])
        own = noise(mean[here][chosen], n, self.task.n_test, known.scale)
        worth = gains(mean[here], covariance, own) / [kind.cost for kind in wanted]
        best = int(worth.argmax())
        return candidates[best] if worth[best] > _NOTHING else None

    @property
    def kinds(self) -> list[Kind]:
        """What pilots there may be."""
        divided = KINDS if self.student.last is None else _OF_LAST
        return kinds_of(len(self.taught), self.student.own_training.epochs, divided)

    def affords(self, kind: Kind) -> bool:
        """Whether there is room for such a pilot."""
        return self.spent + kind.cost <= self.budget.trainings + 1e-9

    def known(self, surface: Surface, found: list[Pilot], name: str = "error") -> Pilots:
        """What they have shown, and what was predicted of them."""
        truth = self.truth(name)
        s, kinds = np.array([p.setting for p in found], int), [p.kind for p in found]
        shown = np.array([(p.decided.numpy() != truth).mean() for p in found])
        predicted = np.array([surface.at(p.n, p.kind.haste)[p.setting] for p in found])
        here = scale(float(surface.at(len(self.taught)).mean()))
        own = noise(shown, np.array([kind.n for kind in kinds], int), self.task.n_test, here)
        return Pilots(self._places(surface, s, kinds), shown, predicted, own, here)

    def _places(self, surface: Surface, s: np.ndarray, kinds: list[Kind]) -> Places:
        """Of pilots of these kinds at settings, by their numbers."""
        n, haste = (np.array([getattr(k, key) for k in kinds], float) for key in ("n", "haste"))
        doubt = np.array([surface.doubt(k.n) for k in kinds], float)
        share = n / len(self.taught)
        return places(surface.soft_ratio[s], surface.temperature[s], share, doubt, haste)

    def truth(self, name: str) -> np.ndarray:
        """What decisions on the test part are compared with."""
        if name == "error":
            assert self.task.y_test is not None
            return self.task.y_test
        taught = self.task.teacher_decisions("test")
        assert taught is not None
        return np.asarray(taught[self.epoch])

    def run(self, surface: Surface, s: int, kind: Kind) -> Pilot | None:
        """Train one; None if it diverges."""
        rho, t = float(surface.soft_ratio[s]), float(surface.temperature[s])
        n = kind.n
        own, others = self.taught.rows(slice(0, n)), self.taught.rows(slice(n, None))
        loss = DistillationLoss(rho, t, self.t_power)
        named = f"A pilot of {n:,} samples at a soft ratio of {rho:g} and a temperature of {t:g}"
        try:
            network, done = self.student.trained(
                own, loss, seed=_SEED + 100 * self.seed, epochs=kind.epochs
            )
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
        return Pilot(s, kind, decisions(network, self.test), voted, attempts)


def kinds_of(n: int, epochs: int, divided: Sequence[tuple[int, int]] = KINDS) -> list[Kind]:
    """Give the pilots that there may be of a student of n samples, from what its samples and epochs
    may be divided by.
    """
    least, found = min(_SMALLEST, n // 4), []
    for of_samples, of_epochs in divided:
        some, brief = n // of_samples, math.ceil(epochs / of_epochs)
        if some >= least and (of_epochs == 1 or brief < epochs):
            share = brief / epochs
            found.append(Kind(some, brief, some / n * share, math.log2(1 / share)))
    return found
