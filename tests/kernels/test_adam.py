"""The kernel of a network that AdamW trains, (8.3)."""

import pytest
import torch
from torch import nn

from tolerances import assert_close
from tutelage.kernels import empirical

torch.manual_seed(0)
X, Y = torch.randn(7, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)


class Shared(nn.Module):
    """A parameter that no layer holds."""

    def __init__(self):
        super().__init__()
        self.place, self.out = nn.Parameter(torch.randn(5)), nn.Linear(5, 3)

    def forward(self, x):
        return self.out(torch.tanh(x * self.place))


NETWORKS = {
    "dense": lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)),
    "normed": lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)
    ),
    "shared": Shared,
}


def moments_of(network):
    """Positive numbers; of a dense layer's weight and bias together a product."""
    found = {}
    for name, p in network.named_parameters():
        found[name] = torch.rand_like(p) + 0.5
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            sizes = module.out_features, module.in_features + 1
            rows, columns = (torch.rand(size, dtype=torch.float64) for size in sizes)
            product = torch.outer(rows + 0.5, columns + 0.5)
            found[f"{name}.weight"], found[f"{name}.bias"] = product[:, :-1], product[:, -1]
    return {name: moment.detach() for name, moment in found.items()}


def jacobian(network, x):
    """(n, C, parameters)."""
    rows = []
    for logits in network(x):
        for logit in logits:
            found = torch.autograd.grad(logit, list(network.parameters()), retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows).reshape(len(x), 3, -1)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_over_the_fourth_root_of_their_second_moments(name):
    torch.manual_seed(1)
    network = NETWORKS[name]().double()
    moments = moments_of(network)
    flat = torch.cat([moments[key].flatten() for key, _ in network.named_parameters()])
    left, right = jacobian(network, X), jacobian(network, Y)
    expected = torch.einsum("icp,jcp->ij", left / flat.sqrt(), right) / 3
    assert_close(empirical(network, moments=moments)(X, Y), expected)
    assert_close(
        empirical(network, moments=moments).diag(X),
        empirical(network, moments=moments)(X).diagonal(),
    )
    assert not torch.allclose(empirical(network)(X, Y), expected, rtol=0.05)


def test_a_small_step_of_preconditioned_descent_moves_logits_as_the_kernel_says():
    """(8.3): of a linear network any step, as its kernel does not change."""
    network = nn.Linear(5, 3).double()
    moments = moments_of(nn.Sequential(network))
    moments = {key.removeprefix("0."): moment for key, moment in moments.items()}
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    logits = network(X)
    slope = torch.autograd.grad(
        nn.functional.cross_entropy(logits, labels), logits, retain_graph=True
    )[0]
    gradients = torch.autograd.grad(
        nn.functional.cross_entropy(logits, labels), list(network.parameters())
    )
    before = network(Y).detach()
    theta = empirical(network, outputs="full", moments=moments)(Y, X)
    with torch.no_grad():
        for (key, p), gradient in zip(network.named_parameters(), gradients, strict=True):
            p.sub_(0.7 * gradient / moments[key].sqrt())
    assert_close(network(Y).detach() - before, -0.7 * torch.einsum("ijcd,jd->ic", theta, slope))


def test_moments_of_nothing_do_not_blow_up():
    network = NETWORKS["dense"]().double()
    moments = moments_of(network)
    moments["0.weight"][:, 0] = 0
    moments["2.bias"][:] = 0
    assert torch.isfinite(empirical(network, moments=moments)(X)).all()
