import pytest
import torch

import tutelage as tu
from problems import problem
from tolerances import assert_close
from tutelage.exceptions import NumericsError
from tutelage.lab import DistillationLoss
from tutelage.theory import finite_time
from tutelage.theory.factor import factor, solve, solver
from tutelage.theory.finite_time import Losses, Path

SETTINGS = [(0.05, 1.0), (0.5, 4.0), (1.0, 2.0)]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Converge further than a plan needs."""
    monkeypatch.setattr(finite_time, "_TOLERANCE", 1e-10)


def given(
    classes, *, n=30, t_power=2, seed=0, settings=SETTINGS, labelled=True, dtype=torch.float64
):
    made, generator = (
        problem(n=n, columns=classes, seed=seed, dtype=dtype),
        torch.Generator().manual_seed(seed),
    )
    teacher = 3 * made.targets
    labels = torch.randint(0, max(2, classes), (n,), generator=generator) if labelled else None
    if labelled == "some":
        labels[::3] = -100
    start = torch.randn(n, classes, generator=generator, dtype=torch.float64).to(dtype)
    rho, t = torch.tensor(settings, dtype=torch.float64).T
    return made.theta, teacher, labels, start, Losses.of(teacher[:, None], labels, rho, t, t_power)


def trained(theta, losses, start, time, n=None):
    """(n, K, C)."""
    return path(theta, losses, start, time / len(theta)).learned(n or len(theta)).mT


def path(theta, losses, start, time_per_sample, kept=None):
    def ridged(kappa, dtype):
        added = theta.to(dtype, copy=True)
        added.diagonal().add_(kappa)
        if kept is not None:
            kept.append(added)
        return solver(factor(added, overwrite=True))

    return Path.of(ridged, theta.diagonal(), losses, start, time_per_sample)


@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("t_power", [0, 2])
@pytest.mark.parametrize("time", [3.0, 300.0])
@pytest.mark.parametrize("labelled", [True, "some"])
def test_the_student_is_the_minimum_of_8_1(classes, t_power, time, labelled):
    """The gradient of (8.1), written with the loss that students are trained with, vanishes
    there."""
    theta, teacher, labels, start, losses = given(classes, t_power=t_power, labelled=labelled)
    learned, lower = trained(theta, losses, start, time), torch.linalg.cholesky(theta)
    for k, (rho, t) in enumerate(SETTINGS):
        beta = torch.linalg.solve_triangular(lower, learned[:, k], upper=False).requires_grad_(True)
        loss = DistillationLoss(rho, t, t_power)
        objective = loss(start + lower @ beta, teacher, labels) + beta.square().sum() / (2 * time)
        [gradient] = torch.autograd.grad(objective, beta)
        [at_start] = torch.autograd.grad(loss(start + lower @ beta, teacher, labels), beta)
        assert gradient.norm() < 1e-6 * at_start.norm() + 1e-10


@pytest.mark.parametrize("classes", [1, 3])
def test_a_long_training_ends_at_the_effective_logits(classes):
    theta, teacher, labels, start, losses = given(classes, settings=[(0.5, 2.0)])
    if classes > 1:
        start = start - start.mean(1, keepdim=True)
    z_t, z_0 = (teacher[:, 0], start[:, 0]) if classes == 1 else (teacher, start)
    target = tu.effective_logits(z_t, labels, soft_ratio=0.5, temperature=2.0)
    found = trained(theta, losses, start, 1e8)[:, 0]
    torch.testing.assert_close(
        z_0 + (found[:, 0] if classes == 1 else found), target, rtol=1e-3, atol=1e-3
    )


def test_a_short_training_is_a_step_down_the_gradient():
    theta, _, _, start, losses = given(3)
    time = 1e-4
    step = (
        -time / len(theta) * torch.einsum("ij,jck->ikc", theta, losses.gradient(start[..., None]))
    )
    torch.testing.assert_close(trained(theta, losses, start, time), step, rtol=1e-2, atol=1e-7)


def test_leading_samples_are_a_problem_of_their_own():
    theta, _, _, start, losses = given(3, n=40)
    alone = trained(theta[:25, :25], losses.first(25), start[:25], 100.0)
    assert_close(trained(theta, losses, start, 160.0, n=25), alone, loosen=1e2)


def test_settings_do_not_touch_each_other():
    theta, teacher, labels, start, losses = given(3)
    together = trained(theta, losses, start, 100.0)
    for k, setting in enumerate(SETTINGS):
        rho, t = (torch.tensor([v]) for v in setting)
        alone = trained(theta, Losses.of(teacher[:, None], labels, rho, t, 2), start, 100.0)
        assert_close(together[:, k], alone[:, 0], loosen=1e2)


def test_without_labels_the_teacher_alone_is_imitated():
    theta, teacher, _, start, losses = given(3, settings=[(1.0, 1.0)], labelled=False)
    rho = t = torch.ones(1)
    known = Losses.of(teacher[:, None], torch.zeros(len(teacher), dtype=torch.int64), rho, t, 2)
    assert_close(
        trained(theta, losses, start, 50.0), trained(theta, known, start, 50.0), loosen=1e2
    )


def test_epochs_are_problems_side_by_side():
    theta, teacher, labels, start, losses = given(3)
    rho, t = torch.tensor(SETTINGS, dtype=torch.float64).T
    both = Losses.of(torch.stack([-teacher, teacher], 1), labels, rho, t, 2)
    found = trained(theta, both, start, 100.0)
    assert_close(found[:, len(SETTINGS) :], trained(theta, losses, start, 100.0), loosen=1e2)
    assert not torch.allclose(found[:, 0], found[:, len(SETTINGS)])


@pytest.mark.parametrize("labelled", [True, "some", False])
@pytest.mark.parametrize("classes", [1, 4])
def test_its_curvature_is_the_gradients_own_derivative(labelled, classes):
    *_, losses = given(classes, labelled=labelled)
    f, d = torch.randn(2, 30, classes, 3, dtype=torch.float64)
    step = 1e-6
    change = (losses.gradient(f + step * d) - losses.gradient(f - step * d)) / (2 * step)
    assert_close(losses.curvature(f, d), (d * change).sum((0, 1)), loosen=1e2)


def test_single_precision_agrees(monkeypatch):
    monkeypatch.setattr(finite_time, "_TOLERANCE", 3e-3)
    theta, _, _, start, losses = given(3)
    short, *_, start32, losses32 = given(3, dtype=torch.float32)
    exact = trained(theta, losses, start, 100.0)
    found = trained(short, losses32, start32, 100.0)
    assert (found.double() - exact).norm() < 0.02 * exact.norm()


def test_what_does_not_converge_is_said(monkeypatch):
    monkeypatch.setattr(finite_time, "_STEPS", 2)
    theta, _, _, start, losses = given(3)
    with pytest.raises(NumericsError, match="did not converge in 2 steps"):
        trained(theta, losses, start, 100.0)


def test_the_learned_logits_extend_to_other_inputs_as_their_interpolant():
    """f(x) = z_0 + k Θ⁻¹ u = z_0 - (t/n) k ∂ℓ/∂z: the gradients of the samples carry all that was
    learned."""
    made = problem(n=30, columns=3)
    _, _, _, start, losses = given(3)
    learned = trained(made.theta, losses, start, 100.0)
    factored = factor(made.theta)
    interpolated = solve(factored, made.cross).mT @ solve(factored, learned.flatten(1))
    carried = (
        -100.0 / 30 * made.cross.mT @ losses.gradient(start[..., None] + learned.mT).mT.flatten(1)
    )
    torch.testing.assert_close(interpolated, carried, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("time", "dtype"), [(100.0, torch.float32), (1e9, torch.float64)])
def test_single_precision_is_taken_only_where_it_suffices(time, dtype, monkeypatch):
    monkeypatch.setattr(finite_time, "_TOLERANCE", 2e-2)
    theta, _, _, start, losses = given(3)
    kept = []
    found = path(theta, losses, start, time / len(theta), kept)
    assert kept[0].dtype == dtype
    assert found.losses.soft_targets.dtype == dtype


@pytest.mark.parametrize("seed", range(40))
def test_it_converges_where_samples_are_copies_with_other_targets(seed):
    """Stationary: f - z_0 = Θ A with A = -(t/n) ∂ℓ/∂z; where Θ has a null space a line search may
    lead uphill."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(7, 3, dtype=torch.float64, generator=generator)
    phi = 3 * features[torch.randint(0, 7, (30,), generator=generator)]
    theta = phi @ phi.mT
    _, _, _, start, losses = given(2, seed=seed)
    for time in (1.0, 30.0, 1000.0):
        learned = trained(theta, losses, start, time).mT
        slope = losses.gradient(start[:, :, None] + learned)
        expected = torch.einsum("ij,jck->ick", theta, -time / 30 * slope)
        assert torch.linalg.norm(learned - expected) < 1e-5 * torch.linalg.norm(learned)
