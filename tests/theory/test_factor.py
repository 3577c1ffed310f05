import warnings

import pytest
import torch
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import problem
from tolerances import assert_close
from tutelage.exceptions import NumericsError
from tutelage.solve import Workers, tiled_factor
from tutelage.solve import tiled as tiles
from tutelage.theory import factor as module
from tutelage.theory.factor import (
    coefficients,
    factor,
    gram_matrices,
    inner_products,
    inverse_diagonal,
    leave_one_out,
    one_step_ahead,
    pool_predictions,
    predictions,
    reordered,
    solve,
    squared_norms,
    walk,
    walk_in_parts,
)

SIZES = [1, 2, 7, 20, 33, 40]


@pytest.fixture(scope="module")
def cluster():
    with (
        warnings.catch_warnings(action="ignore"),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as running,
        Client(running, set_as_default=False) as client,
    ):
        yield client


def tiled(chunk, client):
    """Factor a matrix that is there, as if it were a kernel of sample numbers."""

    def make(theta):
        def look_up(rows, columns=None):
            rows, columns = (v.long() for v in (rows, rows if columns is None else columns))
            return theta[rows][:, columns].clone()

        numbers = torch.arange(len(theta), dtype=theta.dtype)
        return tiled_factor(
            look_up, numbers, theta.diagonal(), chunk=chunk, workers=Workers(client)
        )

    return make


PATHS = [
    "dense, many blocks",
    "dense, one block",
    "Dask's threads",
    "Dask's threads, one tile",
    "a cluster",
]


@pytest.fixture(params=PATHS)
def factored_by(request, monkeypatch):
    """The dense factor, and the one in tiles on threads and on a cluster of two processes."""
    if request.param.startswith("dense"):
        monkeypatch.setattr(module, "_BLOCK", 3 if "many" in request.param else 512)
        return factor
    client = request.getfixturevalue("cluster") if "cluster" in request.param else None
    if "one" not in request.param:
        monkeypatch.setattr(
            tiles, "COLUMNS", 3
        )  # neither a tile's width nor that of the right-hand sides
    return tiled(64 if "one" in request.param else 7, client)


def refit(p, jitter, n, rows=None):
    """The student of some samples, solved for on its own."""
    rows = torch.arange(n) if rows is None else rows
    theta = p.theta[rows][:, rows] + jitter * torch.eye(len(rows), dtype=p.theta.dtype)
    return torch.linalg.solve(theta, p.targets[rows])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_size_agrees_with_a_refit(dtype, factored_by):
    p = problem(dtype=dtype)
    factored = factored_by(p.theta)
    u, v = solve(factored, p.targets), solve(factored, p.cross)
    norms = squared_norms(u, SIZES)
    for k, (n, mean, variance) in enumerate(predictions(u, v, p.prior, SIZES)):
        weights = refit(p, factored.jitter, n)
        theta = p.theta[:n, :n] + factored.jitter * torch.eye(n, dtype=dtype)
        assert_close(mean, p.cross[:n].T @ weights)
        assert_close(norms[k], (p.targets[:n] * weights).sum(0))
        assert_close(
            variance, p.prior - (p.cross[:n] * torch.linalg.solve(theta, p.cross[:n])).sum(0)
        )


def test_inner_products_and_gram_matrices_are_those_of_the_weights(factored_by):
    p = problem(columns=4)
    factored = factored_by(p.theta)
    u = solve(factored, p.targets)
    grams = gram_matrices(u.reshape(-1, 2, 2), SIZES)
    for k, n in enumerate(SIZES):
        exact = p.targets[:n].T @ refit(p, factored.jitter, n)
        assert_close(inner_products(u[:, :2], u[:, 2:], SIZES)[k], exact.diagonal(2))
        assert_close(grams[k, 0], exact[:2, :2])
        assert_close(grams[k, 1], exact[2:, 2:])


def test_one_step_ahead_and_leave_one_out_agree_with_refits(factored_by):
    p = problem(n=25)
    factored = factored_by(p.theta)
    u = solve(factored, p.targets)
    ahead = one_step_ahead(factored, u, p.targets)
    weights = coefficients(factored, u)
    diagonal = inverse_diagonal(factored)
    out = leave_one_out(weights, diagonal, p.targets)
    jittered = p.theta + factored.jitter * torch.eye(25, dtype=torch.float64)
    assert_close(weights, torch.linalg.solve(jittered, p.targets))
    assert_close(diagonal, torch.linalg.inv(jittered).diagonal())
    assert_close(ahead[0], torch.zeros(3, dtype=torch.float64))
    for i in range(1, 25):
        assert_close(ahead[i], p.theta[i, :i] @ refit(p, factored.jitter, i))
    for i in range(25):
        others = torch.arange(25) != i
        assert_close(
            out[i], p.theta[i, others] @ refit(p, factored.jitter, 24, others.nonzero()[:, 0])
        )


