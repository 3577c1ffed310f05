"""The soft ratio of least squared error, against ridge regressions at every ratio."""

import numpy as np
import pytest

from tutelage.theory.one_shot import one_shot_ratio

RNG = np.random.default_rng(0)


def ridge(x, y, penalty):
    """Its predictions."""
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return lambda other: other @ weights


@pytest.mark.parametrize("noise", [0.1, 1.0, 4.0])
def test_it_is_the_best_of_all_ridge_regressions(noise):
    x, held_out, true = (
        RNG.normal(size=(80, 20)),
        RNG.normal(size=(500, 20)),
        RNG.normal(size=(20, 2)),
    )
    y = x @ true + noise * RNG.normal(size=(80, 2))
    teacher, truth = ridge(x, y, 30.0)(x), held_out @ true

    def error(rho):
        student = ridge(x, rho * teacher + (1 - rho) * y, 10.0)(held_out)
        return ((student - truth) ** 2).mean()

    of_labels, of_teacher = (ridge(x, target, 10.0)(held_out) for target in (y, teacher))
    found = one_shot_ratio(of_labels, of_teacher, truth)
    others = found + np.array([-2.0, -0.5, -1e-3, 1e-3, 0.5, 2.0])
    assert all(error(rho) > error(found) for rho in others)


def test_under_much_noise_it_is_above_1():
    """Das and Sanghavi: a teacher of the same noisy labels has taken in a part of their noise,
    which a negative weight of the labels takes out again."""
    x, held_out, true = (
        RNG.normal(size=(80, 20)),
        RNG.normal(size=(2000, 20)),
        RNG.normal(size=(20, 1)),
    )
    y = x @ true + 8.0 * RNG.normal(size=(80, 1))
    of_labels = ridge(x, y, 1.0)(held_out)
    of_teacher = ridge(x, ridge(x, y, 1.0)(x), 1.0)(held_out)
    assert one_shot_ratio(of_labels, of_teacher, held_out @ true) > 1
