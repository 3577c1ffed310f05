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
from tutelage.pilots.kinds import Kind, kinds_of, left_out
from tutelage.pilots.surface import Surface
from tutelage.progress import Progress
from tutelage.students import TorchStudent
from tutelage.students.network import decisions
from tutelage.theory.pilots import (
    Pilots,
    Places,
    expected_regret,
    gains,
    haste_of,
    noise,
    places,
)
from tutelage.train import DistillationLoss
from tutelage.train.training import halfway

_NOTHING = 1e-9  # but rounding
_SEED = 1000  # pilots and warm starts draw for themselves


@dataclass(frozen=True)
class Pilot:
    """A real student at a setting, by its number.

    Attributes
    ----------
    kind : Kind
    others : integer Tensor of shape (m,)
        Which samples of the pool it has not seen.
    decided, halfway : integer Tensor of shape (M,)
        On the test part; after half of its training, too.
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
    halfway: Tensor
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
        beside = self._places(surface, chosen, wanted, self.fall(surface, found))
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
        truth, fall = self.truth(name), self.fall(surface, found, name)
        s, kinds = np.array([p.setting for p in found], int), [p.kind for p in found]
        shown = np.array([(p.decided.numpy() != truth).mean() for p in found])
        predicted = np.array(
            [surface.at(p.kind.n, p.kind.halvings, fall)[p.setting] for p in found]
        )
        n = np.array([kind.n for kind in kinds], int)
        own = noise(shown, n, self.task.n_test, surface.scale)
        return Pilots(self._places(surface, s, kinds, fall), shown, predicted, own, surface.scale)

    def fall(self, surface: Surface, found: list[Pilot], name: str = "error") -> float:
        """By how much errors of pilots fell when their epochs were doubled, on average."""
        truth = self.truth(name)
        falls = [
            ((p.halfway.numpy() != truth).mean() - (p.decided.numpy() != truth).mean())
            / math.log2(p.kind.epochs / halfway(p.kind.epochs))
            for p in found
            if p.kind.halvings and p.kind.epochs > 1
        ]
        return float(np.mean(falls)) if falls else surface.fall

    def _places(self, surface: Surface, s: np.ndarray, kinds: list[Kind], fall: float) -> Places:
        """Of pilots of these kinds at settings, by their numbers."""
        n = np.array([kind.n for kind in kinds], float)
        haste = np.array([haste_of(kind.halvings, fall) for kind in kinds])
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
        attempts, tested = int(shown[0]), self.task.n_test
        if attempts > 1:
            rate = self.student.training.learning_rate
            assert rate is not None
            self.lost.append(
                f"{named} diverged at a learning rate of {rate:.2g}, and was trained at"
                f" {rate / 3 ** (attempts - 1):.2g}."
            )
        ends = [tested, tested, len(others)]
        decided, halfway, voted = torch.split(torch.as_tensor(shown[1:]), ends)
        return Pilot(s, kind, others, decided, voted, halfway, attempts)

    def _trained(self, rho: float, t: float, kind: Kind, others: Tensor) -> np.ndarray:
        """Give the trainings that it took, and its decisions: on the test part at the end and
        halfway, and on `others`.
        """
        seen = torch.ones(len(self.taught), dtype=torch.bool)
        seen[others] = False
        at_half: list[Tensor] = []
        network, done = self.student.trained(
            self.taught.rows(seen.nonzero()[:, 0]), DistillationLoss(rho, t, self.t_power),
            seed=_SEED + 100 * self.seed, epochs=kind.epochs,
            at_half=lambda network: at_half.append(decisions(network, self.test)),
        )  # fmt: skip
        rate = self.student.training.learning_rate
        attempts = 1 if rate is None else 1 + round(math.log(rate / done.learning_rate, 3))
        decided = decisions(network, self.test)
        voted = decisions(network, self.taught.rows(others).x)
        parts = [torch.tensor([attempts]), decided.cpu(), at_half[-1].cpu(), voted.cpu()]
        return torch.cat(parts).numpy()
