"""Pilots, one after another: which is next, and what it shows."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tutelage.data.inputs import Inputs
from tutelage.data.part import Part
from tutelage.data.task import Task
from tutelage.exceptions import StudentError
from tutelage.pilots.budget import Budget
from tutelage.pilots.kept import Kept
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
)
from tutelage.train import DistillationLoss

_FOLDS, _HASTE = 4, 3  # of the pool each pilot leaves one out; what epochs are divided by
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
    """A real student at a setting, by its number.

    Attributes
    ----------
    kind : Kind
    others : integer Tensor of shape (m,)
        Which samples of the pool it has not seen.
    decided : integer Tensor of shape (M,)
        On the test part.
    voted : integer Tensor of shape (m,)
        On those.
    attempts : int
        Trainings that it took, each after the first at a lower learning rate.
    """

    setting: int
    kind: Kind
    others: Tensor
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
    kept : Kept
        Pilots of a run that was killed.
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
    kept: Kept = field(default_factory=Kept)
    lost: list[str] = field(default_factory=list)

    def pilots(self, surface: Surface) -> list[Pilot]:
        """Train until the budget is spent, or too little is expected to be gained."""
        found: list[Pilot] = []
        tried: set[tuple[int, Kind]] = set()
        with self.progress("pilots", self.budget.trainings - self.spent) as advance:
            while (chosen := self._next(surface, found, tried)) is not None:
                setting, kind = chosen
                tried.add(chosen)
                pilot = self.run(surface, setting, kind, len(found))
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
        return kinds_of(len(self.taught), self.student.own_training.epochs, self.task.n_test)

    def affords(self, kind: Kind) -> bool:
        """Whether there is room for such a pilot."""
        return self.spent + kind.cost <= self.budget.trainings + 1e-9

    def known(self, surface: Surface, found: list[Pilot], name: str = "error") -> Pilots:
        """What they have shown, and what was predicted of them."""
        truth = self.truth(name)
        s, kinds = np.array([p.setting for p in found], int), [p.kind for p in found]
        shown = np.array([(p.decided.numpy() != truth).mean() for p in found])
        predicted = np.array(
            [surface.at(p.kind.n, surface.haste(p.kind.haste))[p.setting] for p in found]
        )
        n = np.array([kind.n for kind in kinds], int)
        own = noise(shown, n, self.task.n_test, surface.scale)
        return Pilots(self._places(surface, s, kinds), shown, predicted, own, surface.scale)

    def _places(self, surface: Surface, s: np.ndarray, kinds: list[Kind]) -> Places:
        """Of pilots of these kinds at settings, by their numbers."""
        n = np.array([kind.n for kind in kinds], float)
        haste = np.array([surface.haste(kind.haste) for kind in kinds])
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

    def run(self, surface: Surface, s: int, kind: Kind, number: int = 0) -> Pilot | None:
        """Train one, which leaves out the fold of its number; None if it diverges."""
        rho, t = float(surface.soft_ratio[s]), float(surface.temperature[s])
        others = left_out(len(self.taught), kind, number)
        named = (
            f"A pilot of {kind.n:,} samples at a soft ratio of {rho:g} and a temperature of {t:g}"
        )
        known_as = f"pilot-{rho:g}-{t:g}-{kind.n}-{kind.epochs}-{number}-{self.epoch}"
        try:
            shown = self.kept.array(known_as, lambda: self._trained(rho, t, kind, others))
        except StudentError as error:
            self.lost.append(f"{named} came to nothing: {error}")
            return None
        attempts, tested = int(shown[0]), 1 + self.task.n_test
        if attempts > 1:
            rate = self.student.training.learning_rate
            assert rate is not None
            self.lost.append(
                f"{named} diverged at a learning rate of {rate:.2g}, and was trained at"
                f" {rate / 3 ** (attempts - 1):.2g}."
            )
        decided, voted = torch.as_tensor(shown[1:tested]), torch.as_tensor(shown[tested:])
        return Pilot(s, kind, others, decided, voted, attempts)

    def _trained(self, rho: float, t: float, kind: Kind, others: Tensor) -> np.ndarray:
        """Give the trainings that it took, and its decisions on the test part and on `others`."""
        seen = torch.ones(len(self.taught), dtype=torch.bool)
        seen[others] = False
        network, done = self.student.trained(
            self.taught.rows(seen.nonzero()[:, 0]), DistillationLoss(rho, t, self.t_power),
            seed=_SEED + 100 * self.seed, epochs=kind.epochs,
        )  # fmt: skip
        rate = self.student.training.learning_rate
        attempts = 1 if rate is None else 1 + round(math.log(rate / done.learning_rate, 3))
        decided = decisions(network, self.test)
        voted = decisions(network, self.taught.rows(others).x)
        return torch.cat([torch.tensor([attempts]), decided.cpu(), voted.cpu()]).numpy()


def kinds_of(n: int, epochs: int, tested: int) -> list[Kind]:
    """Give the pilots that there may be of a student of n samples: the whole training, or that of
    all but a fold of the pool for a third of the epochs. Where there are too few epochs for that,
    it is a quarter of the pool for all of them.

    A pilot's cost is that of its training, and of its decisions on the test part and on what it has
    left out, each a third of a sample's step.
    """
    brief, fold = round(epochs / _HASTE), n // _FOLDS

    def kind(some: int, brief: int) -> Kind:
        decided = (tested + n - some) / 3
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
