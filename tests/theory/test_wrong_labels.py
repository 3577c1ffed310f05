"""How many labels are wrong, and which are suspected."""

import numpy as np
import pytest
from scipy.special import log_softmax

from tutelage.theory.wrong_labels import suspicion, wrong_labels


def drawn(rng, share, right, classes, n, m):
    """How often a teacher that is right so often agrees with a pool's labels, a share of which is
    wrong, and with a test part's.
    """
    truth = rng.integers(0, classes, n)
    teacher = np.where(
        rng.random(n) < right, truth, (truth + rng.integers(1, classes, n)) % classes
    )
    labels = np.where(rng.random(n) < share, (truth + rng.integers(1, classes, n)) % classes, truth)
    return float((teacher == labels).mean()), n, rng.binomial(m, right) / m, m, classes


@pytest.mark.parametrize("classes", [2, 10])
def test_the_share_is_what_it_is_with_many_samples(classes):
    rng = np.random.default_rng(0)
    found = wrong_labels(*drawn(rng, 0.2, 0.8, classes, 10**6, 10**6))
    assert found.share == pytest.approx(0.2, abs=0.005)
    assert found.high - found.low < 0.02


def test_intervals_hold_in_nine_cases_of_ten():
    rng, held = np.random.default_rng(0), []
    for _ in range(1000):
        share, right = rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.95)
        classes, n, m = (int(rng.integers(*ends)) for ends in ((2, 11), (300, 3000), (300, 3000)))
        found = wrong_labels(*drawn(rng, share, right, classes, n, m))
        held.append(found.low <= share <= found.high)
    assert 0.87 <= np.mean(held) <= 0.94


def test_it_is_not_told_by_a_teacher_near_chance_or_taught_on_the_pool():
    assert wrong_labels(0.5, 1000, 0.54, 1000, 2) is None
    assert wrong_labels(0.99, 1000, 0.8, 1000, 10) is None
    assert wrong_labels(0.8, 1000, 0.8, 1000, 10).low == 0


def test_suspicion_is_the_teachers_surprise_and_half_a_nat_for_a_students_vote():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    against = rng.random(50) < 0.5
    expected = -log_softmax(z, 1)[np.arange(50), y] + 0.5 * against
    np.testing.assert_allclose(suspicion(z, y, against), expected)


def test_one_logit_says_what_two_say():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=50) * 30, rng.integers(0, 2, 50)
    two, none = np.stack([np.zeros(50), z], 1), np.zeros(50, bool)
    np.testing.assert_allclose(suspicion(z[:, None], y, none), suspicion(two, y, none), atol=1e-12)
