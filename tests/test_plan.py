import dataclasses
import json

import numpy as np
import pytest

import tutelage as tu
from problems import task, wrongly_labelled
from tutelage._plan import _labels_may_suffice, _of_networks
from tutelage.decisions.peers import peers
from tutelage.exceptions import OutputError, SettingError

KERNEL = tu.kernels.mlp(depth=1)
GRID = {"soft_ratio": [0.1, 0.5, 1.0], "temperature": [1.0, 4.0], "orderings": 2}


def planned(problem, **arguments):
    return tu.plan(problem, curves=tu.curves(problem, KERNEL, **GRID), **arguments)


@pytest.fixture(scope="module")
def whole():
    return planned(task(n=150, m=200, noise=1.5), target_error=0.1)


def test_plan_json_has_the_contracts_keys(whole):
    document = json.loads(whole.to_json())
    assert {
        "tutelage",
        "task",
        "student",
        "t_power",
        "dtype",
        "jitter",
        "seed",
        "seconds",
        "settings",
        "recommended",
        "samples",
        "teacher",
        "peers",
        "warnings",
    } <= set(document)
    assert {
        "n_train",
        "n_test",
        "n_classes",
        "teacher_accuracy_train",
        "teacher_accuracy_test",
    } <= set(document["task"])
    wanted = {
        "soft_ratio",
        "temperature",
        "error",
        "error_se",
        "transfer_risk",
        "expected_transfer_risk",
        "risk_bound",
        "power_bound",
        "certified_fraction",
        "data_inefficiency",
        "error_prequential",
        "error_loo",
    }
    assert all(wanted <= set(s) for s in document["settings"])
    assert len(document["settings"]) == 6
    assert wanted | {"verdict", "equally_good", "why"} <= set(document["recommended"])
    assert {"sizes", "error", "error_se", "agreement", "target"} <= set(document["samples"])
    assert {"error", "n", "n_low", "n_high", "extrapolated"} == set(document["samples"]["target"])
    assert {
        "epochs",
        "label_corrects_teacher",
        "teacher_corrects_label",
        "undecided",
        "flip_ratio_quantiles",
    } <= set(document["teacher"])


def test_settings_come_best_first_and_hold_the_recommended_one(whole):
    errors = [s.error for s in whole.settings]
    assert errors == sorted(errors)
    best = whole.recommended
    assert (best.soft_ratio, best.temperature) in [
        (s.soft_ratio, s.temperature) for s in whole.settings
    ]
    assert (best.soft_ratio, best.temperature) in best.equally_good


def test_equal_errors_are_ranked_recommended_first_then_hot_then_soft(whole):
    assert len({s.error for s in whole.settings}) < len(whole.settings)
    best = (whole.recommended.soft_ratio, whole.recommended.temperature)

    def place(s):
        at = (s.soft_ratio, s.temperature)
        return s.error, at != best, -s.temperature, -s.soft_ratio

    assert whole.settings == sorted(whole.settings, key=place)


def test_of_equal_errors_the_recommended_one_comes_first():
    problem = task(n=150, m=30, noise=0.1, n_classes=2)
    curves = tu.curves(problem, KERNEL, **GRID)
    settings = tu.plan(problem, curves=curves).settings
    least = [s for s in settings if s.error == settings[0].error]
    assert len(least) > 2
    for s in least:  # let each in turn be the easiest to learn
        easier = curves.copy(deep=True)
        at = {"soft_ratio": s.soft_ratio, "temperature": s.temperature}
        easier.data_inefficiency.loc[at] *= 0.01
        found = tu.plan(problem, curves=easier)
        for first in (found.settings[0], found.recommended):
            assert (first.soft_ratio, first.temperature) == (s.soft_ratio, s.temperature)


def test_the_numbers_of_a_setting_are_the_curves_at_the_whole_pool(whole):
    problem = task(n=150, m=200, noise=1.5)
    of_curves = (
        "transfer_risk",
        "expected_transfer_risk",
        "risk_bound",
        "power_bound",
        "certified_fraction",
        "data_inefficiency",
        "data_inefficiency_se",
        "error_prequential",
        "error_loo",
        "distance",
    )
    for s in whole.settings:
        here = whole.curves.sel(soft_ratio=s.soft_ratio, temperature=s.temperature).isel(n=-1)
        for name in of_curves:
            assert getattr(s, name) == pytest.approx(float(here[name].mean())), name
        wrong = here.decision.values != problem.y_test
        assert s.error == pytest.approx(wrong.mean())
        assert s.error_se == pytest.approx((s.error * (1 - s.error) / 200) ** 0.5, rel=0.01)
    assert whole.jitter == float(whole.curves.jitter.max())
    assert whole.jitter_relative == float(whole.curves.jitter_relative.max())


def test_no_error_is_surer_than_half_a_sample():
    problem = task(n=150, m=30, noise=0.1, n_classes=2)
    found = planned(problem)
    assert found.settings[0].error == 0
    assert found.settings[0].error_se >= 0.5 / 30


