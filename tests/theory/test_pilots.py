"""Pilots: what a few real students tell of all settings, (3.10)-(3.12)."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.theory import pilots as theory
from tutelage.theory.pilots import (
    Pilots,
    expected_regret,
    gains,
    haste_of,
    hasty,
    memorised,
    noise,
    places,
    regrets,
    scale,
)

RATIO, HEAT = (a.ravel() for a in np.meshgrid([0.05, 0.5, 0.9, 1.0], [1.0, 4.0], indexing="ij"))
AT_N = places(RATIO, HEAT, 1.0)
PREDICTED = np.linspace(0.1, 0.2, 8)
NONE = Pilots(np.empty((0, 5)), np.empty(0), np.empty(0), np.empty(0))


def some(shown, *, settings=(0, 3, 6), share=0.25, own=1e-4):
    chosen = list(settings)
    at = places(RATIO[chosen], HEAT[chosen], share)
    return Pilots(at, np.array(shown), PREDICTED[chosen] + 0.05, np.full(len(chosen), own))


def test_without_pilots_theory_stands():
    mean, covariance = NONE.corrected(AT_N, PREDICTED)
    assert np.array_equal(mean, PREDICTED)
    assert np.allclose(covariance, covariance.T)
    assert (np.diag(covariance) > 0).all()


def test_the_correction_is_that_of_the_joint_normal_distribution():
    pilots = some([0.17, 0.18, 0.25])
    assert pilots.surprise == 1
    mean, covariance = pilots.corrected(AT_N, PREDICTED)
    both = np.concatenate([AT_N, pilots.at])
    joint = pilots._covariance(both, both) + np.diag([*np.zeros(8), *pilots.noise])
    precision = np.linalg.inv(joint + 1e-13 * np.eye(11))
    here, there = slice(0, 8), slice(8, 11)
    expected = np.linalg.inv(precision[here, here])
    surprise = pilots.error - pilots.predicted
    assert np.allclose(covariance, expected, atol=1e-8)
    assert np.allclose(mean, PREDICTED - expected @ precision[here, there] @ surprise, atol=1e-6)


def test_pilots_that_are_far_off_move_the_level():
    """So that theory which misses it by far is not half believed."""
    by = np.array([0.0, 0.02, 0.2])
    shown = [PREDICTED[[0, 3, 6]] + 0.05 + off for off in by]
    pilots = [some(errors, share=1.0) for errors in shown]
    assert [p.surprise for p in pilots[:2]] == [1, 1]
    assert pilots[2].surprise > 5
    moved = [p.corrected(AT_N, PREDICTED)[0] - PREDICTED for p in pilots]
    assert np.allclose(moved[0], 0)
    assert (moved[2] / by[2] > moved[1] / by[1]).all()
    assert (moved[2] / by[2] > 0.95).all()
    unsure = [np.diag(p.corrected(AT_N, PREDICTED)[1]) for p in pilots]
    assert np.allclose(unsure[0], unsure[1])
    assert (unsure[2] > unsure[0]).all()


def test_a_doubtful_level_moves_as_one():
    far = places(RATIO, HEAT, 1.0, 0.15)
    near, wide = (NONE.corrected(where, PREDICTED)[1] for where in (AT_N, far))
    assert np.allclose(wide - near, 0.15**2)
    # A pilot that shows it to be wrong moves all settings, and tells little of their order.
    at = places(RATIO[:1], HEAT[:1], 1.0, 0.15)
    shown = Pilots(at, np.array([0.3]), np.array([0.1]), np.array([1e-4]))
    moved = shown.corrected(far, PREDICTED)[0] - PREDICTED
    assert moved.min() > 0.85 * moved.max() > 0.1


def test_a_sure_pilot_of_the_whole_pool_is_believed():
    pilots = some([0.3], settings=[2], share=1.0, own=0.0)
    mean, covariance = pilots.corrected(AT_N, PREDICTED)
    assert mean[2] == pytest.approx(PREDICTED[2] + 0.3 - pilots.predicted[0])
    assert covariance[2, 2] == pytest.approx(0, abs=1e-12)


def test_pilots_that_are_as_predicted_change_nothing_but_certainty():
    pilots = some(PREDICTED[[0, 3, 6]] + 0.05)
    mean, covariance = pilots.corrected(AT_N, PREDICTED)
    assert np.allclose(mean, PREDICTED)
    assert np.trace(covariance) < np.trace(NONE.corrected(AT_N, PREDICTED)[1])


def test_low_soft_ratios_that_err_more_than_predicted_are_predicted_worse():
    worse = some([PREDICTED[0] + 0.09, PREDICTED[6] + 0.05], settings=[0, 6])
    mean, _ = worse.corrected(AT_N, PREDICTED)
    moved = mean - PREDICTED
    assert moved[0] > 0.02
    assert moved[0] > moved[2] > moved[6]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1), st.floats(0.5, 20), st.floats(0.01, 1), st.floats(0, 0.1),
            st.floats(0, 4),
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_what_errors_differ_by_has_a_covariance(where):
    at = places(*np.array(where).T)
    assert np.linalg.eigvalsh(theory._covariance(at, at)).min() > -1e-10


def test_noise_falls_with_samples_of_pilot_and_test_part():
    error = np.array([0.2])
    loud = noise(error, np.array([100]), 100)
    assert noise(error, np.array([400]), 100) < loud
    assert noise(error, np.array([100]), 1000) < loud
    assert noise(np.array([0.0]), np.array([100]), 100) > 0


def test_students_differ_less_from_what_is_predicted_where_errors_are_small():
    assert scale(0.02) < 0.5 < scale(0.2) < scale(0.5) < 1.5
    assert scale(0.0) > 0
    assert scale(0.3) == pytest.approx(scale(0.7))
    pilots = some([0.2, 0.1, 0.25])
    plain, half = (replace(pilots, scale=s).corrected(AT_N, PREDICTED)[1] for s in (1.0, 0.5))
    assert np.allclose(
        NONE.corrected(AT_N, PREDICTED)[1] / 4,
        replace(NONE, scale=0.5).corrected(AT_N, PREDICTED)[1],
    )
    assert (np.diag(half) < np.diag(plain)).all()
    assert noise(np.array([0.2]), np.array([100]), 100, 0.5) < noise(
        np.array([0.2]), np.array([100]), 100
    )


def test_wrong_labels_harm_low_soft_ratios():
    found = memorised(np.array([0.0, 0.5, 1.0]), 0.4)
    assert np.allclose(found, [0.4 * theory.MEMORISED, 0.4 * theory.MEMORISED / 8, 0])
    assert (memorised(RATIO, 0.0) == 0).all()


def test_wrong_labels_are_learned_late():
    found = [memorised(np.array([0.0]), 0.4, halvings)[0] for halvings in (0.0, 1.0, 2.0)]
    assert found[0] > found[1] > found[2]


def test_those_who_are_trained_in_haste_err_more_the_more_their_errors_fall():
    assert hasty(0.0, 0.1) == 0 < hasty(2.0, 0.1) == 2 * hasty(1.0, 0.1)
    assert hasty(1.0, -0.1) == hasty(1.0, 0.0) < hasty(1.0, 0.0, scale=2.0) < hasty(1.0, 0.1)
    assert haste_of(1.5, 0.0) == 1.5 < haste_of(1.5, 0.05)


def test_hasty_pilots_tell_less_of_levels():
    shown = np.array([0.3])

    def corrected(haste):
        at = places(RATIO[:1], HEAT[:1], 1.0, 0.0, haste)
        return Pilots(at, shown, PREDICTED[:1], np.array([1e-6])).corrected(AT_N, PREDICTED)

    (patient, known), (brief, less) = corrected(0.0), corrected(2.0)
    assert (np.diag(known) < np.diag(less)).all()
    assert (patient - PREDICTED)[0] > (brief - PREDICTED)[0] > 0


def test_expected_regret_of_two_settings():
    sd, apart = 0.02, 0.01
    found = expected_regret(np.array([0.1, 0.1 + apart]), sd**2 * np.eye(2))
    spread = math.sqrt(2) * sd
    z = apart / spread
    density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    expected = spread * density - apart * 0.5 * math.erfc(z / math.sqrt(2))
    assert found == pytest.approx(expected, rel=0.1)


def test_regrets_are_those_of_the_chosen_one_and_seldom_above_their_quantile():
    drawn = regrets(np.array([0.1, 0.11]), 0.02**2 * np.eye(2))
    assert drawn.min() == 0
    difference = 0.01 / (math.sqrt(2) * 0.02)
    worse = 0.5 * math.erfc(difference / math.sqrt(2))
    assert (drawn > 0).mean() == pytest.approx(worse, abs=0.03)
    assert expected_regret(np.array([0.1, 0.11]), 0.02**2 * np.eye(2)) == drawn.mean()


def test_there_is_no_regret_where_settings_are_known_or_move_alike():
    assert expected_regret(PREDICTED, np.zeros((8, 8))) == 0
    assert expected_regret(PREDICTED, np.full((8, 8), 0.01)) == pytest.approx(0, abs=1e-6)


def test_gains_are_those_of_pilots_that_are_drawn():
    """Against brute force: draw what a pilot shows, correct, and choose again."""
    beside = places(RATIO, HEAT, 0.25)
    both = np.concatenate([AT_N, beside])
    near = PREDICTED / 20
    _, covariance = NONE.corrected(both, np.zeros(16))
    own = np.full(8, 1e-4)
    found = gains(near, covariance, own)
    rng = np.random.default_rng(0)
    for k in (0, 5):
        pilot = slice(8 + k, 9 + k)
        variance = covariance[8 + k, 8 + k] + own[k]
        shown = rng.normal(0, math.sqrt(variance), 20000)
        after = near[:, None] + covariance[:8, pilot] / variance * shown
        drawn = near.min() - after.min(0).mean()
        assert found[k] == pytest.approx(drawn, rel=0.15, abs=2e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_a_pilot_never_does_harm_on_average(seed):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(12, 12)) / 30
    found = gains(rng.uniform(0.1, 0.2, 7), half @ half.T, np.full(5, 1e-4))
    assert (found > -1e-9).all()


def test_what_moves_all_settings_alike_gains_nothing():
    assert np.allclose(gains(PREDICTED, np.full((10, 10), 0.01), np.full(2, 1e-4)), 0)


def test_wrong_labels_make_low_soft_ratios_unsure():
    plain, wrong = (
        np.diag(replace(NONE, wrong=q).corrected(AT_N, PREDICTED)[1]) for q in (0.0, 0.2)
    )
    assert np.allclose((wrong - plain)[RATIO == 1], 0)
    assert np.allclose((wrong - plain)[RATIO == 0.05], (0.3 * 0.2 * 0.95**3) ** 2)
