"""Which samples to label next."""

import json

import numpy as np
import pandas as pd

import tutelage as tu
from tutelage.decisions.labels import label_next, margin

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Z = 2 * RNG.normal(size=(60, 3))
Y = np.where(np.arange(60) % 2, Z.argmax(1), -100)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_it_is_the_least_difference_of_the_two_likeliest_classes():
    task = tu.Task(X, Z + 7, Y)
    two = np.sort(softmax(Z), 1)[:, -2:]
    np.testing.assert_allclose(margin(task, 0), two[:, 1] - two[:, 0], rtol=1e-12)
    found = label_next(task, 0)
    assert sorted(found) == list(range(0, 60, 2))
    assert found == sorted(found, key=lambda i: two[i, 1] - two[i, 0])


def test_one_logit_is_that_of_two_classes():
    one = tu.Task(X, Z[:, 0])
    two = tu.Task(X, np.stack([Z[:, 0], 0 * Z[:, 0]], 1))
    np.testing.assert_allclose(margin(one, 0), margin(two, 0), rtol=1e-9)
    assert label_next(one, 0) == label_next(two, 0)
    assert len(label_next(one, 0)) == 60


def test_copies_are_listed_once_and_labelled_samples_not_at_all():
    x = np.concatenate([X[:30], X[:30]])
    task = tu.Task(x, Z, np.full(60, -100))
    assert sorted(label_next(task, 0)) == list(range(30))
    assert label_next(tu.Task(X, Z, Z.argmax(1)), 0) == []


def test_the_epoch_that_is_recommended_is_asked():
    task = tu.Task(X, np.stack([0 * Z + [0, 1, 2], Z]), Y, teacher_epochs=np.array([1, 5]))
    assert label_next(task, 0) == list(range(0, 60, 2))
    assert label_next(task, 1) == label_next(tu.Task(X, Z, Y), 0)


def test_the_plan_lists_them_in_json_in_csv_and_in_the_report(tmp_path):
    rows = {
        "x": list(X), "teacher_logits": list(Z), "text": [f"<b>{k}</b>" for k in range(60)],
        "label": [None if y < 0 else "ab="[y] for y in Y],
    }  # fmt: skip
    plan = tu.plan(tu.Task.of(pd.DataFrame(rows)), soft_ratio=[0.5, 1.0], temperature=[1.0])
    plan.save(tmp_path)
    listed = json.loads((tmp_path / "plan.json").read_text())["teacher"]["label_next"]
    table = pd.read_csv(tmp_path / "label_next.csv")
    assert table["sample"].tolist() == listed == plan.teacher.label_next
    classes = ["'=", "a", "b"]  # sorted, and none that a spreadsheet takes for a formula
    assert table.teacher.tolist() == [classes[Z[i].argmax()] for i in listed]
    assert table.margin.is_monotonic_increasing
    assert table.text[0] == f"<b>{listed[0]}</b>"
    report = (tmp_path / "report.html").read_text()
    assert f"To be labelled next ({len(listed)})" in report
    assert f"&lt;b&gt;{listed[0]}&lt;/b&gt;" in report
    assert tu.Plan.load(tmp_path, task=tu.Task.of(pd.DataFrame(rows))).teacher == plan.teacher


def test_a_pool_that_is_labelled_as_a_whole_has_no_list(tmp_path):
    task = tu.Task(X, Z, Z.argmax(1))
    tu.plan(task, soft_ratio=[0.5], temperature=[1.0]).save(tmp_path)
    assert not (tmp_path / "label_next.csv").exists()
    assert "To be labelled next" not in (tmp_path / "report.html").read_text()
