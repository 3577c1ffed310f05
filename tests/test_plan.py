import json

import numpy as np
import pytest

import tutelage as tu
from problems import task
from tutelage.exceptions import SettingError

KERNEL = tu.kernels.mlp(depth=1)
GRID = {"soft_ratio": [0.1, 0.5, 1.0], "temperature": [1.0, 4.0], "orderings": 2}


def planned(problem, **arguments):
    return tu.plan(problem, tu.curves(problem, KERNEL, **GRID), **arguments)


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


def test_wrong_labels_are_listed_and_warned_of():
    problem = task(n=300, m=100, noise=0.1, n_classes=2)
    y = problem.y_train.copy()
    flipped = np.random.default_rng(0).permutation(300)[:45]
    y[flipped] = 1 - y[flipped]
    noisy = tu.Task(
        problem.x_train,
        problem.teacher_logits_train,
        y,
        problem.x_test,
        problem.teacher_logits_test,
        problem.y_test,
    )
    found = planned(noisy)
    listed = set(found.teacher.teacher_corrects_label)
    assert len(listed & set(flipped.tolist())) > 0.6 * len(listed)
    assert len(listed) > 10


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
        tu.plan(task(n=61), found)
