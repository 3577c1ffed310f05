"""Pools of which a part is labelled."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import tutelage as tu
from problems import task
from tutelage import cli

GRID = {"soft_ratio": [0.2, 1.0], "temperature": [1.0, 4.0]}


def partly(n_logits_task=None, every=3):
    whole = task(n=120, m=90) if n_logits_task is None else n_logits_task
    hidden = np.where(np.arange(whole.n_train) % every, whole.y_train, -100)
    arrays = (whole.x_train, whole.teacher_logits_train)
    test = (whole.x_test, whole.teacher_logits_test, whole.y_test)
    return whole, tu.Task(*arrays, hidden, *test), hidden != -100


def test_the_task_says_how_many_are_labelled():
    _, some, known = partly()
    assert np.array_equal(some.labelled, known)
    assert some.notes == (
        (
            "80 of 120 pool samples are labelled; the others learn from the teacher alone at every"
            " setting."
        ),
    )
    given = some.teacher_decisions("train")[0]
    assert some.teacher_accuracy("train")[0] == (given == some.y_train)[known].mean()


def test_a_pool_of_which_no_sample_is_labelled_has_no_labels():
    whole = task(n=40)
    none = tu.Task(whole.x_train, whole.teacher_logits_train, np.full(40, -100))
    assert none.y_train is None
    assert none.notes == ("No sample of the pool is labelled: all learn from the teacher alone.",)


@pytest.mark.parametrize("dask", [False, True])
def test_students_learn_the_teachers_logits_where_there_is_no_label(dask):
    """By hand: the interpolant of effective logits in which those samples have a soft ratio of
    1.
    """
    whole, some, known = partly()
    kernel = tu.kernels.mlp(depth=1)
    scale = {"scale": tu.Scale("dask")} if dask else {}
    found = tu.curves(some, kernel, **GRID, sizes=[120], orderings=1, **scale)
    x, test = some.inputs(torch.float64)
    soft, mixed = (
        tu.effective_logits(
            whole.teacher_logits_train, whole.y_train, soft_ratio=rho, temperature=4.0
        )
        for rho in (1.0, 0.2)
    )
    target = torch.as_tensor(np.where(known[:, None], mixed, soft))
    logits = kernel(test, x) @ torch.linalg.solve(kernel(x), target)
    decided = found.decision.sel(soft_ratio=0.2, temperature=4.0).isel(start=0).values
    assert (decided == logits.argmax(1).numpy()).mean() > 0.98  # but for the jitter
    at_one = tu.curves(whole, kernel, **GRID, sizes=[120], orderings=1).sel(soft_ratio=1.0)
    assert np.array_equal(found.sel(soft_ratio=1.0).error.values, at_one.error.values)


def test_what_the_pool_tells_of_errors_counts_labelled_samples_only():
    _, some, known = partly(task(n=150))
    some = tu.Task(some.x_train, some.teacher_logits_train, some.y_train)
    kernel = tu.kernels.mlp(depth=1)
    found = tu.curves(some, kernel, **GRID)
    votes = found.decision_loo.sel(soft_ratio=0.2, temperature=1.0).values
    own = found.error_loo.sel(soft_ratio=0.2, temperature=1.0).item()
    assert own == pytest.approx((votes != some.y_train)[known].mean())
    ahead = found.error_prequential.sel(soft_ratio=1.0).isel(n=-1).values
    assert (ahead < 0.3).all()  # where each unlabelled sample counted as wrong, a third would be
    made = tu.plan(some, curves=found)
    assert made.recommended.error == pytest.approx(
        found.error_loo.sel(
            soft_ratio=made.recommended.soft_ratio, temperature=made.recommended.temperature
        ).item()
    )
    listed = [
        i
        for key in ("label_corrects_teacher", "teacher_corrects_label", "undecided")
        for i in getattr(made.teacher, key)
    ]
    assert known[listed].all()
    assert listed


def test_hiding_all_labels_but_a_few_is_no_better_than_the_teacher_alone():
    whole, some, _ = partly(task(n=200, m=200), every=1)
    assert some.y_train is None
    few = np.full(200, -100)
    few[:4] = whole.y_train[:4]
    barely = tu.Task(
        whole.x_train, whole.teacher_logits_train, few, whole.x_test, whole.teacher_logits_test,
        whole.y_test,
    )  # fmt: skip
    found = tu.curves(barely, tu.kernels.mlp(depth=1), **GRID, sizes=[200])
    apart = found.error.sel(soft_ratio=0.2).values - found.error.sel(soft_ratio=1.0).values
    assert np.abs(apart).max() < 0.03


def test_a_network_is_planned_for_and_trained(tmp_path):
    _, some, _ = partly(task(n=240, m=100))
    some.save(tmp_path / "t.npz")
    again = tu.Task.load(tmp_path / "t.npz")
    assert again == some
    own = ["--student", "mlp:width=32,depth=1", "--epochs", "10", "--learning-rate", "0.05"]
    grid = ["--soft-ratio", "0.2,1", "--temperature", "1,4", "--out", tmp_path / "p", "--quiet"]
    assert cli.run([str(a) for a in ("plan", tmp_path / "t.npz", *own, *grid)]) == 0
    document = json.loads((tmp_path / "p" / "plan.json").read_text())
    assert document["cost"]["pilots"]
    assert any("160 of 240 pool samples are labelled" in note for note in document["notes"])
    assert document["task"]["n_labelled"] == 160
    verify = ("verify", tmp_path / "p", "--seeds", "1", "--quiet")
    assert cli.run([str(a) for a in verify]) == 0


def test_a_stream_with_some_labels_is_that_of_the_same_task_in_features(tmp_path):
    whole, some, known = partly(task(n=600, m=200, n_classes=3), every=2)
    some.save(tmp_path / "pool")
    with_all, without = tmp_path / "all", tmp_path / "none"
    whole.save(with_all)
    tu.Task(
        whole.x_train, whole.teacher_logits_train, None, whole.x_test, whole.teacher_logits_test,
        whole.y_test,
    ).save(without)  # fmt: skip
    options = {"soft_ratio": [0.2], "temperature": [1.0], "features": 500, "dtype": "float64"}
    found = tu.curves(tu.open_source(tmp_path / "pool"), "mlp", **options)
    exact = tu.curves(
        tu.Task(
            some.x_train, some.teacher_logits_train, some.y_train, some.x_test,
            some.teacher_logits_test, some.y_test,
        ), "mlp", soft_ratio=[0.2], temperature=[1.0], sizes=[570], orderings=1, pool=570, seed=1,
    )  # fmt: skip
    assert abs(float(found.error[..., -1].mean()) - float(exact.error[..., -1].mean())) < 0.04
    others = [
        float(tu.curves(tu.open_source(path), "mlp", **(options | ratio)).error[..., -1].mean())
        for path, ratio in ((with_all, {}), (without, {"soft_ratio": [1.0]}))
    ]
    assert min(others) < float(found.error[..., -1].mean()) < max(others)
    made = tu.plan(tu.open_source(tmp_path / "pool"), student="mlp", **options)
    assert made.task["n_labelled"] == known.sum()
    assert set(made.teacher.label_next) <= set(np.flatnonzero(~known).tolist())


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_the_range_test_finds_a_rate_whatever_labels_a_batch_holds(share):
    """A batch with more labels has less loss from the beginning, which is no progress."""
    whole = task(n=3000, m=10, n_classes=6, noise=3.0, features=30)
    whole = replace(whole, teacher_logits_train=whole.teacher_logits_train / 10)
    x, _ = whole.inputs(torch.float32)
    part = whole.part("train", x).floating(torch.float32)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        labels = np.where(rng.random(3000) < 0.25, rng.integers(0, 6, 3000), whole.y_train)
        labels = torch.as_tensor(np.where(rng.random(3000) < share, labels, -100))
        known = tu.lab.student("mlp:width=96,depth=2", epochs=40)
        found = known.settled(replace(part, labels=labels), seed=seed)
        assert found.training.learning_rate > 0.01


def test_at_a_soft_ratio_of_0_samples_without_a_label_are_left_out():
    """So that no batch is without one."""
    _, some, _ = partly(task(n=400, m=90))
    labels = np.where(np.arange(400) % 50, -100, task(n=400, m=90).y_train)
    few = replace(some, y_train=labels)
    training = tu.lab.Training(2, 0.05, 16)
    known = tu.lab.student("mlp:width=8,depth=1", training=training, epochs=2)
    found = tu.lab.distil(few, known, [(0.0, 1.0), (0.5, 1.0)], seeds=1)
    assert found.sizes["setting"] == 2
