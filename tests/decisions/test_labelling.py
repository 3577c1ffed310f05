"""What labels of the rest would bring."""

from dataclasses import replace

import numpy as np
import pytest

import tutelage as tu
from problems import task
from tutelage.data.checks import NOT_LABELLED
from tutelage.decisions.labels import with_fewer

GRID = {"soft_ratio": [0.1, 0.5, 1.0], "temperature": [1.0], "seed": 3}


def partly(share, seed=0, n=400):
    """A teacher that is wrong of a fifth of the samples."""
    whole = task(n=n, m=600, n_classes=2)
    rng = np.random.default_rng(seed)
    parts = {}
    for part, y in (("train", whole.y_train), ("test", whole.y_test)):
        wrong = rng.random(len(y)) < 0.25
        given = np.where(wrong, 1 - y, y)
        parts[f"teacher_logits_{part}"] = 4.0 * (2 * given - 1)
    y = np.where(rng.random(n) < share, whole.y_train, NOT_LABELLED)
    arrays = {name: getattr(whole, name) for name in ("x_train", "x_test", "y_test")}
    return tu.Task(**arrays, **parts, y_train=y), tu.Task(**arrays, **parts, y_train=whole.y_train)


def test_a_quarter_of_the_labels_is_kept():
    some, whole = partly(0.5)
    fewer = with_fewer(some, 0)
    assert fewer.labelled.sum() == some.labelled.sum() // 4
    assert (fewer.labelled <= some.labelled).all()
    assert np.array_equal(fewer.labelled, with_fewer(some, 0).labelled)
    assert not np.array_equal(fewer.labelled, with_fewer(some, 1).labelled)
    assert with_fewer(whole, 0) is None
    assert with_fewer(partly(0.05)[0], 0) is None
    assert with_fewer(replace(some, y_test=None), 0) is None


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_it_is_near_what_labels_of_all_samples_really_bring(share):
    some, whole = partly(share)
    now, all_of_them = (tu.plan(t, **GRID) for t in (some, whole))
    told = now.samples.labelled
    brought = now.recommended.error - all_of_them.recommended.error
    assert brought > 0.01
    assert abs(told.error_reduction - brought) < 3 * told.se + 0.02
    assert f"Labels of all samples would take {100 * told.error_reduction:.1f} ±" in now.summary()
    assert all_of_them.samples.labelled is None


def test_the_report_says_it_and_it_is_read_back(tmp_path):
    some, _ = partly(0.5)
    made = tu.plan(some, **GRID)
    made.save(tmp_path)
    assert "less error, if all samples were labelled" in (tmp_path / "report.html").read_text()
    assert tu.Plan.load(tmp_path, task=some).samples == made.samples


def test_a_plan_of_a_network_pays_for_it():
    some, _ = partly(0.5)
    student = tu.lab.TorchStudent(
        lambda shape, n: __import__("torch").nn.Linear(shape[0], n), "own",
        training=tu.lab.Training(4, 0.1, 32), epochs=6,
    )  # fmt: skip
    made = tu.plan(some, student=student, budget=6.0, **GRID)
    assert made.samples.labelled is not None
    assert made.cost.trainings <= 6.0
    cheap = tu.plan(some, student=student, budget=0.5, **GRID)
    assert cheap.samples.labelled is None
    assert any("would bring is not told, as the budget has no room" in n for n in cheap.notes)
    assert not any("is not told" in n for n in made.notes)
