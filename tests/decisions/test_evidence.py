import numpy as np
import pytest
import xarray as xr

from problems import task
from tutelage.decisions.evidence import Evidence, paired, within_one_se

RATIOS, TEMPERATURES = [0.2, 0.6, 1.0], [1.0, 4.0]
INNER = ("soft_ratio", "temperature")


def curves(problem, *, finite=False, error_from="test part", orderings=3, starts=1, seed=0):
    """Made-up curves of two sizes: no two of their numbers are the same."""
    rng = np.random.default_rng(seed)
    n, m, shape = problem.n_train, problem.n_test, (3, 2)

    def drawn(*around):
        return rng.random((*around[:1], *shape, *around[1:]))

    return xr.Dataset(
        {
            "data_inefficiency": (("ordering", *INNER, "n"), drawn(orderings, 2)),
            "data_inefficiency_se": (("ordering", *INNER, "n"), drawn(orderings, 2)),
            "distance": (("ordering", *INNER), drawn(orderings)),
            "decision": (("start", *INNER, "test_sample"), rng.integers(0, 3, (starts, *shape, m))),
            "decision_loo": ((*INNER, "pool_sample"), rng.integers(0, 3, (*shape, n))),
            "copy_of": ("pool_sample", np.arange(n)),
        },
        {"soft_ratio": RATIOS, "temperature": TEMPERATURES, "n": [5, n]},
        {"error_from": error_from, "finite": int(finite)},
    )


@pytest.mark.parametrize("finite", [False, True])
def test_effort_is_a_closed_forms_inefficiency_and_a_networks_distance(finite):
    problem = task(n=9, m=7)
    data = curves(problem, finite=finite)
    found = Evidence.of(problem, data, 0)
    at_pool, distance = data.data_inefficiency.values[..., -1], data.distance.values
    np.testing.assert_allclose(found.inefficiency, at_pool.mean(0).ravel())
    of_pool = data.data_inefficiency_se.values[..., -1].mean(0).ravel()
    np.testing.assert_allclose(found.inefficiency_se, of_pool)
    effort = distance.mean(0).ravel() if finite else found.inefficiency
    spread = (distance.std(0, ddof=1) / 3**0.5).ravel() if finite else found.inefficiency_se
    np.testing.assert_allclose(found.effort, effort)
    np.testing.assert_allclose(found.effort_se, spread)
    settings = list(zip(found.soft_ratio.tolist(), found.temperature.tolist(), strict=True))
    assert settings == [(rho, t) for rho in RATIOS for t in TEMPERATURES]


def test_the_spread_of_a_single_start_is_not_known():
    problem = task(n=9, m=7)
    found = Evidence.of(problem, curves(problem, finite=True, orderings=1), 0)
    assert (found.effort_se == 0).all()


def test_mistakes_are_those_of_each_start_against_the_test_labels():
    problem = task(n=9, m=7)
    data = curves(problem, starts=2)
    found = Evidence.of(problem, data, 0)
    for s, (i, j) in enumerate(np.ndindex(3, 2)):
        for start in range(2):
            wrong = data.decision.values[start, i, j] != problem.y_test
            np.testing.assert_array_equal(found.mistakes[s, start], wrong)
    assert found.against_labels
    np.testing.assert_array_equal(found.truth, problem.y_test)


def test_from_the_pool_an_input_counts_once_and_only_where_no_start_has_seen_it():
    problem = task(n=9, test=False)
    data = curves(problem, error_from="pool")
    data.copy_of[5] = 2
    data.decision_loo[:, :, 7] = -1
    found = Evidence.of(problem, data, 0)
    counted = [0, 1, 2, 3, 4, 6, 8]
    wrong = data.decision_loo.values[..., counted] != problem.y_train[counted]
    np.testing.assert_array_equal(found.mistakes, wrong.reshape(6, 1, 7))
    np.testing.assert_array_equal(found.truth, problem.y_train[counted])
    assert found.against_labels


def test_without_labels_mistakes_are_against_the_teacher_of_the_epoch():
    problem = task(n=9, m=7, epochs=[1, 2], labels=False, noise=5)
    given = problem.teacher_decisions("test")
    assert (given[0] != given[1]).any()
    found = Evidence.of(problem, curves(problem), 1)
    np.testing.assert_array_equal(found.truth, given[1])
    assert not found.against_labels


def test_a_balanced_error_is_the_mean_over_classes():
    problem = task(n=9, m=40)
    found = Evidence.of(problem, curves(problem), 0)
    of_class = [found.mistakes[:, 0, problem.y_test == k].mean(1) for k in range(3)]
    np.testing.assert_allclose(found.balanced_error, np.mean(of_class, 0))


def test_a_paired_error_joins_that_over_samples_and_that_over_starts():
    values, others = np.random.default_rng(0).integers(0, 2, (2, 4, 30))
    differences = values - others
    by_sample, by_start = (differences.mean(k).var(ddof=1) for k in (0, 1))
    difference, error = paired(values, others)
    assert difference == pytest.approx(differences.mean())
    assert error == pytest.approx((by_sample / 30 + by_start / 4) ** 0.5)
    _, error = paired(values[:1], others[:1])
    assert error == pytest.approx((differences[0].var(ddof=1) / 30) ** 0.5)
    assert paired(values[:, :1], others[:, :1])[1] == 1.0  # one sample tells nothing of the others


@pytest.mark.parametrize(("more", "within"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_single_sample_more_is_within_one_standard_error_and_two_are_not(more, within):
    best = (np.arange(1000) < 100)[None]
    worse = (np.arange(1000) < 100 + more)[None]
    assert within_one_se(worse, best) == within
    assert within_one_se(best, worse)
    excess, error = paired(worse, best)
    assert excess == pytest.approx(more / 1000)
    assert error == pytest.approx(more**0.5 / 1000, rel=2e-3)
