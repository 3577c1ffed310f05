import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tolerances import assert_close
from tutelage.theory.transfer_risk import (
    bounds,
    expected_transfer_risk,
    oracle_angle_tail,
    prequential_scale,
)


def random_features(n_logits, features, n, inputs, seed):
    """An oracle in feature space, its student of n samples, and the inputs to judge them on."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    oracle, phi = normal(features, n_logits), normal(inputs, features)
    phi = phi * torch.linspace(3, 0.1, features, dtype=torch.float64)  # some directions matter more
    basis = torch.linalg.qr(normal(features, n))[0]
    student = basis @ (basis.T @ oracle)
    prior = phi.square().sum(1)
    variance = (prior - (phi @ basis).square().sum(1)).clamp_min(0)
    rest = oracle - student
    return phi @ oracle, phi @ student, rest.T @ rest, prior, variance, oracle, student


def decide(logits):
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


@given(
    n_logits=st.integers(1, 5),
    features=st.integers(5, 60),
    share=st.floats(0.05, 0.99),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=400, deadline=None)
def test_bounds_hold_are_nested_and_certificates_are_true(n_logits, features, share, seed):
    n = max(1, min(features - 1, round(share * features)))
    oracle, student, gram, prior, variance, *_ = random_features(n_logits, features, n, 200, seed)
    found = bounds(oracle, student, gram, prior, variance)
    mismatch = decide(oracle) != decide(student)
    risk = mismatch.double().mean()
    assert risk <= found.power_bound + 1e-12
    assert found.power_bound <= found.risk_bound
    assert not (mismatch & found.certified).any()
    assert found.certified_fraction == found.certified.double().mean()


@given(
    n_logits=st.integers(1, 5),
    features=st.integers(5, 60),
    share=st.floats(0.05, 0.99),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=200, deadline=None)
def test_bounds_from_the_gram_matrix_s_diagonal_hold_and_are_never_tighter(
    n_logits, features, share, seed
):
    n = max(1, min(features - 1, round(share * features)))
    oracle, student, gram, prior, variance, *_ = random_features(n_logits, features, n, 200, seed)
    exact = bounds(oracle, student, gram, prior, variance)
    loose = bounds(oracle, student, gram.diagonal()[:, None], prior, variance)
    assert exact.risk_bound <= loose.risk_bound
    assert exact.power_bound <= loose.power_bound <= loose.risk_bound
    assert not (loose.certified & ~exact.certified).any()
    if n_logits == 1:
        assert exact.risk_bound == loose.risk_bound


def test_bounds_are_not_always_trivial():
    closed = [bounds(*random_features(c, 20, 19, 500, 3)[:5]) for c in (1, 4)]
    assert all(found.power_bound < 0.9 and found.certified_fraction > 0.1 for found in closed)


def test_a_bound_that_is_too_small_would_be_caught():
    oracle, student, gram, prior, variance, *_ = random_features(3, 30, 20, 2000, 1)
    planted = bounds(oracle, student, gram * 1e-4, prior, variance)
    assert (decide(oracle) != decide(student)).double().mean() > planted.power_bound


def test_the_bound_is_the_papers_with_its_angles():
    oracle, student, gram, prior, variance, w, w_n = random_features(1, 25, 20, 400, 5)
    angle = torch.arccos(w_n.norm() / w.norm())
    tail = oracle_angle_tail(oracle[:, 0], w.norm(), prior, (torch.pi / 2 - angle)[None])
    assert tail[0] == bounds(oracle, student, gram, prior, variance).risk_bound


def test_settings_go_in_leading_axes():
    parts = [random_features(3, 20, 15, 50, seed) for seed in (0, 1)]
    oracle, student, gram = (torch.stack([p[i] for p in parts]) for i in range(3))
    prior, variance = parts[0][3:5]
    both = bounds(oracle, student, gram, prior, variance)
    risks = expected_transfer_risk(student, torch.ones(2, 3, dtype=torch.float64), variance)
    for k, part in enumerate(parts):
        assert both.risk_bound[k] == bounds(*part[:3], prior, variance).risk_bound
        assert_close(
            risks[k], expected_transfer_risk(part[1], torch.ones(3, dtype=torch.float64), variance)
        )


@pytest.mark.parametrize("n_logits", [1, 2, 4])
def test_expected_risk_is_the_share_of_drawn_functions_that_decide_otherwise(n_logits):
    rng = np.random.default_rng(0)
    student, variance = rng.normal(size=(6, n_logits)), rng.uniform(0.1, 1, 6)
    scale = rng.uniform(0.3, 2, n_logits)
    draws = student + rng.normal(size=(200_000, 6, n_logits)) * np.sqrt(variance[:, None] * scale)
    share = (
        ((draws > 0) != (student > 0)).mean()
        if n_logits == 1
        else (draws.argmax(-1) != student.argmax(-1)).mean()
    )
    ours = expected_transfer_risk(
        torch.as_tensor(student), torch.as_tensor(scale), torch.as_tensor(variance)
    )
    assert ours.item() == pytest.approx(share, abs=2e-3)


def test_many_classes_are_integrated_to_single_precision():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(30, 200, dtype=torch.float64, generator=generator)
    scale = torch.rand(200, dtype=torch.float64, generator=generator) + 0.3
    variance = 2 * torch.rand(30, dtype=torch.float64, generator=generator)
    ours = expected_transfer_risk(student, scale, variance)
    winner, best = student.argmax(1), student.amax(1, keepdim=True)
    spread = (scale * variance[:, None]).sqrt()
    own = spread.gather(1, winner[:, None])
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    held = torch.zeros(30, dtype=torch.float64)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        phi = torch.special.ndtr((best + node * own - student) / spread)
        held += weight * phi.scatter(1, winner[:, None], 1.0).prod(1)
    assert ours.item() == pytest.approx((1 - held).mean().item(), abs=1e-5)
    assert 0.05 < ours < 0.95


def test_two_classes_expect_what_one_logit_does():
    student, variance = torch.randn(50, 1, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
    one = expected_transfer_risk(student, torch.ones(1, dtype=torch.float64), variance)
    pair = torch.cat([student / 2, -student / 2], 1)
    two = expected_transfer_risk(pair, torch.full((2,), 0.5, dtype=torch.float64), variance)
    assert_close(two, one, loosen=1e4)  # 32 nodes of quadrature


def test_expected_risk_is_zero_where_nothing_is_unknown():
    student = torch.randn(9, 3, dtype=torch.float64)
    zero, one = torch.zeros(9, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    assert_close(expected_transfer_risk(student, one, zero), torch.zeros((), dtype=torch.float64))


def test_the_scale_is_the_mean_square_of_the_last_third():
    u = torch.arange(1.0, 13.0, dtype=torch.float64)[:, None]
    assert_close(
        prequential_scale(u, [2, 6, 12])[:, 0],
        torch.tensor([4.0, (25 + 36) / 2, (81 + 100 + 121 + 144) / 4]),
    )
