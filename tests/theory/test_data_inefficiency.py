import numpy as np
import pytest
import torch

from problems import problem
from tolerances import assert_close
from tutelage.kernels import mlp
from tutelage.theory.data_inefficiency import fresh_sample, leave_one_out, log_cosine_from, slope
from tutelage.theory.factor import (
    coefficients,
    factor,
    inverse_diagonal,
    predictions,
    solve,
    squared_norms,
)


def test_a_fresh_sample_grows_the_norm_as_a_refit_with_it_does():
    p = problem(n=20, m=8, columns=2)
    factored = factor(p.theta)
    u, v = solve(factored, p.targets), solve(factored, p.cross)
    [(_, mean, variance)] = predictions(u, v, p.prior, [20])
    fresh = torch.randn(8, 2, dtype=torch.float64)
    grown = []
    for x in range(8):
        theta = torch.cat(
            [
                torch.cat([p.theta, p.cross[:, x : x + 1]], 1),
                torch.cat([p.cross[:, x], p.prior[x : x + 1]])[None],
            ]
        )
        z = torch.cat([p.targets, fresh[x : x + 1]])
        theta = theta + factored.jitter * torch.eye(21, dtype=torch.float64)
        grown.append((z * torch.linalg.solve(theta, z)).sum().sqrt())
    norm = squared_norms(u, [20]).sum()
    expected = 20 * (torch.stack(grown).mean().log() - norm.sqrt().log())
    estimate, error = fresh_sample(norm, fresh - mean, variance, factored.jitter, 20)
    assert_close(estimate, expected)
    assert 0 < error < estimate


def test_leaving_one_out_shrinks_the_norm_as_a_refit_without_it_does():
    p = problem(n=15, columns=2)
    factored = factor(p.theta)
    u = solve(factored, p.targets)
    shrunk = []
    for i in range(15):
        keep = torch.arange(15) != i
        theta = p.theta[keep][:, keep] + factored.jitter * torch.eye(14, dtype=torch.float64)
        shrunk.append((p.targets[keep] * torch.linalg.solve(theta, p.targets[keep])).sum().sqrt())
    norm = u.square().sum()
    estimate, _ = leave_one_out(norm, coefficients(factored, u), inverse_diagonal(factored), len(u))
    assert_close(estimate, 15 * (norm.sqrt().log() - torch.stack(shrunk).mean().log()))


@pytest.mark.parametrize("estimator", ["fresh sample", "leave one out", "slope"])
def test_standard_errors_are_those_of_repeated_draws(estimator):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(300, 40, 1, generator=generator, dtype=torch.float64)
    found = []
    for values in drawn:
        one, norm = torch.ones(40, dtype=torch.float64), torch.tensor(9.0, dtype=torch.float64)
        if estimator == "fresh sample":
            found.append([v.item() for v in fresh_sample(norm, values, one, 0.0, 50)])
        elif estimator == "leave one out":
            found.append([v.item() for v in leave_one_out(norm, values.tanh(), one, 50)])
        else:
            norms = (1 + 0.1 * values[:, 0].numpy()).reshape(20, 2) * [1, 2]
            found.append([v[1] for v in slope(norms, np.array([50, 100]))])
    estimates, errors = np.array(found).T
    assert errors.mean() == pytest.approx(estimates.std(), rel=0.12)


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5])
def test_norms_that_grow_as_a_power_have_it_as_inefficiency(power):
    n = np.array([16, 32, 64, 128])
    norms = np.stack([n ** (2 * power), 4 * n ** (2 * power)])
    estimate, error = slope(norms, n)
    np.testing.assert_allclose(estimate[1:], power, atol=1e-12)
    np.testing.assert_allclose(error[1:], 0, atol=1e-12)


def test_noise_has_an_inefficiency_of_one_half_and_a_linear_truth_of_none():
    p = problem(n=400, m=100, columns=1, features=20, kernel=mlp(depth=0, bias_var=0.0))
    theta = (
        p.theta + torch.eye(400, dtype=torch.float64) * 10
    )  # wide noise kernel: every sample is its own feature
    factored = factor(theta)
    noise = squared_norms(solve(factored, p.targets), [100, 200, 400]).sum(1)
    estimate, _ = slope(noise[None].numpy(), np.array([100, 200, 400]))
    assert estimate[-1] == pytest.approx(0.5, abs=0.05)
    linear = squared_norms(solve(factor(p.theta), p.pool[:, :1]), [100, 200, 400]).sum(1)
    learned, _ = slope(linear[None].numpy(), np.array([100, 200, 400]))
    assert learned[-1] < 0.01


def test_both_estimators_agree():
    norms, fresh = [], []
    sizes = [90, 110]
    for seed in range(30):
        p = problem(n=110, m=60, seed=seed, columns=1)
        targets, at_test = p.pool[:, :1].sin(), p.test[:, :1].sin()
        factored = factor(p.theta)
        u, v = solve(factored, targets), solve(factored, p.cross)
        norms.append(squared_norms(u, sizes).sum(1).numpy())
        _, mean, variance = next(iter(predictions(u, v, p.prior, [100])))
        n = squared_norms(u, [100]).sum()
        fresh.append(fresh_sample(n, at_test - mean, variance, factored.jitter, 100)[0].item())
    windows, error = slope(np.stack(norms), np.array(sizes))
    spread = np.std(fresh) / 30**0.5
    assert windows[-1] == pytest.approx(np.mean(fresh), abs=4 * np.hypot(error[-1], spread))
    assert np.mean(fresh) > 4 * spread  # neither agrees with zero


def test_the_inefficiencies_ahead_give_the_angle_to_the_oracle():
    p = problem(n=64)
    sizes = np.array([4, 8, 16, 32, 64])
    norms = squared_norms(solve(factor(p.theta), p.targets), sizes.tolist()).sum(1).numpy()
    windows, _ = slope(norms[None], sizes)
    np.testing.assert_allclose(
        log_cosine_from(windows, sizes), 0.5 * np.log(norms / norms[-1]), rtol=1e-10, atol=1e-14
    )
