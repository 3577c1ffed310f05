import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from tutelage.exceptions import StudentError
from tutelage.kernels import dense as module
from tutelage.kernels import gram, mlp, student

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference"
CASES = ["mlp-relu-d1", "mlp-relu-d3", "mlp-relu-d5-nobias", "mlp-erf-d1", "mlp-erf-d3", "mlp-gelu-d1", "mlp-gelu-d3"]


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference kernels lie outside the repository")
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_neural_tangents(case):
    arrays = np.load(REFERENCE / "ntk.npz")
    arguments = json.loads((REFERENCE / "ntk.json").read_text())[case]
    arguments.pop("family")
    kernel, x = mlp(**arguments), torch.as_tensor(arrays["vectors"])
    expected = arrays[f"{case}/ntk"]
    # Of parallel inputs the reference takes the arc tangent of a rounding error: it is off by up to its square root there
    # (4e-9 in one entry, against arbitrary precision below), and only there.
    direction = torch.nn.functional.normalize(x)
    parallel = (direction @ direction.T > 0.999999).numpy()
    tolerance = np.where(parallel, 2e-8, 1e-9) * np.abs(expected) + 1e-12
    for ours in (kernel(x), kernel(x, x), gram(kernel, x)):
        assert (np.abs(ours.numpy() - expected) <= tolerance).all()
    assert (np.abs(kernel.diag(x).numpy() - np.diagonal(expected)) <= np.diagonal(tolerance)).all()


def exact_relu(a, b, depth, weight_var, bias_var):
    with mp.workdps(40):
        weight_var, bias_var = mpf(weight_var), mpf(bias_var)
        k, q1, q2 = (
            sum(mpf(p) * mpf(q) for p, q in zip(u, v, strict=True)) / len(a) * weight_var + bias_var
            for u, v in ((a, b), (a, a), (b, b))
        )
        tangent = k
        for _ in range(depth):
            angle = mp.acos(min(k / mp.sqrt(q1 * q2), mpf(1)))
            k, slope = (
                weight_var * mp.sqrt(q1 * q2) * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / (2 * mp.pi)
                + bias_var,
                weight_var * (mp.pi - angle) / (2 * mp.pi),
            )
            q1, q2 = weight_var * q1 / 2 + bias_var, weight_var * q2 / 2 + bias_var
            tangent = k + slope * tangent
        return float(tangent)


def test_relu_is_exact_for_parallel_inputs_too():
    x = np.random.default_rng(0).normal(size=(4, 24))
    x[1], x[2] = 3 * x[0], -x[0]
    exact = [[exact_relu(a, b, 3, 2.0, 0.1) for b in x.tolist()] for a in x.tolist()]
    np.testing.assert_allclose(mlp()(torch.as_tensor(x)), exact, rtol=1e-12)


def sampled_kernel(x, depth, act, weight_var, bias_var, width, seeds):
    """The empirical kernel of finite networks in NTK parameterisation, averaged over their initial weights."""
    total = torch.zeros(len(x), len(x), dtype=x.dtype)
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        sizes = [x.shape[1], *[width] * depth, 1]
        weights = [torch.randn(o, i, generator=generator, dtype=x.dtype) for i, o in itertools.pairwise(sizes)]
        biases = [torch.randn(o, generator=generator, dtype=x.dtype) for o in sizes[1:]]

        def forward(parameters, one):
            h = one
            for layer, (w, b) in enumerate(zip(*parameters, strict=True)):
                h = (weight_var / len(h)) ** 0.5 * (w @ h) + bias_var**0.5 * b
                h = act(h) if layer < depth else h
            return h[0]

        jacobian = torch.func.vmap(torch.func.grad(forward), (None, 0))((weights, biases), x)
        total += sum(j.flatten(1) @ j.flatten(1).T for part in jacobian for j in part) / seeds
    return total


@pytest.mark.parametrize(
    ("name", "act"),
    [("relu", torch.relu), ("erf", torch.erf), ("gelu", torch.nn.functional.gelu), ("identity", lambda h: h)],
)
def test_agrees_with_sampled_wide_networks(name, act):
    x = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sampled = sampled_kernel(x, 2, act, 1.7, 0.3, width=256, seeds=40)
    exact = mlp(depth=2, activation=name, weight_var=1.7, bias_var=0.3)(x)
    assert (sampled - exact).abs().max() < 0.05 * exact.max()
    assert (sampled - mlp(depth=1, activation=name, weight_var=1.7, bias_var=0.3)(x)).abs().max() > 0.1 * exact.max()


@given(
    n=st.integers(1, 7),
    m=st.integers(1, 7),
    depth=st.integers(0, 4),
    name=st.sampled_from(["relu", "erf", "gelu", "identity"]),
)
@settings(max_examples=40, deadline=None)
def test_is_symmetric_positive_semi_definite_and_a_function_of_pairs(n, m, depth, name):
    generator = torch.Generator().manual_seed(n * 100 + m)
    x, z = (torch.randn(k, 3, dtype=torch.float64, generator=generator) for k in (n, m))
    kernel = mlp(depth=depth, activation=name)
    both = kernel(torch.cat([x, z]))
    torch.testing.assert_close(both, both.T, rtol=0, atol=0)
    torch.testing.assert_close(both[:n, n:], kernel(x, z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(both.diagonal(), kernel.diag(torch.cat([x, z])), rtol=1e-12, atol=1e-12)
    assert torch.linalg.eigvalsh(both).min() > -1e-9 * both.max()


def test_blocks_do_not_show(monkeypatch):
    x = torch.randn(23, 4, dtype=torch.float64)
    whole, cross = mlp()(x), mlp()(x, x[:9])
    monkeypatch.setattr(module, "_BLOCK", 5)
    torch.testing.assert_close(mlp()(x), whole, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mlp()(x, x[:9]), cross, rtol=1e-13, atol=1e-13)


def test_float32_is_float64_rounded():
    x = torch.randn(40, 30, dtype=torch.float64)
    torch.testing.assert_close(mlp()(x.float()).double(), mlp()(x), rtol=2e-4, atol=2e-4)


def test_images_are_flattened_and_inputs_kept():
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    before = x.clone()
    torch.testing.assert_close(mlp()(x), mlp()(x.flatten(1)))
    torch.testing.assert_close(x, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cat", "The student 'cat' is not known; choose one of mlp"),
        ("mpl", "(did you mean mlp?)"),
        ("mlp:depth", "cannot be read at 'depth'; expected mlp:name=value"),
        ("mlp:deth=3", "(did you mean depth?)"),
        ("mlp:depth=three", "depth is 'three'; expected a whole number"),
        ("mlp:bias_var=x", "bias_var is 'x'; expected a number"),
        ("mlp:activation=rely", "choose one of relu, erf, gelu, identity (did you mean relu?)"),
        ("mlp:depth=-1", "lies in 0 … 1000; it was -1"),
        ("mlp:weight_var=0", "weight_var is positive"),
        ("mlp:width=512", "A closed form has infinite width; 512 was given"),
        ("mlp:width=wide", "width is 'wide'; expected inf"),
    ],
)
def test_a_spec_that_cannot_be_read_is_said_in_a_sentence(spec, message):
    with pytest.raises(StudentError) as caught:
        student(spec)
    assert message in str(caught.value)


def test_a_spec_is_read_back_from_itself():
    kernel = student("mlp:depth=2,activation=erf,weight_var=1.5,bias_var=0.05,width=inf")
    assert kernel == mlp(depth=2, activation="erf", weight_var=1.5, bias_var=0.05)
    assert student(kernel.spec) == kernel
