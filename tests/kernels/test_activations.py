"""Duals of every activation: against quadrature in two dimensions, their own Hermite series, and
each other; and what it takes to add one."""

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit

import tutelage
from tutelage.exceptions import StudentError
from tutelage.kernels import (
    Abs,
    Activation,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Gaussian,
    LeakyRelu,
    Relu,
    Sequential,
    activation,
    duals,
)
from tutelage.kernels.activations import ACTIVATIONS, complement, eps, tiny

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


class ByTorch(Activation):
    """An activation of somebody's own, before it has a formula."""

    def __call__(self, x):
        return x


class OfIntegers(ByTorch):
    """With a number that is no float."""

    @staticmethod
    def formula(k, q1, q2, *_):
        return 2 * k, torch.ones_like(k)


class OfAnything(ByTorch):
    """With a function that numba does not know."""

    @staticmethod
    def formula(k, q1, q2, *_):
        return torch.special.bessel_j0(k), k


def network(act, images):
    first = Conv(1) if images else Dense()
    return Sequential(first, act, *[Flatten()] * images, Dense())


@pytest.mark.parametrize("images", [False, True])
def test_an_activation_without_a_formula_is_an_error(images):
    """It once ran the Hermite series, on whatever features it had."""
    x = torch.ones(2, 1, 2, 2) if images else torch.ones(2, 4)
    with pytest.raises(StudentError, match="The activation ByTorch has no dual; write its `form"):
        network(ByTorch(), images)(x)


@pytest.mark.parametrize(
    ("act", "dtype"), [(OfIntegers(), torch.float32), (OfAnything(), torch.float64)]
)
def test_a_formula_that_cannot_be_compiled_is_an_error(act, dtype):
    with pytest.raises(StudentError) as caught:
        network(act, images=True)(torch.ones(2, 1, 2, 2, dtype=dtype))
    for said in (f"{type(act).__name__} cannot be compiled", "numbers that are floats", "asin, "):
        assert said in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_name_is_given_once():
    with pytest.raises(StudentError, match="Other cannot be named 'relu': Relu is"):

        class Other(ByTorch, name="relu"):
            pass

    assert ACTIVATIONS["relu"] is Relu


def for_numbers(function):
    """As numba runs it, where a formula calls it."""

    @njit
    def compiled(*numbers):
        return function(*numbers)

    return compiled


MORE = {  # what a function takes beside a number
    "atan2": (0.4,),
    "clamp": (0.3, 0.6),
    "clamp_max": (0.4,),
    "clamp_min": (0.4,),
    "maximum": (0.4,),
    "minimum": (0.4,),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*duals.MEANINGS, "asin"])
def test_what_a_function_of_torch_means_for_a_number(name, dtype):
    function, more = getattr(torch, name), [dtype(number) for number in MORE.get(name, ())]
    x, compiled = np.linspace(0.05, 0.95, 7, dtype=dtype), for_numbers(function)
    tensors = name in ("atan2", "maximum", "minimum")
    expected = function(torch.tensor(x), *map(torch.tensor, more) if tensors else more)
    found = np.array([compiled(v, *more) for v in x])
    assert compiled.nopython_signatures[0].return_type.bitwidth == 8 * x.itemsize
    np.testing.assert_allclose(found, expected.numpy(), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", [complement, eps, tiny])
def test_what_a_function_of_ours_means_for_a_number(function, dtype):
    found, expected = for_numbers(function)(dtype(0.3)), function(torch.tensor(dtype(0.3)))
    np.testing.assert_allclose(found, float(expected), rtol=8 * np.finfo(dtype).eps)


def adapted(tmp_path, block):
    """A copy of the package, with a block of code at the end of its activations."""
    source = Path(tutelage.__file__).parent
    if not (tmp_path / "tutelage").exists():
        shutil.copytree(source, tmp_path / "tutelage", ignore=shutil.ignore_patterns("__pycache__"))
    text = (source / "kernels" / "activations.py").read_text()
    (tmp_path / "tutelage" / "kernels" / "activations.py").write_text(f"{text}\n\n{block}")


TRIED = """
import sys
import torch
import tutelage as tu
from tutelage.kernels import Conv, Dense, Elementwise, Flatten, Sequential
assert tu.__file__.startswith(sys.argv[1])
found = {}
x = torch.randn(4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
act = Elementwise(torch.cos)
found["mlp"] = tu.students.student("mlp:activation=cos,depth=2")(x)
assert "numba" not in sys.modules
found["mlp by quadrature"] = Sequential(Flatten(), Dense(), act, Dense(), act, Dense())(x)
found["cnn"] = tu.students.student("cnn:activation=cos,depth=2")(x)
found["cnn by quadrature"] = Sequential(Conv(), act, Conv(), act, Flatten(), Dense())(x)
torch.save(found, sys.argv[1] + "/found.pt")
"""


def tried(tmp_path):
    given = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    subprocess.run([sys.executable, "-c", TRIED, tmp_path], check=True, env=given, cwd=tmp_path)
    return torch.load(tmp_path / "found.pt")


def test_an_activation_is_added_as_contributing_says(tmp_path):
    """One class is enough for vectors and for images; and when its formula changes, what was
    compiled of it is not used again."""
    contributing = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    section = contributing[contributing.index("### Adding an activation") :]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    adapted(tmp_path, block)
    found = tried(tmp_path)
    for family in ("mlp", "cnn"):
        torch.testing.assert_close(
            found[family], found[f"{family} by quadrature"], rtol=1e-6, atol=1e-6
        )
    adapted(tmp_path, block.replace("0.5 * (up + down)", "0.5 * (up + 2.0 * down)"))
    wrong = tried(tmp_path)
    assert (wrong["mlp"] - found["mlp"]).abs().max() > 1e-3
    assert (wrong["cnn"] - found["cnn"]).abs().max() > 1e-3
