import copy
import json

import pytest

import tutelage as tu
from problems import task
from tutelage import cli
from tutelage.report import render_comparison
from tutelage.report.compare import compared, least, not_alike
from tutelage.report.costs import offers_of, rows_of, where_to_spend

GRID = {"soft_ratio": [0.1, 1.0], "temperature": [1.0], "orderings": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, problem = tmp_path_factory.mktemp("plans"), task(n=150, m=200, noise=1.5)
    for depth in (1, 3):
        made = tu.plan(problem, student=tu.kernels.mlp(depth=depth), **GRID)
        made.save(root / f"depth-{depth}")
    tu.plan(task(labels=False), student=tu.kernels.mlp(depth=1), **GRID).save(root / "bare")
    return root


@pytest.fixture(scope="module")
def plans(folders):
    problem = task(n=150, m=200, noise=1.5)
    return {
        f"depth-{depth}": tu.Plan.load(folders / f"depth-{depth}", task=problem).as_dict()
        for depth in (1, 3)
    }


def changed(plan, **values):
    found = copy.deepcopy(plan)
    found["recommended"] |= values
    return found


def test_the_least_error_comes_first_and_is_told_apart_only_where_it_can_be(plans):
    one = plans["depth-1"]
    plans = {
        "worse": changed(one, error=0.30, error_se=0.01),
        "better": changed(one, error=0.20, error_se=0.01),
    }
    assert [row.name for row in compared(plans)[0]] == ["better", "worse"]
    assert (
        least(plans)
        == "better: 20.0 % predicted error, the least of the 2 plans. worse is 10.0 ± 1.4 points"
        " worse."
    )
    plans["worse"] = changed(one, error=0.22, error_se=0.01)
    assert least(plans).endswith("2.0 ± 1.4 points worse; too little to tell them apart.")


def test_plans_of_different_test_parts_are_said_to_be(plans):
    same = {name: plan | {"student": "mine"} for name, plan in plans.items()}
    assert not_alike(same) == []
    assert [sentence.split(" is of")[0] for sentence in not_alike(plans)] == list(plans)
    other = copy.deepcopy(plans["depth-3"])
    other["task"]["n_test"] = 50
    assert not_alike({"a": same["depth-1"], "b": other | {"student": "mine"}}) == [
        "b and a are evaluated on different samples (50 of the test part and 200 of the test part),"
        " so that their errors differ by chance, too."
    ]


def test_names_are_escaped(plans):
    odd = "<script>alert(1)</script>"
    text = render_comparison({odd: plans["depth-1"], "b": plans["depth-3"]})
    assert odd not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_command_writes_one_report(folders, capsys, monkeypatch):
    monkeypatch.chdir(folders)
    assert cli.run(["compare", "depth-1", "depth-3/plan.json", "--out", "both.html"]) == 0
    said = capsys.readouterr().out
    assert "predicted error, the least of the 2 plans" in said.replace("\n", " ")
    text = (folders / "both.html").read_text(encoding="utf-8")
    assert "depth-1" in text
    assert "depth-3" in text


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            ["depth-1"],
            "One plan was given (depth-1); expected two or more, or a task with --students.",
        ),
        (["depth-1", "depth-1"], "depth-1 is given twice; expected different plans."),
        (["depth-1", "nothing"], "nothing holds no plan.json; give the folder"),
        (
            ["depth-1", "bare"],
            (
                "The plan bare is of a task without labels, so that it predicts no error; plans are"
                " compared by their errors."
            ),
        ),
    ],
)
def test_what_cannot_be_compared_is_said(folders, capsys, monkeypatch, given, sentence):
    monkeypatch.chdir(folders)
    assert cli.run(["compare", *given, "--out", "no.html"]) == 2
    assert capsys.readouterr().err.startswith(sentence)
    assert not (folders / "no.html").exists()


STUDENTS = ["--students", "mlp:width=8,depth=1,mlp:width=64,depth=1"]
BRIEF = ["--epochs", "3", "--learning-rate", "0.05", "--quiet"]


def test_students_are_compared_before_any_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task(n=200, m=100, noise=1.5).save("task.npz")
    assert cli.run(["compare", "task.npz", *STUDENTS, *BRIEF]) == 0
    names = ["mlp-width=64-depth=1", "mlp-width=8-depth=1"]
    folder = tmp_path / "tutelage-comparison"
    assert sorted(p.name for p in folder.iterdir()) == ["comparison.html", *names]
    made = [tu.Plan.load(folder / name).made_for for name in names]
    assert [of.parameters for of in made] == [64 * 6 + 3 * 65, 8 * 6 + 3 * 9]
    assert [of.operations for of in made] == [2 * 64 * 8, 2 * 8 * 8]
    assert made[0].epochs == 3
    assert made[0].learning_rate == 0.05
    text = (folder / "comparison.html").read_text(encoding="utf-8")
    assert "Predicted error by the size of the student" in text
    assert '<th scope="col">parameters</th>' in text
    assert "579</td>" in text


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["a.npz", "b.npz", *STUDENTS], "--students makes plans for one task, and 2 were given."),
        (["a.npz", "--students", "mlp"], "--students names 1 student(s); expected two or more"),
        (["a.npz", "--students", "mlp,mlp"], "--students names 1 student(s)"),
        (["a.npz", "--students", "mlp,nlp:width=3"], "The student 'nlp' is not known"),
        (["a.npz", *STUDENTS], "There is no task at a.npz"),
        (["a.npz", *STUDENTS, "--costs", "1"], "--costs compares teachers, and --students makes"),
    ],
)
def test_students_that_cannot_be_compared(tmp_path, capsys, monkeypatch, given, sentence):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["compare", *given]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def priced(plans):
    """Two plans whose curves are easy to read."""
    one = plans["depth-1"]
    curves = {
        "weak <b>": {"sizes": [100, 1000], "error": [0.3, 0.2], "error_se": [0.02, 0.01]},
        "strong": {"sizes": [100, 1000], "error": [0.28, 0.1], "error_se": [0.02, 0.01]},
    }
    return {name: one | {"samples": one["samples"] | curve} for name, curve in curves.items()}


