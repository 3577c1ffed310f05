import numpy as np
import pytest
import torch

import tutelage as tu
from tolerances import assert_close
from tutelage.theory import factor as f
from tutelage.theory.copies import Copies

KERNEL = tu.kernels.mlp(depth=2)


def pool(n=40, features=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, features, dtype=torch.float64, generator=generator)
    return x, torch.randn(n, 3, dtype=torch.float64, generator=generator)


def left_out(x, z, copies):
    factored = f.factor(KERNEL(x))
    weights = f.coefficients(factored, f.solve(factored, z))
    weights, inverse, targets = copies.left_out(factored, weights, f.inverse_diagonal(factored), z)
    return f.leave_one_out(weights, inverse, targets), 1 / inverse


@pytest.mark.parametrize("group", [[0, 0, 1, 2], [0, 1, 0, 0], [0, 1, 2, 3]])
def test_left_out_with_its_copies_is_a_refit_without_them(group):
    x, z = pool(20)
    x[:4] = x[torch.tensor(group)]
    predicted, variance = left_out(
        x, z, Copies(torch.cat([torch.tensor(group), torch.arange(4, 20)]))
    )
    for i in (0, 1, 2, 3, 9):
        others = [k for k in range(20) if not torch.equal(x[k], x[i])]
        refit = f.factor(KERNEL(x[others]))
        between = f.solve(refit, KERNEL(x[others], x[i : i + 1]))
        assert_close(predicted[i], (between.mT @ f.solve(refit, z[others]))[0], loosen=1e4)
        expected = KERNEL.diag(x[i : i + 1])[0] - between.square().sum()
        torch.testing.assert_close(variance[i], expected, rtol=1e-5, atol=1e-8)


def test_a_pool_that_is_there_twice_is_as_good_as_once():
    x, z = pool()
    once, _ = left_out(x, z, Copies.none(40))
    twice, _ = left_out(torch.cat([x, x]), torch.cat([z, z]), Copies(torch.arange(40).repeat(2)))
    torch.testing.assert_close(twice, torch.cat([once, once]), rtol=1e-5, atol=1e-5)


def found(x, exact=None, kernel=KERNEL):
    theta = kernel(x)
    exact = torch.arange(len(x)) if exact is None else exact
    return Copies.found(exact, f.factor(theta), theta.diagonal(), lambda part: kernel(x[part], x))


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-6, 1e-4])
def test_near_copies_are_found(noise):
    x, _ = pool()
    copied = x[:7] + noise * torch.randn(7, 6, dtype=torch.float64)
    assert found(torch.cat([x, copied])).origin.tolist() == [*range(40), *range(7)]


def test_copies_of_copies_are_one_group_in_every_ordering():
    x, _ = pool()
    x = torch.cat([x, x[:3], x[:3] + 1e-6, x[:1]])
    exact = torch.tensor([*range(40), 0, 1, 2, 43, 44, 45, 0])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    copies = found(x[order], exact[order]).reordered(torch.argsort(order))
    assert copies.origin.tolist() == [*range(40), 0, 1, 2, 0, 1, 2, 0]
    assert copies.first.tolist() == [True] * 40 + [False] * 7


@pytest.mark.parametrize("kernel", [KERNEL, tu.kernels.mlp(depth=1, activation="erf")])
@pytest.mark.parametrize("features", [1, 2])
def test_what_lies_dense_is_no_copy(kernel, features):
    x, _ = pool(600, features)
    assert (~found(x, kernel=kernel).first).sum() <= 0.01 * 600


def task_of(x, z, y, **test):
    return tu.Task(x_train=x, teacher_logits_train=z, y_train=y, **test)


