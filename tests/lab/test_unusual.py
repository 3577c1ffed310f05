"""Plans for networks that are not made of plain layers."""

import math

import numpy as np
import pytest
import torch
from odd_networks import ODD
from torch import nn

import tutelage as tu
from tutelage.exceptions import StudentError, TutelageError
from tutelage.lab import TorchStudent, Training

QUICK = Training(epochs=4, learning_rate=0.05, batch_size=16)


class PairInTraining(nn.Module):
    """With a head beside it while it is trained, as Inception has."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x):
        hidden = torch.tanh(self.inner(x))
        return (self.out(hidden), hidden) if self.training else self.out(hidden)


class Ids(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(9, 4, sparse=True), nn.Linear(12, 2)

    def forward(self, x):
        return self.out(self.table(x.long()).flatten(1))


def plain():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


UNUSUAL = {
    name: ODD[name][0]
    for name in (
        "experts",
        "relative positions",
        "adapter",
        "pair",
        "dict",
        "scripted",
        "pruned",
        "weight norm",
        "old weight norm",
        "spectral norm",
        "old spectral norm",
        "data parallel",
        "checkpointed",
    )
} | {
    "pair in training": PairInTraining,
    "half": lambda: plain().half(),
    "bfloat16": lambda: plain().bfloat16(),
    "compiled": lambda: torch.compile(plain(), backend="eager"),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(2)),
}


def three_columns(n=60, m=40):
    x = np.random.default_rng(0).normal(size=(n + m, 3))
    z = np.stack([x[:, 0], x[:, 1]], 1) * 2
    y = z.argmax(1)
    return tu.Task(x[:n], z[:n], y[:n], x[n:], z[n:], y[n:])


@pytest.mark.filterwarnings(
    "ignore:.*Lazy modules:UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_networks_are_planned_for(name):
    of_one = TorchStudent(
        lambda shape, n: UNUSUAL[name](), name, training=Training(4, 0.05, 16), epochs=10
    )
    problem = three_columns()
    made = tu.plan(
        problem,
        curves=tu.curves(
            problem, of_one, soft_ratio=[0.3, 1.0], temperature=[1.0], sizes=[40], orderings=1
        ),
    )
    assert math.isfinite(made.recommended.error)
    assert not any("nan" in w for w in made.warnings)


def test_token_ids_are_planned_for_unstandardised():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, (100, 3))
    z = np.stack([ids[:, 0] - 4.0, 4.0 - ids[:, 0]], 1)
    problem = tu.Task(ids[:60], z[:60], z[:60].argmax(1), ids[60:], z[60:], z[60:].argmax(1))
    of_ids = TorchStudent(lambda shape, n: Ids(), "ids", training=Training(4, 0.05, 16), epochs=10)
    found = tu.curves(
        problem,
        of_ids,
        soft_ratio=[0.3, 1.0],
        temperature=[1.0],
        sizes=[40],
        orderings=1,
        standardise=False,
    )
    assert np.isfinite(found.error).all()
    with pytest.raises(StudentError, match="fails on inputs of shape"):
        tu.curves(
            problem, of_ids, soft_ratio=[0.3, 1.0], temperature=[1.0], sizes=[40], orderings=1
        )  # below 0, once standardised


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.Sequential(
                nn.Linear(3, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 2)
            ),
            "depend on the others of its batch",
        ),
        (lambda: nn.Linear(3, 2, device="meta"), "has no weights yet"),
        (
            lambda: nn.init.constant_((made := plain())[0].weight, math.nan) is None or made,
            "are not all finite numbers",
        ),
    ],
)
def test_what_cannot_be_planned_for_is_said_before_any_training(make, message):
    of_one = TorchStudent(lambda shape, n: make(), "own", training=QUICK)
    with pytest.raises(TutelageError, match=message):
        tu.curves(three_columns(), of_one, soft_ratio=[0.3, 1.0], temperature=[1.0], orderings=1)