def test_factoring_in_place_makes_no_second_matrix_and_keeps_the_upper_triangle():
    p = problem()
    kernel = p.theta.clone()
    factored = factor(kernel, overwrite=True)
    assert factored.lower.data_ptr() == kernel.data_ptr()
    assert_close(kernel.triu(1), p.theta.triu(1))
    assert_close(
        kernel.tril() @ kernel.tril().T,
        p.theta + factored.jitter * torch.eye(40, dtype=torch.float64),
    )
    assert_close(factor(p.theta).lower.tril(), kernel.tril())


def lower_of(factored):
    return torch.cat([columns for _, columns in factored.columns(0, len(factored))], 1).tril()


def test_the_jitter_is_the_smallest_decade_that_succeeds(factored_by):
    p = problem(n=12)
    assert factored_by(p.theta).relative_jitter == 1e-10
    shifted = p.theta - (
        torch.linalg.eigvalsh(p.theta).min() + 1e-6 * p.theta.diagonal().mean()
    ) * torch.eye(12)
    factored = factored_by(shifted)
    assert factored.relative_jitter == pytest.approx(1e-5)
    assert factored.jitter == pytest.approx(1e-5 * shifted.diagonal().mean().item())
    lower = lower_of(factored)
    assert_close(lower @ lower.T, shifted + factored.jitter * torch.eye(12))
    assert_close(lower.diagonal(), factored.diagonal)


def test_leading_samples_have_a_factor_of_their_own(factored_by):
    p = problem(n=25)
    whole = factored_by(p.theta)
    for n in (1, 7, 14, 20, 25):
        own, leading = factor(p.theta[:n, :n]), whole.leading(n)
        assert_close(solve(leading, p.targets[:n]), solve(own, p.targets[:n]))
        assert_close(coefficients(leading, p.targets[:n]), coefficients(own, p.targets[:n]))
        assert leading.redundant == own.redundant == 0


def test_the_pool_is_predicted_as_other_inputs_are(factored_by):
    p = problem(n=25)
    factored = factored_by(p.theta)
    u, v = solve(factored, p.targets), solve(factored, p.theta)
    whole = predictions(u, v, p.theta.diagonal(), [3, 8, 20])
    for (n, mean, variance), (_, other, rest) in zip(
        pool_predictions(factored, u, p.theta.diagonal(), [3, 8, 20]), whole, strict=True
    ):
        assert_close(mean[n:], other[n:])
        assert_close(variance[n:], rest[n:])


def test_test_inputs_may_come_in_parts(factored_by):
    p = problem(n=25, m=11)
    factored, sizes = factored_by(p.theta), [3, 8, 25]
    u = solve(factored, p.targets)
    whole = walk(factored, u, solve(factored, p.cross), p.prior, sizes)
    parts = walk_in_parts(
        factored, u, lambda: (part.clone() for part in p.cross.split(4, 1)), p.prior, sizes
    )
    learned = torch.randn(8, 3, dtype=p.theta.dtype)
    assert_close(parts.interpolate(8, learned), whole.interpolate(8, learned))
    expected = p.cross[:8].mT @ torch.linalg.solve(p.theta[:8, :8], learned)
    assert_close(whole.interpolate(8, learned), expected)
    assert_close(parts.last, whole.last)
    for (n, mean, variance), (k, other, rest) in zip(parts.sizes, whole.sizes, strict=True):
        assert n == k
        assert_close(mean, other)
        assert_close(variance, rest)


def test_another_order_is_the_same_kernel():
    p, order = problem(), torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(reordered(p.theta, order), p.theta[order][:, order])


def test_a_kernel_that_cannot_be_factored_is_said(factored_by):
    with pytest.raises(
        NumericsError, match=r"not positive definite, even with 0\.01 of its mean diagonal"
    ):
        factored_by(torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64))
    with pytest.raises(NumericsError, match="NaN or infinite"):
        factored_by(torch.tensor([[float("nan"), 0.0], [0.0, 1.0]]))


@given(n=st.integers(2, 30), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_norms_grow_and_the_power_function_falls(n, seed):
    p = problem(n=n, m=5, seed=seed)
    factored = factor(p.theta)
    u, v = solve(factored, p.targets), solve(factored, p.cross)
    sizes = list(range(1, n + 1))
    assert (squared_norms(u, sizes).diff(dim=0) >= 0).all()
    variances = torch.stack(
        [variance.clone() for _, _, variance in predictions(u, v, p.prior, sizes)]
    )
    assert (variances.diff(dim=0) <= 1e-12).all()
    assert (variances >= 0).all()
