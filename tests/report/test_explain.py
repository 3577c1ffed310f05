import re

import pytest

import tutelage as tu
from problems import task
from tutelage.report import explain

GRID = {"soft_ratio": [0.1, 1.0], "temperature": [1.0, 4.0], "orderings": 2}


@pytest.fixture(scope="module")
def document():
    return tu.plan(
        task(n=150, m=200, noise=1.5, epochs=[1, 5]), student=tu.kernels.mlp(depth=1), **GRID
    ).as_dict()


def test_about_ten_sentences_say_what_to_do_first(document):
    said, best = explain(document), document["recommended"]
    assert 7 <= len(said) <= 12
    assert (
        said[0] == f"Use a soft ratio of {best['soft_ratio']:g} and a temperature of"
        f" {best['temperature']:g},"
        f" and the teacher's checkpoint of epoch {document['teacher']['recommended_epoch']}."
    )
    assert all(sentence[0].isupper() and sentence.endswith((".", ").")) for sentence in said)
    assert any(f"{100 * best['error']:.1f} % of samples" in sentence for sentence in said)
    lists = ("label_corrects_teacher", "teacher_corrects_label", "undecided")
    total = sum(len(document["teacher"][name]) for name in lists)
    assert any(f"differ on {total:,} samples" in sentence for sentence in said)


def test_equally_good_settings_are_named_and_counted(document):
    pairs = [[0.1, t] for t in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)]
    best = document["recommended"] | {
        "soft_ratio": 0.1, "temperature": 1.0, "equally_good": pairs
    }  # fmt: skip
    [line] = [s for s in explain(document | {"recommended": best}) if s.startswith("As good")]
    assert "ρ = 0.1 with T = 2" in line
    assert "with T = 1," not in line
    assert " and 1 more " in line
    alone = best | {"equally_good": [[0.1, 1.0]]}
    assert any(s.startswith("No other") for s in explain(document | {"recommended": alone}))


def test_a_setting_is_not_compared_with_itself(document):
    gain = {"soft_ratio": 0.1, "temperature": 1.0, "error_reduction": 0.0, "se": 0.0}
    best = document["recommended"] | {
        "soft_ratio": 0.1, "temperature": 1.0, "gain_over_labels": gain
    }  # fmt: skip
    said = explain(document | {"recommended": best})
    assert any("smallest soft ratio of the grid" in sentence for sentence in said)
    assert not any("0.0 ± 0.0" in sentence for sentence in said)


def test_warnings_come_before_the_next_step(document):
    last = explain(document | {"warnings": ["a", "b"]})[-1]
    assert last.startswith("First read the plan's 2 warnings. To check")
    assert explain(document | {"warnings": []})[-1].startswith("To check")


def test_pilots_and_their_cost_are_told(document):
    cost = document["cost"] | {"expected_regret": 0.25, "trainings": 0.78, "pilots": [{}]}
    [line] = [s for s in explain(document | {"cost": cost}) if "0.25 points" in s]
    assert "trained only 1 real student, briefly, and cost as much as 0.78 trainings" in line


@pytest.mark.parametrize(
    "problem", [task(labels=False), task(test=False), task(n_classes=2, labels=False, test=False)]
)
def test_every_kind_of_task_can_be_explained(problem):
    said = " ".join(explain(tu.plan(problem, student=tu.kernels.mlp(depth=1), **GRID).as_dict()))
    assert not re.search(r"None|nan", said)
    assert "no labels" in said or "predicted to be wrong" in said


def test_what_real_students_said_is_in_it(document):
    verified = {"best": (0.7, 4.0), "regret": 0.0, "regret_se": 0.0, "students": 4, "rows": []}
    said = explain(document | {"warnings": []}, verified)
    assert said[-1].startswith("4 real students: the recommended setting erred least")
    assert not any("run tutelage verify" in sentence for sentence in said)


def test_where_most_settings_are_as_good_the_choice_matters_a_little(document):
    pairs = [[s["soft_ratio"], s["temperature"]] for s in document["settings"]]
    best = document["recommended"] | {"verdict": "clear", "equally_good": pairs[:3]}
    said = explain(document | {"recommended": best})
    assert (
        "The choice matters a little: 3 of 4 settings are as good, others are surely worse." in said
    )


def test_after_real_students_it_is_their_setting(document):
    verified = {"best": (0.7, 4.0), "regret": 0.02, "regret_se": 0.005, "students": 4, "rows": []}
    first = explain(document, verified)[0]
    assert (
        first
        == "Use a soft ratio of 0.7 and a temperature of 4, as real students say. What follows is"
        " what"
        " the plan had predicted."
    )


def test_in_pools_of_which_a_part_is_labelled_the_smallest_ratio_is_not_labels_alone(document):
    some = document | {"task": document["task"] | {"n_labelled": 10}}
    said = " ".join(explain(some))
    assert "almost nothing but labels" not in said
    assert "Samples without a label learn from the teacher alone." in said