def test_copies_do_not_leak_into_errors_from_the_pool():
    """Every sample twice: the pool tells what it told of one of each, and not that all is known."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 5))
    z = 3 * x[:, :3]
    y = np.where(rng.random(120) < 0.3, rng.integers(0, 3, 120), z.argmax(1))
    grid = {"soft_ratio": [0.1, 1.0], "temperature": [1.0], "sizes": [40, 100], "orderings": 3}
    once = tu.curves(task_of(x, z, y), KERNEL, **grid)
    grid["sizes"] = [80, 200]
    twice_task = task_of(*(np.concatenate([a, a]) for a in (x, z, y)))
    twice = tu.curves(twice_task, KERNEL, **grid)
    np.testing.assert_allclose(twice.error_loo, once.error_loo, atol=1e-12)
    np.testing.assert_allclose(twice.error.isel(n=-1), once.error.isel(n=-1), atol=1e-12)
    assert once.error_loo.min() > 0.15
    assert twice.error.isel(n=[0, -1]).min() > 0.15
    assert twice.error_prequential.mean("ordering").min() > 0.15
    for n, evaluated in zip(twice.n.values, twice.evaluated.values, strict=True):
        seen = [np.random.default_rng([0, r]).permutation(240)[: n % 240] % 120 for r in range(3)]
        assert evaluated == round(sum(120 - len(np.unique(s)) for s in seen) / 3)
    plan, plain = tu.plan(twice_task, curves=twice), tu.plan(task_of(x, z, y), curves=once)
    assert plan.recommended.error == pytest.approx(plain.recommended.error)
    assert plan.recommended.error_se == pytest.approx(plain.recommended.error_se)
    assert any("120 of 240 pool samples are copies of others" in w for w in plan.warnings)
    assert not any("no such student fits them all" in w for w in plan.warnings)


def test_near_copies_are_found_whatever_the_ordering():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)) * np.linspace(0.5, 2, 60)[:, None]  # of different lengths
    x = np.concatenate([x, x[:30] + 1e-6 * rng.normal(size=(30, 5))])
    task = task_of(x, 3 * x[:, :3], x[:, :3].argmax(1))
    for seed in range(3):
        found = tu.curves(
            task, KERNEL, soft_ratio=[0.5], temperature=[1.0], sizes=[60], orderings=3, seed=seed
        )
        assert found.copy_of.values.tolist() == [*range(60), *range(30)]


def test_a_pool_of_one_input_and_its_copies_ends_in_numbers_or_in_nothing():
    x = np.repeat(np.eye(3), 8, 0)
    y = np.repeat([0, 1, 1], 8)
    task = task_of(x, 2 * x[:, 0] - x[:, 1], y)
    curves = tu.curves(
        task, KERNEL, soft_ratio=[0.5, 1.0], temperature=[1.0], sizes=[4, 12], orderings=2
    )
    plan = tu.plan(task, curves=curves)
    assert plan.recommended.error is not None
    assert plan.to_json()


def test_a_network_leaves_copies_out_together():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    z = 3 * x[:, :3]
    y = np.where(rng.random(60) < 0.4, rng.integers(0, 3, 60), z.argmax(1))
    task = task_of(*(np.concatenate([a, a]) for a in (x, z, y)))
    student = tu.lab.student("mlp:width=32,depth=1", linearise="init")
    curves = tu.curves(
        task, student, soft_ratio=[0.05, 1.0], temperature=[1.0], sizes=[60], orderings=2
    )
    assert curves.error_loo.min() > 0.2
    assert curves.error.isel(n=-1).min() > 0.2
    assert (curves.copy_of.values == np.tile(np.arange(60), 2)).all()
    assert curves.evaluated.values[-1] < 60


def test_what_a_start_has_seen_a_copy_of_it_does_not_tell_left_out():
    rng = np.random.default_rng(0)
    x = np.tile(rng.normal(size=(40, 5)), (2, 1))
    task = task_of(x, 3 * x[:, :3], x[:, :3].argmax(1))
    student = tu.lab.student("mlp:width=16,depth=1", linearise="init")
    curves = tu.curves(
        task, student, soft_ratio=[0.5, 1.0], temperature=[1.0], sizes=[80], orderings=1, seed=3
    )
    seen = np.random.default_rng([3, 0]).permutation(80)[:20] % 40
    expected = np.isin(np.arange(80) % 40, seen)
    assert 0 < expected.sum() < 80
    assert ((curves.decision_loo.values < 0) == expected[None, None]).all()
    known = np.flatnonzero(~expected[:40])  # each input counts once
    wrong = curves.decision_loo.values[..., known] != task.y_train[known]
    np.testing.assert_allclose(curves.error_loo, wrong.mean(-1))
