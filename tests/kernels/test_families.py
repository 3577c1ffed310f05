"""The ready-made students, against neural-tangents, arbitrary precision and themselves; and as
SPECs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from tutelage import kernels
from tutelage.exceptions import StudentError
from tutelage.kernels import cnn, gram, mlp, resmlp, resnet
from tutelage.students import student

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference"
CASES = [
    "mlp-relu-d1",
    "mlp-relu-d3",
    "mlp-relu-d5-nobias",
    "mlp-erf-d1",
    "mlp-erf-d3",
    "mlp-gelu-d1",
    "mlp-gelu-d3",
    "resmlp-relu-b3",
    "cnn-relu-d3-flatten",
    "cnn-relu-d2-gap",
    "cnn-relu-d2-valid-flatten",
    "cnn-relu-d2-avgpool2-gap",
    "resnet-relu-b2-flatten",
]


@pytest.mark.skipif(
    not REFERENCE.exists(), reason="the reference kernels lie outside the repository"
)
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_neural_tangents(case):
    arrays = np.load(REFERENCE / "ntk.npz")
    arguments = json.loads((REFERENCE / "ntk.json").read_text())[case]
    family = arguments.pop("family")
    kernel, images = getattr(kernels, family)(**arguments), family in ("cnn", "resnet")
    x = torch.as_tensor(arrays["images" if images else "vectors"])
    x = x.movedim(-1, 1) if images else x  # the reference has channels last
    # Of parallel inputs the reference takes the arc tangent of a rounding error: it is off by up to
    # its square root there (4e-9 in one entry, against arbitrary precision below), and only there.
    direction = torch.nn.functional.normalize(x.flatten(1))
    parallel = (direction @ direction.T > 0.999999).numpy()
    for name, found in (
        ("ntk", (kernel(x), kernel(x, x), gram(kernel, x))),
        ("nngp", (kernel.nngp(x), kernel.nngp(x, x))),
    ):
        expected = arrays[f"{case}/{name}"]
        tolerance = np.where(parallel, 2e-8, 1e-9) * np.abs(expected) + 1e-12
        for ours in found:
            assert (np.abs(ours.numpy() - expected) <= tolerance).all()
        if name == "ntk":
            assert (
                np.abs(kernel.diag(x).numpy() - np.diagonal(expected)) <= np.diagonal(tolerance)
            ).all()


def test_every_case_of_the_reference_is_tested():
    if REFERENCE.exists():
        assert set(json.loads((REFERENCE / "ntk.json").read_text())) == set(CASES)


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
                weight_var
                * mp.sqrt(q1 * q2)
                * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle))
                / (2 * mp.pi)
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


def test_images_are_flattened_for_a_dense_student_and_inputs_kept():
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    before = x.clone()
    for kernel in (mlp(), resmlp()):
        torch.testing.assert_close(kernel(x), kernel(x.flatten(1)))
    cnn()(x)
    torch.testing.assert_close(x, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "kernel", [mlp(), resmlp(), cnn(), cnn(depth=2, head="global_avg_pool"), resnet()]
)
def test_float32_is_float64_rounded(kernel):
    x = torch.randn(20, 1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kernel(x.float()).double(), kernel(x), rtol=2e-4, atol=2e-4)


def test_one_pixel_is_a_dense_network():
    """With 1 × 1 images and windows, convolutions are dense layers."""
    x = torch.randn(5, 7, 1, 1, dtype=torch.float64)
    for head in ("flatten", "global_avg_pool"):
        torch.testing.assert_close(
            cnn(depth=2, kernel_size=1, head=head)(x), mlp(depth=2)(x), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "cat",
            (
                "The student 'cat' is not known; choose one of mlp, resmlp, cnn, resnet, hf:FOLDER"
                " or package"
            ),
        ),
        ("mpl", "(did you mean mlp?)"),
        ("mlp:depth", "cannot be read at 'depth'; expected mlp:name=value"),
        ("mlp:deth=3", "(did you mean depth?)"),
        ("mlp:depth=3,depth=4", "gives depth twice"),
        ("mlp:depth=three", "depth is 'three'; expected a whole number"),
        ("mlp:bias_var=x", "bias_var is 'x'; expected a number"),
        (
            "mlp:activation=rely",
            (
                "choose one of relu, leaky_relu, abs, erf, gelu, sin, identity, gaussian, rbf (did"
                " you mean relu?)"
            ),
        ),
        ("mlp:depth=-1", "An MLP's depth lies in 0 … 1000; it was -1"),
        ("cnn:depth=0", "A CNN's depth lies in 1 … 1000; it was 0"),
        (
            "mlp:weight_var=0",
            (
                "A dense layer's weight_var is positive and its bias_var at least 0, both finite;"
                " they were 0 and 0.1"
            ),
        ),
        ("cnn:bias_var=inf", "A convolution's weight_var is positive"),
        (
            "cnn:padding=reflect",
            "A convolution's padding is one of same, valid, circular; it was 'reflect'",
        ),
        ("cnn:kernel_size=0", "whole numbers of 1 or more; they were 0 and 1"),
        ("cnn:avg_pool=0", "A pooling window is a whole number of 1 or more; it was 0"),
        ("cnn:head=gap", "The head is 'gap'; expected one of flatten, global_avg_pool"),
        ("resnet:stride=2", "The student resnet takes no 'stride'"),
        ("resmlp:width=512", "A resmlp is known in infinite width only; width=512 was given"),
        ("mlp:width=wide", "width is 'wide'; expected a whole number, or inf"),
    ],
)
def test_a_spec_that_cannot_be_read_is_said_in_a_sentence(spec, message):
    with pytest.raises(StudentError) as caught:
        student(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            "mlp:depth=2,activation=erf,weight_var=1.5",
            mlp(depth=2, activation="erf", weight_var=1.5),
        ),
        ("resmlp:blocks=1,bias_var=0", resmlp(blocks=1, bias_var=0.0)),
        ("cnn:depth=2,padding=valid,stride=2", cnn(depth=2, padding="valid", stride=2)),
        ("cnn:avg_pool=2,head=global_avg_pool", cnn(avg_pool=2, head="global_avg_pool")),
        (
            "resnet:blocks=1,kernel_size=5,activation=gelu",
            resnet(blocks=1, kernel_size=5, activation="gelu"),
        ),
    ],
)
def test_a_spec_is_read_back_from_itself(spec, expected):
    kernel = student(spec)
    assert kernel == expected
    assert kernel.spec.endswith("width=inf")
    assert student(kernel.spec) == kernel
