import numpy as np
import pytest
import xarray as xr

import tutelage as tu
from problems import task
from tutelage.decisions.samples import Curve, power_law, samples
from tutelage.report.frames import settings_frame

SIZES = np.geomspace(50, 3200, 13).round().astype(int)


def curve(law, *, orderings=4, evaluated=2000, noise=0.004, seed=0, sizes=SIZES):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal() * np.sqrt(law(sizes[-1]) / evaluated)
    values = np.clip(
        law(sizes) + shared + noise * rng.standard_normal((orderings, len(sizes))), 0, 1
    )
    values[:, -1] = values[:, -1].mean()
    zero = xr.zeros_like(xr.DataArray(values, dims=("ordering", "n")))
    return xr.Dataset(
        {
            "error": (("ordering", "n"), values),
            "transfer_risk": zero,
            "expected_transfer_risk": zero,
            "risk_bound": zero,
            "power_bound": zero,
            "evaluated": ("n", np.full(len(sizes), evaluated)),
        },
        coords={"n": sizes},
    )


def law(n):
    return 0.04 + 1.2 * np.asarray(n, float) ** -0.5


def test_a_power_law_with_offset_is_found_again():
    a, b, c = power_law(SIZES.astype(float), law(SIZES)[None], np.ones(len(SIZES)))
    assert (a[0], b[0], c[0]) == pytest.approx((0.04, 1.2, 0.5), rel=1e-6)


def test_an_offset_below_zero_is_none():
    a, _, _ = power_law(SIZES.astype(float), (3 * SIZES**-0.4 - 0.05)[None], np.ones(len(SIZES)))
    assert a[0] == 0


def test_a_target_inside_the_pool_is_read_off_the_curve():
    found = samples(curve(law, noise=0.0), 0.1, seed=0).target
    assert not found.extrapolated
    assert found.n == pytest.approx(400, rel=0.1)
    assert found.n_low < found.n < found.n_high


def test_a_target_that_the_smallest_size_reaches_needs_no_more():
    found = samples(curve(law, noise=0.0, evaluated=10**8), 0.5, seed=0).target
    assert (found.n, found.n_low, found.n_high, found.extrapolated) == (50, 50, 50, False)


def test_between_two_sizes_a_target_is_read_off_on_a_logarithmic_scale():
    falling = curve(lambda n: 0.9 - 0.1 * np.log(n), noise=0.0, evaluated=10**9)
    assert samples(falling, 0.35, seed=0).target.n == np.ceil(np.exp(5.5))


def test_a_target_beyond_the_pool_comes_with_an_interval_that_holds_the_truth():
    hits = 0
    for seed in range(150):
        found = samples(curve(law, seed=seed), 0.053, seed=0).target  # truth: (1.2 / 0.013)² = 8521
        hits += found.n_low <= 8521 and (found.n_high is None or found.n_high >= 8521)
    assert 0.85 <= hits / 150 <= 0.97


def test_a_target_beyond_the_pool_is_said_to_be_extrapolated():
    found = samples(curve(law, noise=0.0, evaluated=10**7), 0.053, seed=0).target
    assert found.extrapolated
    assert found.n == pytest.approx(8521, rel=0.05)


def test_a_target_below_the_floor_is_out_of_reach():
    flat = samples(
        curve(lambda n: 0.2 + 0 * np.asarray(n, float), noise=0.0, evaluated=10**6), 0.05, seed=0
    ).target
    assert flat.n is None
    assert flat.n_high is None
    assert flat.extrapolated


def test_the_forecast_of_the_next_thousand_holds_the_truth_nine_times_in_ten():
    hits = 0
    for seed in range(150):
        ahead = samples(curve(law, seed=seed), None, seed=0).next_1000
        assert ahead.error_low <= ahead.error <= ahead.error_high
        hits += ahead.error_low <= law(4200) <= ahead.error_high
    assert 0.85 <= hits / 150 <= 0.97


def test_tables_and_charts_show_one_standard_error():
    problem = task(n=80, m=50)
    student = tu.lab.student("mlp:width=8,depth=1", training=tu.lab.Training(2, 0.05), epochs=2)
    for kernel in (student, tu.kernels.mlp(depth=1)):
        curves = tu.curves(problem, kernel, soft_ratio=[0.2, 1.0], temperature=[1.0], orderings=3)
        made = tu.plan(problem, curves=curves)
        frame = settings_frame(curves)
        table = {s.soft_ratio: s.error_se for s in made.settings}
        assert frame.se[frame.n == 80].tolist() == pytest.approx([table[0.2], table[1.0]])
        assert made.samples.error_se[-1] == pytest.approx(made.recommended.error_se)


