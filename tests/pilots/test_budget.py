"""What a plan within a budget costs."""

from dataclasses import replace

import pytest
import torch

import tutelage as tu
from problems import task
from tutelage.pilots import Budget, cannot
from tutelage.pilots.budget import Prices, priced
from tutelage.pilots.kinds import kinds_of

STUDENT = tu.lab.student("mlp:width=32,depth=1", training=tu.lab.Training(3, 0.05, 16), epochs=10)
PLAIN = Prices(3e6, 7e6, 1e4, 30, 12, 0, 4000, 2000, 100, 8.0)


def test_prices_are_counted_and_come_out_the_same_twice():
    problem = task(n=200, m=100)
    part = problem.part("train", problem.inputs(torch.float32)[0])
    one, two = (Prices.of(STUDENT, part, 100, settings=6) for _ in range(2))
    assert replace(one, seconds=0) == replace(two, seconds=0)
    assert one.seconds > 0
    assert (one.epochs, one.warm_epochs, one.n, one.tested) == (10, 3, 200, 100)
    assert one.columns == 18
    forward, back = 2 * (5 * 32 + 32 * 3), 2 * 32 * 3  # to the hidden layer, where gradients end
    assert one.feature == forward + 3 * back
    assert one.trained == 3 * forward + 5e7 / 16


def test_theory_costs_more_of_more_samples_and_less_of_longer_trainings():
    assert PLAIN.theory(2000) > PLAIN.theory(1000) > PLAIN.theory(500)
    assert replace(PLAIN, columns=1920).theory(1000) > PLAIN.theory(1000)
    assert replace(PLAIN, epochs=60).theory(1000) == pytest.approx(PLAIN.theory(1000) / 2)


@pytest.mark.parametrize("trainings", [0.3, 0.5, 1.0, 2.0, 4.0])
def test_theory_leaves_room_for_pilots(trainings):
    used, starts = PLAIN.affordable(Budget(trainings), None)
    assert used <= 2000
    assert 1 <= starts <= 3
    assert starts * PLAIN.theory(used) <= 0.9 * trainings
    assert PLAIN.affordable(Budget(trainings), 2)[1] == 2


def test_finding_a_learning_rate_is_paid_for():
    problem = task(n=200, m=100)
    part = problem.part("train", problem.inputs(torch.float32)[0])
    finding = replace(STUDENT, training=replace(STUDENT.training, learning_rate=None))
    known = finding.settled(part, seed=0)
    found = Prices.of(known, part, 100, found=True)
    assert found.search == pytest.approx(20 / (10 * 200 / 16))
    assert Prices.of(STUDENT, part, 100, settings=6).search == 0
    dear = replace(PLAIN, searched=24)
    assert dear.affordable(Budget(1.0), None)[0] <= PLAIN.affordable(Budget(1.0), None)[0]


def test_theory_looks_at_no_more_samples_of_a_large_pool():
    large = replace(PLAIN, n=50000)
    assert large.affordable(Budget(1.0), None) == (2048, 3)
    assert large.theory(2048) < 0.05


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"task": task(n=200, test=False)}, "pilots need a labelled test part"),
        ({"task": task(n=60, m=40)}, "the pool has 60 samples, where pilots need 160"),
        ({"student": tu.kernels.mlp()}, "only networks of finite width are trained"),
        ({"student": replace(STUDENT, linearise="init")}, "the network is linearised at init"),
        ({"student": replace(STUDENT, epochs=float("inf"))}, "trained until it has converged"),
        ({"options": {"sizes": [50]}}, "sizes ask for theory on the whole pool"),
    ],
)
def test_where_there_can_be_no_pilots(changes, why):
    given = {"task": task(n=200, m=100), "student": STUDENT, "options": {}}
    assert cannot(**given) is None
    assert why in cannot(**given | changes)


class Large(torch.nn.Module):
    """Features of all of its layers cost many trainings."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv1d(5, 2048, 1)
        self.middle, self.head = torch.nn.Linear(2048, 64), torch.nn.Linear(64, 3)

    def forward(self, x):
        return self.head(self.middle(self.first(x[..., None])[..., 0].relu()).relu())


def test_of_a_large_network_the_last_layers_are_taken():
    problem = task(n=1200, m=100)
    part = problem.part("train", problem.inputs(torch.float32)[0]).floating(torch.float32)
    own = tu.lab.TorchStudent(lambda *_: Large(), "large", training=STUDENT.training, epochs=2)
    chosen, prices = priced(own, part, 100, Budget(1.0), None)
    assert chosen.last is not None
    whole = Prices.of(own, part, 100)
    assert prices.feature < whole.feature / 3
    assert prices.affordable(Budget(1.0), None)[0] >= 300
    assert priced(STUDENT, part, 100, Budget(1.0), None)[0] == STUDENT
    # A start that is linearised in its last layers says so, and is timed as the whole.
    start = chosen.start(part, seed=0)
    assert any("The kernel is that of the network's last layers" in note for note in start.notes)
    assert start.time_per_sample > own.start(part, seed=0).time_per_sample


def test_the_last_layers_are_taken_where_a_small_pool_has_no_room_for_all():
    problem = task(n=500, m=300)
    part = problem.part("train", problem.inputs(torch.float32)[0]).floating(torch.float32)
    own = tu.lab.TorchStudent(lambda *_: Large(), "large", training=STUDENT.training, epochs=2)
    whole = Prices.of(own, part, 300)
    used, _ = whole.affordable(Budget(1.0), None)
    assert used >= 125  # a quarter, as theory looks at no fewer
    assert whole.theory(used) > 1
    chosen, prices = priced(own, part, 300, Budget(1.0), None)
    assert chosen.last is not None
    assert prices.theory(prices.affordable(Budget(1.0), None)[0]) < 1


def test_theory_leaves_room_for_a_pilot_where_that_leaves_it_half():
    budget, pilot = Budget(1.0), kinds_of(PLAIN.n, 30, PLAIN.tested)[1].cost
    assert 0.2 < pilot < 0.5
    scale = 1.0 / PLAIN.theory(1000)  # theory would take more than pilots leave
    dear = replace(PLAIN, feature=7e6 * scale, pair=1e4 * scale)
    assert 1 - pilot < dear.theory(1000) < 0.9
    assert not dear.fits(1000, budget)
    assert dear.fits(1000, Budget(dear.theory(1000) + pilot + 1e-6))
