"""What a plan within a budget may cost, and what its parts do."""

import math
from dataclasses import dataclass, replace
from typing import Any

from tutelage.data.inputs import rows
from tutelage.data.part import Part
from tutelage.data.task import Task
from tutelage.kernels import empirical
from tutelage.kernels.last import last_layers
from tutelage.pilots.kinds import kinds_of
from tutelage.solve import Scale
from tutelage.students import TorchStudent
from tutelage.train import DistillationLoss
from tutelage.train.training import search_steps, seconds_of

PROBES = 3
SMALLEST = 160  # a pool with room for theory and pilots
_MOST, _LEAST = 2048, 128  # samples that theory looks at
_STARTS, _SHARE = 3, 0.4  # of the budget that more starts than one may take
_THEORY = 0.9  # of the budget that it may take
_TOLD = 0.5  # with a start that tells what labels bring
_BESIDE = 1.6  # the time of an operation beside training: as measured by benchmarks/search.py
_STEP = 5e7  # operations in the time that a step of training takes beside its arithmetic
_SOLVES = 25  # with a triangular factor, of a path in time
_LAST = (None, 1 << 15, 0)  # numbers of the last layers' gradients; 0 is the very last
_TRIED = 6  # samples that layers are tried on
_BRIEF = 12  # epochs that warm starts take, as a rule
WHOLE = {"sizes": None, "features": None, "pool": None, "left_out": True, "scale": Scale()}


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Attributes
    ----------
    trainings : float
        In trainings of the student on the whole pool.
    regret : float
        In points: no more pilots once less than this is expected to be gained.
    """

    trainings: float = 1.0
    regret: float = 0.1


@dataclass(frozen=True)
class Prices:
    """What things cost, in trainings of the student on the whole pool.

    By arithmetic, so that the same plan is found twice; only what a training takes is measured.

    Attributes
    ----------
    trained, feature, pair : float
        Floating-point operations: of a sample in an epoch of training, of its features, and of the
        kernel for a pair of samples.
    epochs, warm_epochs : float
        Of the student and, at most, of a warm start.
    searched : float
        Epochs that finding a learning rate takes.
    n, tested : int
        Samples of the pool and of the test part.
    columns : int
        Logits of all settings, which are solved for.
    seconds : float
        Of one training.
    """

    trained: float
    feature: float
    pair: float
    epochs: float
    warm_epochs: float
    searched: float
    n: int
    tested: int
    columns: int
    seconds: float

    @classmethod
    def of(
        cls,
        student: TorchStudent,
        pool: Part,
        tested: int,
        *,
        t_power: int = 2,
        settings: int = 1,
        found: bool = False,
    ) -> "Prices":
        """Count, and time a few steps; `found` says that the learning rate was searched for."""
        assert pool.teacher is not None
        network, own = student.fresh(pool, 0), student.own_training
        forward, feature, pair = empirical(network, probes=PROBES).operations(pool.x)
        if student.last is not None:
            few = rows(pool.x, slice(0, _TRIED))
            moving = last_layers(network, few, student.last)
            _, feature, pair = empirical(moving, probes=PROBES).operations(few)
        trained = 3 * forward + _STEP / student.training.batch_size
        epochs, warm = student.epochs, min(_BRIEF, student.training.epochs, student.epochs)
        loss = DistillationLoss(1.0, 1.0, t_power)
        seconds = seconds_of(network, pool, loss, own)
        columns = settings * pool.teacher[0].numel()
        searched = search_steps(own, len(pool)) * own.batch_size / len(pool) if found else 0.0
        return cls(
            trained,
            feature,
            pair,
            epochs,
            warm,
            searched,
            len(pool),
            tested,
            columns,
            seconds,
        )

    @property
    def search(self) -> float:
        """Of finding a learning rate."""
        return self.searched / self.epochs

    def theory(self, used: int) -> float:
        """Of one start, which half of so many samples bring to where it is."""
        brief = self.warm_epochs * used / 2 * self.trained
        features = (used + self.tested) * self.feature
        pairs = (used * used / 2 + used * self.tested) * self.pair
        solved = self.columns * used * (2 * _SOLVES * used + 4 * self.tested)
        all_of_it = brief + _BESIDE * (features + pairs + solved)
        return all_of_it / (self.trained * self.epochs * self.n)

    def fits(self, used: int, budget: Budget) -> bool:
        """Whether the budget has room for theory on so many samples, and for a pilot beside it,
        where that leaves theory half of it.
        """
        left = budget.trainings - self.search
        pilot = kinds_of(self.n, int(self.epochs), self.tested)[1].cost
        beside = left - pilot if pilot <= left / 2 else left
        return self.theory(used) <= min(_THEORY * left, beside)

    def tells(self, used: int, budget: Budget, starts: int) -> bool:
        """Whether so many starts leave half of the budget to pilots."""
        return starts * self.theory(used) <= _TOLD * (budget.trainings - self.search)

    def enough(self, budget: Budget, starts: int | None) -> float:
        """Give the next larger budget that has room for telling what labels bring."""
        trainings = math.floor(budget.trainings) + 1.0
        while True:
            larger = replace(budget, trainings=trainings)
            used, count = self.affordable(larger, starts, beside=True)
            if self.tells(used, larger, count + 1):
                return trainings
            trainings += 1

    def affordable(
        self, budget: Budget, starts: int | None, *, beside: bool = False
    ) -> tuple[int, int]:
        """Samples that theory looks at, and its starts: by default up to 3; one of them, if there
        are several, makes room for a start that tells what labels bring, if one is to stand beside.
        """
        used, left = min(self.n // 2, _MOST), budget.trainings - self.search
        while used >= 2 * _LEAST and not self.fits(used, budget):
            used //= 2
        most = int(_SHARE * left / self.theory(used))
        count = max(1, min(_STARTS, most) - beside) if starts is None else starts
        return used, count


def priced(
    student: TorchStudent, pool: Part, tested: int, budget: Budget, starts: int | None,
    **options: Any,
) -> tuple[TorchStudent, Prices]:  # fmt: skip
    """Give the student with the kernel of as many of its last layers as leave theory a quarter of
    the pool to look at, and its prices; where all layers do, that is all of them.

    Parameters
    ----------
    student : TorchStudent
    pool : Part
    tested : int
    budget : Budget
    starts : int, optional
    **options
        See `Prices.of`.
    """
    for last in _LAST:
        chosen = replace(student, last=last)
        prices = Prices.of(chosen, pool, tested, **options)
        used, _ = prices.affordable(budget, starts)
        if used >= min(len(pool) // 4, _MOST) and prices.fits(used, budget):
            break
    return chosen, prices


def cannot(task: Any, student: Any, options: dict[str, Any]) -> str | None:
    """Why there can be no pilots, as a part of a sentence; None if there can be."""
    if not isinstance(student, TorchStudent):
        return "only networks of finite width are trained"
    if student.linearise != "warm" or math.isinf(student.epochs):
        return "the network is linearised at init, or trained until it has converged"
    if not isinstance(task, Task) or task.y_test is None:
        return "pilots need a labelled test part"
    if task.n_train < SMALLEST:
        return f"the pool has {task.n_train} samples, where pilots need {SMALLEST}"
    scale = options.get("scale")
    if isinstance(scale, Scale):  # pilots go on from a checkpoint, too
        options = options | {"scale": replace(scale, checkpoint=None)}
    given = [name for name, plain in WHOLE.items() if not _plain(options.get(name, plain), plain)]
    return f"{' and '.join(given)} ask for theory on the whole pool" if given else None


def _plain(value: Any, plain: Any) -> bool:
    return value is plain or (type(value) is type(plain) and bool(value == plain))