def test_the_gain_over_labels_is_over_the_lowest_soft_ratio_and_temperature():
    problem = task(n=150, m=200, noise=0.1)
    found = planned(problem)
    [hardest] = [s for s in found.settings if (s.soft_ratio, s.temperature) == (0.1, 1.0)]
    gain = found.recommended.gain_over_labels
    assert (gain.soft_ratio, gain.temperature) == (0.1, 1.0)
    assert gain.error_reduction == pytest.approx(hardest.error - found.recommended.error)
    assert gain.error_reduction > gain.se > 0
    alone = tu.plan(
        problem, curves=tu.curves(problem, KERNEL, soft_ratio=[1.0], temperature=[1.0], orderings=1)
    )
    assert alone.recommended.gain_over_labels is None


def test_samples_peers_and_warnings_are_those_of_the_recommended_setting():
    problem = task(n=150, m=200, noise=0.1)
    x, z, y = problem.x_train.copy(), problem.teacher_logits_train.copy(), problem.y_train.copy()
    x[7], z[7], y[7] = x[2], z[2], y[2]
    problem = dataclasses.replace(problem, x_train=x, teacher_logits_train=z, y_train=y)
    curves = tu.curves(
        problem, KERNEL, soft_ratio=[0.5, 1.0], temperature=[2.0, 4.0], orderings=2, t_power=0
    )
    found = tu.plan(problem, curves=curves)
    at = {
        "soft_ratio": found.recommended.soft_ratio,
        "temperature": found.recommended.temperature,
    }
    assert at == {"soft_ratio": 1.0, "temperature": 4.0}  # the last of both
    here = curves.sel(at).mean("ordering")
    np.testing.assert_allclose(found.samples.error, here.error)
    np.testing.assert_allclose(found.samples.agreement, 1 - here.transfer_risk)
    np.testing.assert_allclose(found.samples.expected_transfer_risk, here.expected_transfer_risk)
    np.testing.assert_allclose(found.samples.risk_bound, here.risk_bound)
    np.testing.assert_allclose(found.samples.power_bound, here.power_bound)
    assert found.samples.sizes == curves.n.values.tolist()
    assert found.peers == peers(**at, t_power=0)
    assert any("1 of 150 pool samples are copies of others" in w for w in found.warnings)


def test_the_lists_hold_every_pool_sample_on_which_teacher_and_label_differ(whole):
    problem = task(n=150, m=200, noise=1.5)
    teacher = whole.teacher
    listed = sorted(
        teacher.label_corrects_teacher + teacher.teacher_corrects_label + teacher.undecided
    )
    assert (
        listed == np.flatnonzero(problem.teacher_decisions("train")[0] != problem.y_train).tolist()
    )
    assert list(teacher.flip_ratio_quantiles) == ["0.1", "0.25", "0.5", "0.75", "0.9"]


def test_a_perfect_teacher_calls_for_a_high_soft_ratio_and_a_poor_one_for_a_low_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8))
    truth = 2 * np.sin(2 * x[:, 0]) + x[:, 1]
    y = (rng.random(400) < 1 / (1 + np.exp(-2 * truth))).astype(
        int
    )  # labels are noisy, the teacher knows the odds
    perfect = tu.Task(
        x[:200], 2 * truth[:200], y[:200], x[200:], 2 * truth[200:], (truth[200:] > 0).astype(int)
    )
    assert planned(perfect).recommended.soft_ratio == 1.0
    poor = truth + 3 * np.cos(5 * x[:, 2])
    clean = (truth > 0).astype(int)
    imperfect = tu.Task(x[:200], poor[:200], clean[:200], x[200:], poor[200:], clean[200:])
    found = planned(imperfect)
    assert found.recommended.soft_ratio < 1
    assert found.recommended.gain_over_labels is not None


def test_epochs_are_ranked_and_the_best_is_named():
    problem = task(n=120, m=300, epochs=[1, 4, 9], noise=1.0)
    good = problem.teacher_logits_train.copy()
    good[0] *= -1  # the first epoch's teacher is wrong nearly everywhere
    test = problem.teacher_logits_test.copy()
    test[0] *= -1
    backwards = tu.Task(
        problem.x_train,
        good,
        problem.y_train,
        problem.x_test,
        test,
        problem.y_test,
        problem.teacher_epochs,
    )
    found = planned(backwards)
    assert found.teacher.recommended_epoch in (4, 9)
    best = [1, 4, 9].index(found.teacher.recommended_epoch)
    for part in ("train", "test"):
        accuracy = backwards.teacher_accuracy(part)[best]
        assert found.task[f"teacher_accuracy_{part}"] == pytest.approx(accuracy)
    listed = found.teacher.label_corrects_teacher + found.teacher.teacher_corrects_label
    differ = backwards.teacher_decisions("train")[best] != backwards.y_train
    assert sorted(listed + found.teacher.undecided) == np.flatnonzero(differ).tolist()
    assert found.teacher.epochs[-1].epoch == 1
    assert found.task["teacher_accuracy_train"] > 0.5


