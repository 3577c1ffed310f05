from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import tutelage as tu
from problems import task
from tutelage.decisions.evidence import Evidence
from tutelage.decisions.settings import Choice
from tutelage.decisions.teacher import (
    QUANTILES,
    choose_epoch,
    disagreements,
    share_of_wrong,
    suspects,
)

RATIOS, TEMPERATURES = [0.1, 0.5, 1.0], [1.0, 4.0]
KERNEL = tu.kernels.mlp(depth=1)


def evidence(*errors, m=1000):
    """Settings with these numbers of mistakes among m, nested so that differences are sure."""
    s = len(errors)
    mistakes = (np.arange(m)[None] < np.array(errors)[:, None])[:, None]
    of_settings = (np.linspace(0.1, 1, s), np.ones(s))
    return Evidence(*of_settings, mistakes, *[np.zeros(s)] * 4, np.zeros(m, int), True)


def test_of_epochs_as_good_as_the_best_the_one_is_taken_on_which_the_setting_matters_least():
    best, as_good, worse = evidence(100, 500), evidence(300, 101), evidence(103, 110)
    chosen = [Choice(k, [k], "clear", "") for k in (0, 1, 0)]
    assert choose_epoch([best, as_good, worse], chosen) == 1
    assert choose_epoch([worse, as_good, best], chosen[::-1]) == 1
    assert choose_epoch([best, worse], chosen[::2]) == 0


def test_disagreements_are_split_by_votes_at_the_temperature_and_of_the_epoch():
    rng, problem = np.random.default_rng(0), task(n=200, epochs=[1, 2], noise=2)
    votes = rng.integers(0, 3, (3, 2, 200))
    data = xr.Dataset(
        {"decision_loo": (("soft_ratio", "temperature", "pool_sample"), votes)},
        {"soft_ratio": RATIOS, "temperature": TEMPERATURES},
    )
    found = disagreements(problem, data, 1, 4.0, 0)
    given, labels = problem.teacher_decisions("train")[1], problem.y_train
    low, high, differ = votes[0, 1], votes[2, 1], given != labels
    for_label = differ & (low == labels) & (high == labels)
    for_teacher = differ & (low == given) & (high == given)
    parts = {
        "label_corrects_teacher": for_label,
        "teacher_corrects_label": for_teacher,
        "undecided": differ & ~for_label & ~for_teacher,
    }
    for name, part in parts.items():
        assert part.any()
        assert sorted(found[name]) == np.flatnonzero(part).tolist()
    flips = tu.flip_ratio(
        problem.teacher_logits_train[1][differ], labels[differ], temperature=4.0, t_power=0
    )
    quantiles = [found["flip_ratio_quantiles"][f"{q:g}"] for q in QUANTILES]
    np.testing.assert_allclose(quantiles, np.quantile(flips, QUANTILES))
    assert (np.diff(quantiles) > 0).all()


def test_an_epoch_is_described_as_if_its_teacher_had_been_given_alone():
    problem = task(n=120, m=150, epochs=[1, 4, 9], noise=1.0)
    grid = {"soft_ratio": RATIOS, "temperature": TEMPERATURES, "orderings": 2}
    made = tu.plan(problem, curves=tu.curves(problem, KERNEL, **grid))
    for epoch in made.teacher.epochs:
        e = problem.teacher_epochs.tolist().index(epoch.epoch)
        z = [problem.teacher_logits(part)[e] for part in ("train", "test")]
        alone = tu.Task(
            problem.x_train, z[0], problem.y_train, problem.x_test, z[1], problem.y_test
        )
        best = tu.plan(alone, curves=tu.curves(alone, KERNEL, **grid)).recommended
        assert (epoch.soft_ratio, epoch.temperature) == (best.soft_ratio, best.temperature)
        for name in ("error", "error_se", "transfer_risk", "data_inefficiency"):
            assert getattr(epoch, name) == pytest.approx(getattr(best, name)), name
        if epoch.epoch == made.teacher.recommended_epoch:
            assert made.recommended.transfer_risk == pytest.approx(best.transfer_risk)
            assert made.recommended.data_inefficiency == pytest.approx(best.data_inefficiency)
    errors = [epoch.error for epoch in made.teacher.epochs]
    assert errors == sorted(errors)


def noisy(share, **changes):
    """A task of which a share of the pool's labels, and no other's, was moved to the next class."""
    given = task(**{"n": 400, "m": 300, "noise": 0.3} | changes)
    moved = np.random.default_rng(0).random(400) < share
    return replace(given, y_train=np.where(moved, (given.y_train + 1) % 3, given.y_train)), moved


def test_wrong_labels_are_counted_and_come_first():
    problem, moved = noisy(0.2)
    votes = np.asarray(problem.teacher_decisions("train")[0])
    order = suspects(problem, 0, votes)
    differ = problem.teacher_decisions("train")[0] != problem.y_train
    assert sorted(order) == np.flatnonzero(differ).tolist()
    assert moved[order[:40]].mean() > moved[order[-10:]].mean()
    found = share_of_wrong(problem, 0)
    assert found.low <= moved.mean() <= found.high
    assert share_of_wrong(noisy(0)[0], 0).low == 0
    assert share_of_wrong(task(n=100, m=0, test=False), 0) is None


def test_a_student_that_contradicts_a_label_makes_it_more_suspicious():
    problem, _ = noisy(0.2)
    silent = np.full(400, -1)
    order = suspects(problem, 0, silent).tolist()
    last = order[-1]
    against = silent.copy()
    against[last] = (problem.y_train[last] + 1) % 3
    assert suspects(problem, 0, against).tolist().index(last) < len(order) - 1
    with_label = silent.copy()
    with_label[last] = problem.y_train[last]
    assert suspects(problem, 0, with_label).tolist() == order


def test_lists_keep_that_order_and_go_to_a_table(tmp_path):
    problem, _ = noisy(0.2)
    made = tu.plan(problem, soft_ratio=[0.1, 1.0], temperature=[1.0])
    made.save(tmp_path)
    order = made.teacher.suspect_labels
    for name in ("label_corrects_teacher", "teacher_corrects_label", "undecided"):
        places = [order.index(i) for i in getattr(made.teacher, name)]
        assert places == sorted(places)
    table = pd.read_csv(tmp_path / "suspect_labels.csv")
    assert list(table.columns) == ["sample", "teacher", "margin", "label", "students"]
    assert table["sample"].tolist() == order
    assert (table["label"] == problem.y_train[order]).all()
    sides = table.set_index("sample")["students"]
    assert (sides[made.teacher.teacher_corrects_label] == "teacher").all()
    assert (sides[made.teacher.label_corrects_teacher] == "label").all()
    assert (sides[made.teacher.undecided] == "undecided").all()
    assert tu.Plan.load(tmp_path, task=problem) == made
