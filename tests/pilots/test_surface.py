"""What theory predicts, carried on to sizes that it has not looked at."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from problems import task, wrongly_labelled
from tutelage.pilots.surface import Surface, contradicted, wrong_labels


def surface(wrong=0.0):
    ratio, heat = np.array([0.0, 0.5, 1.0]), np.array([1.0, 1.0, 1.0])
    return Surface(ratio, heat, np.array([0.3, 0.2, 0.25]), 100, 0.05, wrong)


def test_what_a_doubling_brings_is_the_same_for_all_settings_and_fades():
    found = surface()
    assert np.allclose(found.at(100), found.shares)
    assert np.allclose(found.at(50), found.shares + 0.05 / 0.8)
    assert np.allclose(found.at(200), found.shares - 0.05)
    assert np.allclose(found.at(400), found.shares - 0.05 - 0.04)


def test_wrong_labels_raise_low_soft_ratios():
    assert np.allclose(surface(0.4).at(100) - surface().at(100), [0.084, 0.0105, 0])


def test_hasty_students_err_more_but_for_wrong_labels():
    plain = surface().at(100, 2.0) - surface().at(100)
    assert np.allclose(plain, plain[0])
    assert 0 < plain[0] < 0.03
    wrong = surface(0.4).at(100, 2.0) - surface(0.4).at(100)
    assert wrong[0] < 0 < wrong[2] == plain[2]
    falling = surface().at(100, 2.0, 0.1) - surface().at(100, 2.0)
    assert np.allclose(falling, falling[0])
    assert falling[0] > plain[0]
    assert replace(surface(), last=True).fall > surface().fall > 0


def test_errors_stay_shares():
    assert (surface().at(10**9) >= 0).all()
    assert (surface().at(1) <= 1).all()


def test_of_curves():
    shares = np.array([[[0.4, 0.3], [0.3, 0.2]], [[0.3, 0.3], [0.2, 0.1]]])
    curves = xr.Dataset(
        {"error": (("ordering", "soft_ratio", "temperature", "n"), shares[None])},
        coords={"soft_ratio": [0.5, 1.0], "temperature": [1.0, 4.0], "n": [50, 100]},
    )
    found = Surface.of(curves, task(n=60, m=40), 0)
    assert found.soft_ratio.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert found.temperature.tolist() == [1.0, 4.0, 1.0, 4.0]
    assert found.shares.tolist() == [0.3, 0.2, 0.3, 0.1]
    assert found.used == 100
    assert np.isclose(found.gain, 0.075)


def test_wrong_labels_are_seen_by_the_teacher():
    clean = task(n=400, m=400, noise=0.1, n_classes=2)
    flipped = np.random.default_rng(0).permutation(400)[:100]
    labels = clean.y_train.copy()
    labels[flipped] = 1 - labels[flipped]
    assert wrong_labels(clean, 0) < 0.05
    assert abs(wrong_labels(replace(clean, y_train=labels), 0) - 0.25) < 0.06
    untold = replace(clean, teacher_logits_test=None)
    assert wrong_labels(untold, 0) == 0
    assert wrong_labels(wrongly_labelled()[0], 0) >= 0


def test_students_of_labels_differ_from_the_teacher_where_it_contradicts_them():
    given = task(n=400, m=400, noise=1.5)
    assert contradicted(given, 0) == pytest.approx(1 - given.teacher_accuracy("train")[0])
    assert contradicted(given, 0) > 0.1
    assert contradicted(replace(given, y_train=None), 0) == 0
    curves = xr.Dataset(
        {
            name: (("ordering", "soft_ratio", "temperature", "n"), np.full((1, 2, 1, 2), 0.2))
            for name in ("error", "transfer_risk")
        },
        coords={"soft_ratio": [0.0, 1.0], "temperature": [1.0], "n": [50, 100]},
    )
    found = Surface.of(curves, given, 0, "transfer_risk")
    assert np.allclose(found.at(100), [0.2 + 0.21 * contradicted(given, 0), 0.2])
    assert Surface.of(curves, given, 0).wrong < found.wrong


def test_a_level_is_the_less_sure_the_further_it_is_carried():
    found = surface()
    assert found.doubt(100) == 0
    assert np.isclose(found.doubt(200), 0.025)  # half of what is taken off
    assert np.isclose(found.doubt(400), 0.045)
    last = replace(found, last=True)  # whose other layers go on learning
    assert np.isclose(last.doubt(25), found.doubt(25))
    assert np.isclose(last.doubt(100), 0.1)
    assert np.isclose(last.doubt(400), 0.045 + 0.2)


def test_halving_the_samples_costs_more_each_time_and_is_the_less_sure():
    found = surface()
    rises = np.diff([float(found.at(n)[0]) for n in (100, 50, 25)])
    assert np.allclose(rises, [0.05 / 0.8, 0.05 / 0.8**2])
    assert np.allclose(
        [found.doubt(50), found.doubt(25)],
        [-0.03125 - 0.02, -(0.05 / 0.8 + 0.05 / 0.64) / 2 - 0.04],
    )