def test_standard_errors_join_held_out_samples_and_orderings():
    data = curve(law, noise=0.02)
    found = Curve.of(data)
    expected = np.sqrt(
        found.error * (1 - found.error) / 2000 + data.error.values.var(0, ddof=1) / 4
    )
    np.testing.assert_allclose(found.standard_error, expected)
    single = Curve.of(curve(law, orderings=1))
    sampling = np.sqrt(single.error * (1 - single.error) / 2000)
    # Half of it for the orderings, which are not known; they all end with the whole pool.
    np.testing.assert_allclose(single.ordering_se, [*0.5 * sampling[:-1], 0])
    assert single.standard_error[-1] == pytest.approx(sampling[-1])
    never = Curve.of(curve(lambda n: 0 * np.asarray(n, float), noise=0.0))
    np.testing.assert_allclose(never.standard_error, np.sqrt(0.5 / 2000 / 2000), rtol=1e-3)


def test_drawn_curves_move_together_and_by_a_quarter_apart():
    found = Curve.of(curve(law, noise=0.0))
    draws = found.draws(0)
    sampling = np.sqrt(found.error * (1 - found.error) / 2000)
    assert draws[:, -1].std() == pytest.approx(sampling[-1] * (1 + 0.25**2) ** 0.5, rel=0.1)
    apart = (draws / sampling)[:, 1:] - (draws / sampling)[:, :-1]
    np.testing.assert_allclose(apart.std(0), 0.25 * 2**0.5, rtol=0.15)


def test_a_forecast_goes_on_from_the_last_point():
    data = curve(law, noise=0.0, evaluated=10**7)
    plain = samples(data, None, seed=0).next_1000
    data.error[:, -1] += 0.002
    moved = samples(data, None, seed=0).next_1000
    assert (plain.n, moved.n) == (4200, 4200)
    assert plain.error == pytest.approx(law(4200), abs=2e-4)
    assert moved.error - plain.error == pytest.approx(0.002, abs=5e-4)


def test_sizes_on_which_orderings_differ_count_for_less():
    data = curve(law, noise=0.0, evaluated=10**7)
    plain = samples(data, None, seed=0).next_1000.error
    data.error[:, 0] += np.array([0.3, -0.1, 0.3, -0.1])  # on average a tenth too high
    assert samples(data, None, seed=0).next_1000.error == pytest.approx(plain, abs=2e-4)


def test_three_sizes_are_too_few_for_a_forecast():
    assert samples(curve(law).isel(n=[0, 6, -1]), None, seed=0).next_1000 is None
    assert samples(curve(law).isel(n=[0, 4, 8, -1]), None, seed=0).next_1000 is not None


def test_sizes_at_which_nothing_could_be_measured_are_left_out():
    data = curve(law, noise=0.0)
    whole = samples(data, 0.1, seed=0)
    data.error[1, 3] = np.nan
    found = samples(data, 0.1, seed=0)
    assert np.flatnonzero(np.isnan(found.error)).tolist() == [3]
    assert found.target.n == pytest.approx(whole.target.n, rel=0.01)


def test_the_same_seed_draws_the_same():
    assert samples(curve(law), 0.053, seed=7) == samples(curve(law), 0.053, seed=7)


def test_without_labels_there_is_no_error_curve():
    found = samples(curve(law).drop_vars("error"), 0.05, seed=0)
    assert found.error is None
    assert found.target is None
    assert found.agreement == [1.0] * len(SIZES)


def test_another_pool_would_have_given_another_error():
    """Where the error at n is a mean over n samples of the pool, pools differ by σ / √N, which
    orderings of one pool tell."""
    rng, n, found = np.random.default_rng(0), 400, []
    sizes = np.array([50, 100, 200, 300, n])
    for _ in range(400):
        pool = 0.2 + 0.1 * rng.normal(size=n)
        values = [
            [order[:k].mean() for k in sizes] for order in (rng.permutation(pool) for _ in range(4))
        ]
        data = xr.Dataset(
            {"error": (("ordering", "n"), values), "evaluated": ("n", [10**6] * 5)}, {"n": sizes}
        )
        found.append(Curve.of(data).pool_se)
    assert np.mean(np.square(found)) ** 0.5 == pytest.approx(0.1 / n**0.5, rel=0.05)
    assert Curve.of(data.isel(ordering=[0])).pool_se == 0
    draws = Curve.of(data).draws(0)[:, -1]
    assert draws.std() > 0.9 * found[-1]


def test_forecasts_are_as_unsure_as_the_fitted_law_was_seen_to_be():
    """Far from the pool, and even where nothing is noisy."""
    ahead = samples(curve(law, noise=0.0, evaluated=10**9), None, seed=0).next_1000
    assert ahead.error_high - ahead.error_low > 0.005
    assert ahead.error - ahead.error_low > ahead.error_high - ahead.error