def test_a_teacher_that_saw_the_pool_is_warned_of():
    problem = task(n=200, m=200, noise=2.0, n_classes=2)
    seen = np.where(problem.y_train == 1, 4.0, -4.0)
    inside = tu.Task(
        problem.x_train,
        seen,
        problem.y_train,
        problem.x_test,
        problem.teacher_logits_test,
        problem.y_test,
    )
    assert any("trained on the pool" in w for w in planned(inside).warnings)
    assert not any("trained on the pool" in w for w in planned(problem).warnings)
    seen = np.where(problem.y_test == 1, 4.0, -4.0)
    outside = dataclasses.replace(problem, teacher_logits_test=seen)
    assert not any("trained on the pool" in w for w in planned(outside).warnings)


def noise_warnings(found):
    return [w for w in found.warnings if "soft ratio may be too low" in w]


def test_wrong_labels_are_listed_and_warned_of():
    noisy, flipped = wrongly_labelled()
    found = planned(noisy)
    listed = set(found.teacher.teacher_corrects_label)
    assert len(listed & flipped) > 0.7 * len(listed)
    assert len(listed) > 20
    assert found.recommended.soft_ratio < 0.5
    [warning] = noise_warnings(found)
    assert warning.startswith(f"On {len(listed) / 3:.1f} % of the labels, ")


def test_of_wrong_labels_there_is_no_warning_where_they_are_few_or_the_teacher_is_followed():
    few = planned(wrongly_labelled(flips=0)[0])
    assert few.recommended.soft_ratio < 0.5
    assert 0 < len(few.teacher.teacher_corrects_label) < 9
    assert not noise_warnings(few)
    soft = planned(wrongly_labelled(noise=0.1)[0])
    assert soft.recommended.soft_ratio >= 0.5
    assert len(soft.teacher.teacher_corrects_label) > 20
    assert not noise_warnings(soft)


def test_without_labels_errors_are_null_and_agreement_is_not():
    document = planned(task(labels=False)).as_dict()
    assert document["recommended"]["error"] is None
    assert document["samples"]["error"] is None
    assert document["recommended"]["verdict"] == "flat"
    assert all(0 <= a <= 1 for a in document["samples"]["agreement"])


def test_numbers_that_are_not_known_are_null(whole):
    assert "NaN" not in whole.to_json()
    no_teacher = task()
    bare = tu.Task(no_teacher.x_train, no_teacher.teacher_logits_train, no_teacher.y_train)
    assert planned(bare).as_dict()["task"]["teacher_accuracy_test"] is None


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, float("nan")])
def test_a_target_that_is_no_share_is_said(target):
    with pytest.raises(SettingError, match="expected a share between 0 and 1"):
        planned(task(), target_error=target)


def test_curves_of_another_task_are_refused():
    found = tu.curves(task(), KERNEL, **GRID)
    with pytest.raises(SettingError, match="The curves are of another task"):
        tu.plan(task(n=61), curves=found)


def test_nothing_of_an_earlier_plan_stays(tmp_path):
    planned(task()).save(tmp_path)
    for name in ("verification.json", "students.nc", "label_next.csv"):
        (tmp_path / name).write_text("of another plan")
    (tmp_path / "mine.txt").write_text("of the user")
    planned(task()).save(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left & {"verification.json", "students.nc", "label_next.csv"} == set()
    assert {"mine.txt", "plan.json"} <= left


def test_labels_of_a_part_do_not_suffice():
    whole, grid = task(n=200), {"soft_ratio": [0.1, 1.0], "temperature": [1.0], "orderings": 1}
    curves = tu.curves(whole, tu.kernels.mlp(depth=1), **grid)
    assert _labels_may_suffice(whole, curves, 0)
    some = np.where(np.arange(200) < 150, whole.y_train, -100)
    assert not _labels_may_suffice(dataclasses.replace(whole, y_train=some), curves, 0)


def test_of_wrong_labels_the_choice_counts_what_they_do_to_networks():
    """Only where it is sure that labels are wrong, and against a labelled test part."""
    clean = task(n=300, m=300, noise=0.2)
    rng = np.random.default_rng(0)
    drawn = np.where(rng.random(300) < 0.5, rng.integers(0, 3, 300), clean.y_train)
    noisy = dataclasses.replace(clean, y_train=drawn)

    def gain(problem):
        return planned(problem).recommended.gain_over_labels

    curves = tu.curves(noisy, tu.kernels.mlp(depth=1), **GRID)
    evidence = _of_networks(noisy, curves, 0)
    assert evidence.wrong == pytest.approx(0.3, abs=0.1)
    assert _of_networks(clean, tu.curves(clean, tu.kernels.mlp(depth=1), **GRID), 0).wrong == 0
    without = dataclasses.replace(evidence, wrong=0.0)
    assert gain(noisy).error_reduction > 0
    assert evidence.judged[0] > without.judged[0] + 0.02
    pool = dataclasses.replace(noisy, y_test=None)
    assert _of_networks(pool, tu.curves(pool, tu.kernels.mlp(depth=1), **GRID), 0).wrong == 0


def test_a_plan_cannot_be_saved_where_a_file_lies(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError):
        planned(task()).save(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"
