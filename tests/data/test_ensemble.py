"""Several teachers as one: means of probabilities, in tables too."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tutelage as tu
from tutelage.cli.options import columns_of
from tutelage.exceptions import SettingError, TaskError

RNG = np.random.default_rng(0)
ONE, OTHER = 3 * RNG.normal(size=(2, 20, 4))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=2), st.floats(-50, 50))
def test_probabilities_are_the_weighted_mean_whatever_is_added_to_logits(weights, added):
    share = np.array(weights) / sum(weights)
    found = softmax(tu.lab.ensemble([ONE + added, OTHER], weights))
    expected = share[0] * softmax(ONE) + share[1] * softmax(OTHER)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_one_logit_is_that_of_the_mean_probability():
    z, w = ONE[:, 0], OTHER[:, 0]
    found = tu.lab.ensemble([z, w], [3, 1])
    both = (3 / (1 + np.exp(-z)) + 1 / (1 + np.exp(-w))) / 4
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), both, rtol=1e-12)


def test_one_teacher_decides_as_it_did():
    np.testing.assert_allclose(softmax(tu.lab.ensemble([ONE])), softmax(ONE), rtol=1e-12)


@pytest.mark.parametrize(
    ("logits", "weights", "message"),
    [
        ([ONE, OTHER[:, :3]], None, r"have the shapes \(20, 4\), \(20, 3\); expected the same"),
        ([], None, "have the shapes none"),
        ([ONE, OTHER], [1.0], r"weights of 2 teachers are \[1.0\]; expected a positive number"),
        ([ONE, OTHER], [1.0, 0.0], "expected a positive number for each"),
        ([ONE, OTHER], [1.0, np.nan], "expected a positive number for each"),
    ],
)
def test_what_cannot_be_averaged_is_said(logits, weights, message):
    with pytest.raises(TaskError, match=message):
        tu.lab.ensemble(logits, weights)


FRAME = pd.DataFrame({
    "x": list(RNG.normal(size=(20, 3))), "y": ONE.argmax(1), "large": list(ONE),
    "small": list(OTHER),
})  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "weights", "said"),
    [
        ({"large": 2, "small": 1}, [2, 1], "large 0.667, small 0.333"),
        (["large", "small"], None, "large 0.5, small 0.5"),
    ],
)
def test_columns_of_several_teachers_are_averaged(columns, weights, said):
    task = tu.Task.of(FRAME, columns={"teacher_logits": columns, "x": "x"})
    expected = tu.lab.ensemble([ONE, OTHER], weights)
    np.testing.assert_allclose(task.teacher_logits_train, expected, rtol=1e-6)
    assert task.notes == (f"The teacher is the mean of several, in probability: {said}.",)


def test_the_command_reads_weights():
    text = "x=a,teacher_logits=large*2,teacher_logits=small*0.5"
    assert columns_of(text) == {"x": ["a"], "teacher_logits": {"large": 2.0, "small": 0.5}}
    assert columns_of("teacher_logits=a,teacher_logits=b") == {"teacher_logits": ["a", "b"]}
    with pytest.raises(SettingError, match=r"of several teachers teacher_logits=large\*2"):
        columns_of("teacher_logits=large*two")


def test_weights_of_a_plan_are_found_again(tmp_path):
    path, columns = tmp_path / "t.parquet", {"teacher_logits": {"large": 3.0, "small": 1.0}}
    pd.concat([FRAME] * 3).reset_index(drop=True).assign(
        x=list(RNG.normal(size=(60, 3)))
    ).to_parquet(path)
    task = tu.Task.load(path, columns=columns | {"x": "x"})
    plan = tu.plan(task, soft_ratio=[0.5], temperature=[1.0])
    plan.save(tmp_path / "plan")
    again = tu.Plan.load(tmp_path / "plan")
    assert again.task["columns"]["teacher_logits"] == {"large": 3.0, "small": 1.0}
