"""Factories of the user's own: what they are called with, and what their networks may give."""

import numpy as np
import pytest
import torch
from torch import nn

import tutelage as tu
from tutelage.exceptions import StudentError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2, 16))
Y = (X[:, 0].mean(1) > 0).astype(int)
Z = 6 * np.stack([-X[:, 0].mean(1), X[:, 0].mean(1)], 1)
TASK = tu.Task(X[:40], Z[:40], Y[:40], X[40:], Z[40:], Y[40:])


class Signals(nn.Module):
    """Of shape (n, C, L)."""

    def __init__(self, channels, outputs, wrap=lambda z: z):
        super().__init__()
        self.wave, self.head = nn.Conv1d(channels, 4, 3), nn.Linear(4, outputs)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.head(torch.relu(self.wave(x)).mean(-1)))


def by_order(shape, classes):
    assert (shape, classes) == ((2, 16), 2)
    return Signals(shape[0], classes)


def by_name(n_outputs, input_shape):
    return by_order(input_shape, n_outputs)


def by_batch(batch, n_outputs, width=3):
    assert batch.shape == (3, 2, 16)
    assert width == 3
    return Signals(batch.shape[1], n_outputs)


def outputs_alone(n_outputs):
    return Signals(2, n_outputs)


def anything(*given, **_):
    return by_order(*given)


def planned(factory, task=TASK):
    given = {"soft_ratio": [0.5, 1.0], "temperature": [1.0], "seed": 0}
    student = tu.lab.TorchStudent(factory, "own", training=tu.lab.Training(2, 0.1), epochs=3)
    return tu.curves(task, student, orderings=1, **given)


@pytest.mark.parametrize("factory", [by_name, by_batch, outputs_alone, anything])
def test_a_factory_gets_what_its_parameters_name(factory):
    np.testing.assert_array_equal(planned(factory).error, planned(by_order).error)


class Answer:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize("wrap", [lambda z: (z, z.sum()), Answer, lambda z: {"logits": z}])
def test_a_network_may_give_more_than_logits(wrap):
    found = planned(lambda input_shape, n_outputs: Signals(2, n_outputs, wrap))
    np.testing.assert_array_equal(found.error, planned(by_order).error)


def test_a_volume_reaches_the_network_channels_first():
    x = RNG.normal(size=(60, 5, 6, 7, 2))
    task = tu.Task(x[:40], Z[:40], Y[:40], x[40:], Z[40:], Y[40:])

    def factory(batch, n_outputs):
        assert batch.shape[1:] == (2, 5, 6, 7)
        return nn.Sequential(nn.Conv3d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(n_outputs))

    assert planned(factory, task).error.shape == (1, 2, 1, 6)


def test_what_went_wrong_in_a_factory_says_how_it_was_called():
    def bad(n_outputs):
        raise KeyError("width")

    with pytest.raises(StudentError) as caught:
        planned(bad)
    assert str(caught.value) == (
        "The factory of own failed with KeyError: 'width'. It is called as factory(n_outputs), and"
        " returns a torch.nn.Module; it may take input_shape, which is (2, 16), n_outputs, which is"
        " 2, and batch, a few inputs."
    )
