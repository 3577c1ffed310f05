"""Which pilots are trained, and what they show."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import tutelage as tu
from problems import task
from tutelage.exceptions import StudentError
from tutelage.pilots import Budget
from tutelage.pilots.corrected import _with_votes
from tutelage.pilots.kinds import Kind, kinds_of, left_out
from tutelage.pilots.runs import Pilot, Runs
from tutelage.pilots.surface import Surface
from tutelage.progress import silent
from tutelage.theory.pilots import places
from tutelage.train import Training
from tutelage.train.training import Trained, halfway

RATIO, HEAT = (a.ravel() for a in np.meshgrid([0.1, 0.5, 1.0], [1.0, 4.0], indexing="ij"))
THEORY = np.array([0.20, 0.20, 0.22, 0.22, 0.23, 0.23])  # the first is best
REAL = np.array([0.30, 0.30, 0.22, 0.22, 0.23, 0.19])  # the last is
SURFACE = Surface(RATIO, HEAT, THEORY, 400, 0.02)
N, TESTED = 800, 2000


class Told(Runs):
    """Students that err as often as they are told to."""

    def run(self, surface, s, kind, number=0):
        fall = SURFACE.fall * math.log2(kind.epochs / halfway(kind.epochs))
        share = REAL[s] + SURFACE.at(kind.n, kind.halvings, SURFACE.fall)[s] - SURFACE.at(N)[s]
        decided, at_half = (self.errs(part) for part in (share, share + fall))
        others = left_out(N, kind, number)
        return Pilot(s, kind, others, decided, torch.zeros(len(others), dtype=torch.int64), at_half)

    def errs(self, share):
        decided = torch.as_tensor(self.task.y_test.copy())
        wrong = round(share * TESTED)
        decided[:wrong] = 1 - decided[:wrong]
        return decided


def runs(kind=Told, trainings=1.0, regret=0.0, spent=0.3):
    problem = task(n=N, m=TESTED, n_classes=2)
    x, test = problem.inputs(torch.float32)
    return kind(
        problem, tu.lab.student("mlp:width=8,depth=1", training=Training(2, 0.05, 32), epochs=3), 0,
        problem.part("train", x), test, 2, 0, Budget(trainings, regret), spent, silent,
    )  # fmt: skip


def corrected(found, pilots):
    at = places(RATIO, HEAT, 1.0)
    return found.known(SURFACE, pilots).corrected(at, SURFACE.at(N))


@pytest.mark.parametrize("trainings", [0.3, 1.2, 1.5, 4.0])
def test_the_budget_is_kept(trainings):
    found = runs(trainings=trainings)
    pilots = found.pilots(SURFACE)
    assert found.spent <= trainings + 1e-9
    assert found.spent == pytest.approx(0.3 + sum(p.kind.cost for p in pilots))
    assert len({(p.setting, p.kind) for p in pilots}) == len(pilots)
    assert bool(pilots) == (trainings > 0.3)


def test_pilots_mend_what_theory_has_wrong():
    found = runs(trainings=5.0)
    mean, covariance = corrected(found, found.pilots(SURFACE))
    assert SURFACE.at(N).argmin() == 0
    assert mean.argmin() == REAL.argmin() == 5
    assert abs(mean[5] - REAL[5]) < 0.03
    assert np.trace(covariance) < np.trace(corrected(found, [])[1])


def test_they_stop_when_little_is_to_be_gained():
    assert len(runs(trainings=4.0, regret=3.0).pilots(SURFACE)) == 0
    assert len(runs(trainings=4.0, regret=0.3).pilots(SURFACE)) < len(
        runs(trainings=4.0).pilots(SURFACE)
    )


def test_a_pilot_that_diverges_is_paid_and_said():
    wild = Training(2, 1e9, 32)
    found = runs(Runs, trainings=2.0)
    found.student = tu.lab.student("mlp:width=8,depth=1", training=wild, epochs=3)
    assert found.pilots(SURFACE) == []
    assert found.spent > 0.3
    assert len(set(found.lost)) == len(found.lost)  # no setting is tried again
    assert found.lost[0].startswith("A pilot of ")
    assert "came to nothing: Training the student diverged" in found.lost[0]
    with pytest.raises(StudentError, match="diverged"):
        found.student.trained(found.taught, tu.lab.DistillationLoss(0.5, 4.0), seed=0)


def test_a_pilot_that_needs_a_lower_rate_is_paid_twice_and_said():
    found = runs(Runs, trainings=0.9)
    hot = Training(2, 90.0, 32, attempts=8)
    found.student = tu.lab.student("mlp:width=8,depth=1", training=hot, epochs=3)
    pilot = found.run(SURFACE, 0, Kind(200, 3, 0.25, 0.0))
    assert pilot.attempts > 1
    assert "diverged at a learning rate of 90, and was trained at" in found.lost[0]


def test_pilots_leave_out_a_fold_and_are_hasty():
    assert kinds_of(800, 30, 0) == [
        Kind(800, 30, 1.0, 0.0),
        Kind(600, 10, pytest.approx(0.25 + 200 / 3 / 24000), pytest.approx(math.log2(3))),
    ]  # fmt: skip
    hasty = kinds_of(803, 10, 0)[1]
    assert (hasty.n, hasty.epochs, hasty.halvings) == (603, 3, math.log2(10 / 3))
    assert kinds_of(800, 2, 0)[1].epochs == 1
    few = kinds_of(800, 1, 0)[1]
    assert (few.n, few.epochs, few.halvings) == (200, 1, 0.0)


def test_what_pilots_decide_is_paid_for():
    free, paid = (kinds_of(800, 30, tested) for tested in (0, 2400))
    for one, other in zip(free, paid, strict=True):
        assert other.cost - one.cost == pytest.approx(2 * 2400 / 3 / 24000)


@pytest.mark.parametrize("n", [800, 803])
def test_four_pilots_leave_out_every_sample_and_theorys_last(n):
    kind = kinds_of(n, 30, 0)[1]
    folds = [left_out(n, kind, k) for k in range(5)]
    assert all(len(fold) == n - kind.n for fold in folds)
    assert folds[0].tolist() == list(range(kind.n, n))
    assert len(torch.cat(folds[:4]).unique()) == 4 * (n // 4)
    assert len(torch.cat(folds).unique()) == n
    assert left_out(n, kinds_of(n, 30, 0)[0], 2).tolist() == []


def test_a_pilot_is_the_beginning_of_a_students_training(monkeypatch):
    seen = []

    def watched(network, part, loss, training, *, at_half, **_):
        seen.append((len(part), training))
        at_half(network)
        return Trained(training.epochs, training.learning_rate)

    monkeypatch.setattr("tutelage.students.network.train", watched)
    found = runs(Runs, trainings=2.0)
    hasty = found.kinds[1]
    pilot = found.run(SURFACE, 0, hasty, 1)
    assert pilot.others.tolist() == list(range(N // 2, 3 * N // 4))
    assert seen == [(600, replace(found.student.own_training, epochs=1, until=1 / 3))]


def test_a_pilot_says_nothing_of_samples_that_it_has_seen_or_of_their_copies():
    x = np.random.default_rng(0).normal(size=(8, 3))
    x[7] = x[0]  # sample 7 is a copy of sample 0
    logits = x[:, 0]
    problem = tu.Task(x, logits, (logits > 0).astype(int), x, logits, (logits > 0).astype(int))
    curves = tu.curves(problem, "mlp", soft_ratio=[0.5, 1.0], temperature=[1.0], orderings=1)
    told = curves.decision_loo.values.copy()
    told[:] = -1
    told[..., 5] = 0  # theory has spoken of sample 5
    curves["decision_loo"] = curves.decision_loo.copy(data=told)
    surface = Surface(np.array([0.5, 1.0]), np.ones(2), np.zeros(2), 8, 0.0)
    order, ones = torch.arange(8), torch.ones(5, dtype=torch.int64)
    one, other = (Kind(n, 1, 0.1, 0.0) for n in (3, 4))
    pilots = [
        Pilot(0, one, torch.arange(3, 8), ones, ones, ones),
        Pilot(1, other, torch.arange(4, 8), ones, 0 * ones[:4], ones),
    ]
    voted = _with_votes(curves, problem, 0, order, pilots, surface).decision_loo.values
    flat = voted.reshape(2, 8)
    assert (flat[:, [0, 1, 2]] == -1).all()  # seen by both pilots
    assert (flat[:, 5] == 0).all()  # what theory said stays
    assert (flat[:, 7] == -1).all()  # the copy of one that was seen
    assert flat[0, 3:7].tolist() == [1, 1, 0, 1]  # the nearest pilot speaks
    assert flat[1, 3:7].tolist() == [1, 0, 0, 0]  # but of what it has seen, the other


def test_what_errors_still_fall_by_is_measured():
    """Pilots whose errors fall as fast as these do end lower."""
    found = runs(Runs)
    kind, truth = kinds_of(N, 30, TESTED)[1], torch.as_tensor(found.task.y_test)

    def errs(share):
        return torch.where(torch.arange(TESTED) < share * TESTED, 1 - truth, truth)

    def pilot(at_half):
        return Pilot(0, kind, torch.arange(0), errs(0.24), torch.arange(0), errs(at_half))

    assert found.fall(SURFACE, []) == SURFACE.fall
    assert found.fall(SURFACE, [pilot(0.25), pilot(0.29)]) == pytest.approx(0.03)
    still, fast = (corrected(found, [pilot(at_half)]) for at_half in (0.24, 0.30))
    assert (fast[0] < still[0]).all()
    assert (np.diag(fast[1]) > np.diag(still[1])).all()


def test_a_fall_is_that_of_a_doubling():
    """Of three epochs half is one, so that its epochs grew by more than a doubling."""
    found = runs(Runs)
    kind, truth = kinds_of(N, 10, TESTED)[1], torch.as_tensor(found.task.y_test)
    decided, at_half = (
        torch.where(torch.arange(TESTED) < share * TESTED, 1 - truth, truth) for share in (0.3, 0.4)
    )
    pilot = Pilot(0, kind, torch.arange(0), decided, torch.arange(0), at_half)
    assert kind.epochs == 3
    assert found.fall(SURFACE, [pilot]) == pytest.approx(0.1 / math.log2(3))
