"""Networks of which the last layers alone move."""

import pytest
import torch
from torch import nn

from tutelage.kernels import empirical
from tutelage.kernels.last import last_layers

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Backwards(nn.Module):
    """Its layers are registered in another order than they are called in."""

    def __init__(self):
        super().__init__()
        self.head, self.middle, self.first = nn.Linear(8, 3), nn.Linear(8, 8), nn.Linear(5, 8)
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.gain * self.head(self.middle(self.first(x).tanh()).tanh())


def backwards():
    torch.manual_seed(0)
    return Backwards().double()


def moving(module):
    return sorted(name for name, p in module.named_parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (0, ["head"]),
        (12, ["head"]),  # 9 inputs with the bias's, 3 outputs
        (28, ["head"]),
        (29, ["head", "middle"]),
        (10**6, ["first", "head", "middle"]),
    ],
)
def test_the_last_layers_are_those_that_are_called_last(numbers, expected):
    found = moving(last_layers(backwards(), X, numbers))
    assert found == sorted(f"{name}.{key}" for name in expected for key in ("bias", "weight"))


def test_their_kernel_is_what_is_left_when_the_others_are_taken_away():
    network = backwards()
    rest = last_layers(network, X, 10**6)  # but the gain, which no layer explains
    last = last_layers(network, X, 12)
    for parameter in rest.head.parameters():
        parameter.requires_grad_(False)
    whole = empirical(last_layers(network, X, 10**6))(X)
    assert torch.allclose(whole, empirical(last)(X) + empirical(rest)(X))
    assert float(empirical(rest)(X).diag().min()) > 0


def test_the_network_stays_as_it_was_and_frozen_layers_stay_frozen():
    network = backwards()
    network.middle.weight.requires_grad_(False)
    found = last_layers(network, X, 10**6)
    assert "middle.weight" not in moving(found)
    assert moving(network) == sorted([*moving(found), "gain"])
    assert torch.equal(found(X), network(X))
