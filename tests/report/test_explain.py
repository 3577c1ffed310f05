import io
import re

import pytest
from rich.console import Console

import tutelage as tu
from problems import task
from tutelage.report import explain, summary

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
    assert explain(document | {"warnings": ["a.", "b."]})[-3:-1] == ["Mind: a.", "Mind: b."]
    assert explain(document | {"warnings": []})[-1].startswith("To check")


def test_pilots_and_their_cost_are_told(document):
    cost = document["cost"] | {"expected_regret": 0.25, "trainings": 0.78, "pilots": [{}]}
    [line] = [s for s in explain(document | {"cost": cost}) if "0.25 points" in s]
    assert "trained only 1 real student, briefly, and took as many operations as 0.78" in line


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
    first, second, *others = explain(document, verified)
    assert first == "Use a soft ratio of 0.7 and a temperature of 4, as real students say."
    assert (
        second
        == "The loss then weighs the teacher's outputs, softened by dividing its logits by 4, by"
        " 70 %"
        " and the labels by 30 %. What follows is what the plan had predicted; real students stand"
        " last."
    )
    assert any("and 4 real students were then trained to check it." in said for said in others)
    assert not any("without training a real student" in said for said in others)


def test_a_choice_that_is_not_told_is_not_said_to_hardly_matter(document):
    def flat(worst):
        best = document["recommended"] | {"verdict": "flat", "error": 0.1}
        settings = [best, document["settings"][0] | {"error": worst}]
        return " ".join(explain(document | {"recommended": best, "settings": settings}))

    assert "The choice hardly matters" in flat(0.105)
    assert "Whether the choice matters cannot be told yet" in flat(0.12)


def test_where_there_may_be_no_wrong_label_that_is_said(document):
    def of(low, high):
        wrong = {"share": (low + high) / 2, "low": low, "high": high}
        teacher = document["teacher"] | {"wrong_labels": wrong, "undecided": [1]}
        return " ".join(explain(document | {"teacher": teacher}))

    assert "Hardly any label" in of(0.0, 0.009)
    assert "Whether any label of the pool is wrong cannot be told (90 %: 0.0 % to 20.0" in of(
        0, 0.2
    )
    assert "About 15.0 % of the pool's labels are wrong" in of(0.1, 0.2)


def test_a_target_that_is_out_of_reach_is_a_sentence(document):
    def of(**found):
        target = {"error": 0.001, "n": None, "n_low": 500, "n_high": None, "extrapolated": True}
        samples = document["samples"] | {"target": target | found}
        return " ".join(explain(document | {"samples": samples}))

    assert "For an error of 0.1 %: out of reach (90 %: 500 samples or more)." in of()
    assert "For an error of 0.1 %: out of reach." in of(n_low=None)
    assert "0.1 %: 700 samples (90 %: 500 to out of reach; beyond" in of(n=700)


def test_in_pools_of_which_a_part_is_labelled_the_smallest_ratio_is_not_labels_alone(document):
    some = document | {"task": document["task"] | {"n_labelled": 10}}
    said = " ".join(explain(some))
    assert "almost nothing but labels" not in said
    assert "Samples without a label learn from the teacher alone." in said


def test_the_terminal_tells_of_labels_to_check(document):
    def of(wrong):
        teacher = document["teacher"] | {"suspect_labels": [3], "wrong_labels": wrong}
        console = Console(width=300, file=io.StringIO())
        console.print(summary(document | {"teacher": teacher}))
        return console.file.getvalue()

    listed = "suspect_labels.csv lists labels to check"
    assert f"About 20.0 % of the labels are wrong (90 %: 10.0 % to 30.0 %); {listed}" in of(
        {"share": 0.2, "low": 0.1, "high": 0.3}
    )
    for untold in (None, {"share": 0.1, "low": 0.0, "high": 0.2}):
        assert listed in of(untold)
        assert "of the labels are wrong" not in of(untold)
    assert "→" in of(None)
