"""Duals of every activation: against quadrature in two dimensions, their own Hermite series, and
each other."""

import itertools

import numpy as np
import pytest
import torch

from tutelage.exceptions import StudentError
from tutelage.kernels import (
    Abs,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Gaussian,
    LeakyRelu,
    Relu,
    Sequential,
    activation,
)
from tutelage.kernels.activations import ACTIVATIONS

SMOOTH = ["erf", "gelu", "sin", "identity", "gaussian", "rbf"]
BENT = {"relu": Relu(), "leaky_relu": LeakyRelu(0.3), "abs": Abs()}
Q1, Q2 = (
    torch.tensor(q, dtype=torch.float64) for q in ([1.3, 0.2, 2.0, 0.5], [0.7, 0.4, 1.0, 0.5])
)
K = torch.tensor([0.5, -0.2, 0.0, 0.45], dtype=torch.float64)


def pairs(k, q1, q2, degree=200):
    """Nodes (u, v) and weights of the Gaussian with that covariance."""
    node, weight = np.polynomial.hermite_e.hermegauss(degree)
    node, weight = torch.as_tensor(node), torch.as_tensor(weight / weight.sum())
    u = q1.sqrt() * node[:, None]
    v = (k / q1.sqrt()) * node[:, None] + (q2 - k * k / q1).sqrt() * node[None]
    return u.expand_as(v), v, weight[:, None] * weight[None]


def slope(act, x):
    x = x.clone().requires_grad_(True)
    [found] = torch.autograd.grad(act(x).sum(), x)
    return found


@pytest.mark.parametrize("name", SMOOTH)
def test_duals_are_the_gaussian_means(name):
    act = activation(name)
    value, derivative = act.dual(K.clone(), Q1, Q2)
    for k, q1, q2, first, second in zip(K, Q1, Q2, value, derivative, strict=True):
        u, v, weight = pairs(k, q1, q2)
        torch.testing.assert_close(first, (weight * act(u) * act(v)).sum(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            second, (weight * slope(act, u) * slope(act, v)).sum(), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("name", BENT)
def test_duals_of_bent_lines_are_the_gaussian_means(name):
    """Over the angle, between the kinks, where the mean over the radius is known: E r² = 2."""
    act = BENT[name]
    value, derivative = act.dual(K.clone(), Q1, Q2)
    for k, q1, q2, first, second in zip(K, Q1, Q2, value, derivative, strict=True):
        angle = torch.arccos(k / (q1 * q2).sqrt())
        kinks = [
            torch.tensor(0.0),
            *sorted(
                (a % (2 * torch.pi))
                for a in (
                    torch.pi / 2,
                    3 * torch.pi / 2,
                    float(angle) + torch.pi / 2,
                    float(angle) + 3 * torch.pi / 2,
                )
            ),
        ]
        kinks = [float(a) for a in kinks] + [2 * torch.pi]
        node, weight = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(60))
        total, slopes = 0.0, 0.0
        for low, high in itertools.pairwise(kinks):
            t = (high + low) / 2 + (high - low) / 2 * node
            u, v = q1.sqrt() * torch.cos(t), q2.sqrt() * torch.cos(t - angle)
            w = weight * (high - low) / 2 / (2 * torch.pi)
            total += float((w * 2 * act(u) * act(v)).sum())
            slopes += float((w * slope(act, u) * slope(act, v)).sum())
        assert float(first) == pytest.approx(total, rel=1e-10)
        assert float(second) == pytest.approx(slopes, rel=1e-10)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_second_is_the_firsts_derivative(name):
    act, step = activation(name), 1e-6
    up, down = act.dual(K + step, Q1, Q2)[0], act.dual(K - step, Q1, Q2)[0]
    torch.testing.assert_close(
        act.dual(K.clone(), Q1, Q2)[1], (up - down) / (2 * step), rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_compiled_is_what_torch_computes(name):
    """A 1 × 1 convolution of one pixel goes through the compiled duals, a dense layer through
    torch's."""
    x = torch.randn(7, 5, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    act = activation(name)
    image = Sequential(Conv(1), act, Conv(1), act, Flatten(), Dense())
    vector = Sequential(Dense(), act, Dense(), act, Dense())
    torch.testing.assert_close(image(x), vector(x.flatten(1)), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(image(x.float()), vector(x.flatten(1)).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_function_by_quadrature_has_its_closed_forms_duals(name):
    act = activation(name)
    found, exact = Elementwise(act, degree=96).dual(K.clone(), Q1, Q2), act.dual(K.clone(), Q1, Q2)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-7)


def test_a_function_with_a_kink_by_quadrature_comes_near():
    found, exact = Elementwise(torch.relu).dual(K.clone(), Q1, Q2), Relu().dual(K.clone(), Q1, Q2)
    torch.testing.assert_close(found[0], exact[0], rtol=0.01, atol=1e-3)


def test_a_zero_input_gives_no_nan():
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for name in ACTIVATIONS:
        for found in activation(name).dual(zero.clone(), zero, one):
            assert torch.isfinite(found).all(), name


def test_gaussian_is_what_its_docstring_says():
    value, _ = Gaussian().dual(K.clone(), Q1, Q2)
    torch.testing.assert_close(value, ((1 + 2 * Q1) * (1 + 2 * Q2) - 4 * K**2) ** -0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: activation("swish"),
            "The activation 'swish' is not known; choose one of relu, leaky_relu",
        ),
        (lambda: Elementwise(torch.tanh, degree=0), "takes a function and a degree in 1 … 128"),
        (
            lambda: Elementwise(lambda x: x / 0).dual(K.clone(), Q1, Q2),
            "gives values that are not finite numbers",
        ),
        (
            lambda: Elementwise(lambda x: x @ x).dual(K.clone(), Q1, Q2),
            "Expected a function from a tensor to a tensor of its shape",
        ),
        (
            lambda: Elementwise(lambda x: torch.sin(60 * x)).dual(K.clone(), Q1, Q2),
            "is too rough for a Hermite series of degree 64",
        ),
    ],
)
def test_what_is_no_activation_is_said(make, message):
    with pytest.raises(StudentError) as caught:
        make()
    assert message in str(caught.value)