def test_each_amount_has_its_best_teacher(plans):
    rows = rows_of(offers_of(priced(plans), [1.0, 10.0]))
    assert [row.best for row in rows] == ["weak <b>"] * 5 + ["strong"] * 2
    assert rows[0].cells == ("100", "weak <b> ?", "100", "30.0 ± 2.0 %", "not told", "–")
    assert rows[-1].cells == (
        "10,000", "strong", "1,000", "10.0 ± 1.0 %", "weak <b>", "10.0 ± 1.4 points"
    )  # fmt: skip
    assert (
        where_to_spend(rows)
        == "It is best to spend 1,000 to 2,000 on weak <b>, and 5,000 to 10,000 on strong. For"
        " 2,000"
        " the next best is too close to tell. For 100 to 500 it is not told: that buys too few"
        " samples of a teacher."
    )


def test_what_labels_cost_is_in_the_report(plans):
    both = priced(plans)
    text = render_comparison(both, offers_of(both, [0.01, 0.1]))
    assert "What an amount is best spent on" in text
    assert "10 to 20 on weak &lt;b&gt;, and 50 to 100 on strong." in text
    assert "weak <b>" not in text
    assert "spent on labels" in text
    assert "What an amount is best spent on" not in render_comparison(both)


def test_the_command_says_which_teacher_is_worth_its_price(folders, capsys, monkeypatch):
    monkeypatch.chdir(folders)
    assert cli.run(["compare", "depth-1", "depth-3", "--costs", "0.5,2", "--out", "paid.html"]) == 0
    said = capsys.readouterr().out
    assert "best spent on" in said
    assert "It is best to spend 100 to 300 on depth-1." in said
    assert "What an amount is best spent on" in (folders / "paid.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        ("1", "--costs names 1 cost(s) for 2 plan(s); expected one for each, in their order."),
        ("1,0", "--costs holds 0; expected finite numbers above 0."),
        ("1,nan", "--costs holds nan; expected finite numbers above 0."),
        ("1,much", "--costs is '1,much'; expected numbers with commas between them."),
    ],
)
def test_costs_that_say_nothing(folders, capsys, monkeypatch, costs, sentence):
    monkeypatch.chdir(folders)
    assert cli.run(["compare", "depth-1", "depth-3", "--costs", costs, "--out", "no.html"]) == 2
    assert capsys.readouterr().err.startswith(sentence)
    assert not (folders / "no.html").exists()


def test_columns_that_say_nothing_are_left_out(plans):
    rows, titles = compared(plans)
    assert "epoch" not in titles
    assert "student" in titles
    alike = {plan["student"]: plan for plan in plans.values()}
    assert "student" not in compared(alike)[1]
    assert all(len(row.cells) == len(titles) for row in rows)


def test_samples_are_named_where_they_differ(plans):
    assert "samples" not in compared(plans)[1]
    more = copy.deepcopy(plans["depth-3"])
    more["task"]["n_train"] = 151
    assert "samples" in compared({"a": plans["depth-1"], "b": more})[1]


def test_plans_of_tasks_with_other_classes_are_not_compared(folders, capsys, monkeypatch):
    monkeypatch.chdir(folders)
    other = task(n=150, m=200, n_classes=2)
    tu.plan(other, student=tu.kernels.mlp(depth=1), **GRID).save(folders / "two")
    assert cli.run(["compare", "depth-1", "two", "--out", "no.html"]) == 2
    assert (
        capsys.readouterr().err
        == "depth-1 is a plan of a task with 3 classes, and two of one with 2; expected plans"
        " of one"
        " task, for several students or teachers.\n"
    )


def test_a_plan_that_real_students_refute_is_marked(folders, plans, capsys, monkeypatch):
    refuted = {"best": [0.5, 1.0], "regret": 0.02, "regret_se": 0.005}
    sentence = (
        "depth-1: real students erred surely less at a soft ratio of 0.5 and a temperature of 1"
        " than at the setting of the plan."
    )
    same = {name: plan | {"student": "mine"} for name, plan in plans.items()}
    assert not_alike(same, {"depth-1": refuted, "depth-3": None}) == [sentence]
    assert not_alike(same, {"depth-1": refuted | {"regret": 0.001}}) == []
    monkeypatch.chdir(folders)
    (folders / "depth-1" / "verification.json").write_text(json.dumps(refuted))
    assert cli.run(["compare", "depth-1", "depth-3", "--out", "refuted.html"]) == 0
    (folders / "depth-1" / "verification.json").unlink()
    assert sentence in " ".join(capsys.readouterr().out.split())
    assert sentence in (folders / "refuted.html").read_text("utf-8")
