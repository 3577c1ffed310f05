import dataclasses

import numpy as np
import pytest

import tutelage as tu
from problems import task
from tutelage import Task

GRID = {"soft_ratio": [0.3, 1.0], "temperature": [1.0], "orderings": 1}


def planned(problem, **grid):
    return tu.plan(problem, curves=tu.curves(problem, tu.kernels.mlp(depth=1), **(GRID | grid)))


def with_logits(problem, change):
    return dataclasses.replace(
        problem,
        teacher_logits_train=change(problem.teacher_logits_train),
        teacher_logits_test=change(problem.teacher_logits_test),
    )


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        (
            lambda z: np.roll(z, 1, -1),
            "column 0 as class 3, 1 as class 0, 2 as class 1, 3 as class 2",
        ),
        (lambda z: z[:, ::-1], "column 0 as class 3, 1 as class 2, 2 as class 1, 3 as class 0"),
    ],
)
def test_columns_in_another_order_are_said_with_that_order(change, columns):
    problem = task(n=100, m=100, n_classes=4)
    accuracy = (problem.teacher_decisions("train")[0] == problem.y_train).sum()
    accuracy += (problem.teacher_decisions("test")[0] == problem.y_test).sum()
    [warning] = [w for w in planned(with_logits(problem, change)).warnings if "another order" in w]
    assert "below chance (25 %)" in warning
    assert columns in warning
    assert f"it would be right on {accuracy / 2:.1f} %" in warning
    assert "Look there first" in warning
    assert not any("another order" in w for w in planned(problem).warnings)


@pytest.mark.parametrize(
    "kernel", [tu.kernels.mlp(depth=1), tu.kernels.Sequential(*tu.kernels.mlp(depth=1).layers)]
)
def test_wrong_labels_are_warned_of_whatever_a_closed_form_is_called(kernel):
    problem = task(n=200, m=100, n_classes=3)
    rng = np.random.default_rng(0)
    redrawn = np.where(rng.random(200) < 0.3, rng.integers(0, 3, 200), problem.y_train)
    noisy = dataclasses.replace(
        problem,
        teacher_logits_train=6 * np.eye(3)[problem.y_train],
        teacher_logits_test=6 * np.eye(3)[problem.y_test],
        y_train=redrawn,
    )
    curves = tu.curves(noisy, kernel, soft_ratio=[0.2, 0.4], temperature=[1.0], orderings=1)
    [note] = [n for n in tu.plan(noisy, curves=curves).notes if "Networks memorise wrong" in n]
    assert note.startswith("The teacher contradicts the pool's labels 18 points more often")
    bare = dataclasses.replace(noisy, y_test=None, teacher_logits_test=None, x_test=None)
    curves = tu.curves(bare, kernel, soft_ratio=[0.2, 0.4], temperature=[1.0], orderings=1)
    [warning] = [w for w in tu.plan(bare, curves=curves).warnings if "soft ratio may be too" in w]
    assert "agree against the label" in warning
    assert warning.endswith("Plan for your own network (--student), or check with tutelage verify.")


def test_two_columns_that_changed_places_are_said():
    problem = task(n=200, m=100, n_classes=3)
    changed = with_logits(problem, lambda z: z[:, [1, 0, 2]])
    [warning] = [w for w in planned(changed).warnings if "another order" in w]
    assert "far lower than it could be" in warning or "below chance" in warning
    assert "column 0 as class 1, 1 as class 0)" in warning


def test_a_sign_that_is_turned_is_said():
    problem = task(n=100, m=100, n_classes=2)
    [warning] = [
        w for w in planned(with_logits(problem, lambda z: -z)).warnings if "another order" in w
    ]
    assert "below chance (50 %)" in warning
    assert "(column a positive logit as class 0)" not in warning
    assert "(a positive logit as class 0)" in warning


def test_a_teacher_that_only_knows_one_class_is_said():
    problem = task(n=100, m=100, n_classes=2)
    [warning] = [
        w
        for w in planned(with_logits(problem, lambda z: np.abs(z) + 1.5)).warnings
        if "to every sample" in w
    ]
    assert "The teacher gives class 1 to every sample of the pool." in warning


def test_a_weak_teacher_is_not_said_to_be_mixed_up():
    rng = np.random.default_rng(0)
    problem = task(n=300, m=100, n_classes=3)
    weak = with_logits(problem, lambda z: z + 6 * rng.normal(size=z.shape))
    assert not any("another order" in w for w in planned(weak).warnings)


def test_imbalance_is_said_with_the_balanced_error_and_the_majority():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 6))
    y = (x[:, 0] + 0.5 * rng.normal(size=800) > 2.3).astype(int)
    z = 0.3 * (x[:, 0] - 3)
    problem = Task(x[:400], z[:400], y[:400], x[400:], z[400:], y[400:])
    plan = planned(problem)
    share = y[400:].mean()
    assert 0 < share < 0.05
    assert plan.task["majority_error"] == pytest.approx(share)
    decided = (
        plan.curves.decision.sel(soft_ratio=plan.recommended.soft_ratio)
        .isel(start=0, temperature=0)
        .values
    )
    wrong = decided != y[400:]
    expected = (wrong[y[400:] == 0].mean() + wrong[y[400:] == 1].mean()) / 2
    assert plan.recommended.balanced_error == pytest.approx(expected)
    assert expected > plan.recommended.error + 0.1
    [warning] = [w for w in plan.warnings if "balanced error" in w]
    assert f"always saying 0 errs on {100 * plan.task['majority_error']:.1f} %" in warning
    assert f"on {100 * expected:.1f} % if every class counts alike" in warning
    assert not any("balanced error" in w for w in planned(task(n=100, m=100, n_classes=2)).warnings)


def test_masked_logits_are_said_and_do_not_count_for_what_they_are():
    problem = task(n=150, m=300, n_classes=6)

    def masked(fill):
        def change(z):
            return np.where(z < np.sort(z, 1)[:, -3:].min(1, keepdims=True), fill, z)

        return planned(with_logits(problem, change))

    far, near, plain = masked(-1e4), masked(-100.0), planned(problem)
    [warning] = [w for w in far.warnings if "masked" in w]
    assert warning.startswith(
        "50 % of the teacher's logits are -10000, far below all others: classes that were masked"
    )
    assert (
        far.recommended.error == near.recommended.error
    )  # what stands for nought is of no account
    assert far.recommended.error <= plain.recommended.error + 0.06
    assert not any("masked" in w for w in plain.warnings)


@pytest.mark.parametrize(("n", "m", "count"), [(300, 50, 50), (50, 300, None), (60, None, 60)])
def test_few_samples_to_measure_errors_on_are_said(n, m, count):
    problem = task(n=n, m=m or 10, n_classes=2, test=m is not None)
    found = [w for w in planned(problem).warnings if "samples only" in w]
    assert [w.split(",")[0] for w in found] == (
        [] if count is None else [f"Errors are measured on {count} samples only"]
    )
    if found:
        assert f"moves them by {100 / count:.2g} points" in found[0]


def test_a_test_part_without_labels_is_said_and_none_at_all_is_not():
    whole = task(n=120, m=100)
    unlabelled = dataclasses.replace(whole, y_test=None)
    for problem, said in ((unlabelled, True), (whole, False), (task(n=120, test=False), False)):
        document = planned(problem).to_json()
        assert ("The test part has no labels (y_test)" in document) == said
        assert "until it has converged" not in document  # of a network only


def deciding(decided, y, seed=0):
    """A task of a teacher that decides so, on the pool and on the test part alike."""
    rng, n, classes = np.random.default_rng(seed), len(y), int(max(*decided, *y)) + 1
    z = np.eye(classes)[decided] + 0.1 * rng.random((n, classes))
    x = rng.normal(size=(2 * n, 5))
    return Task(x[:n], z, y, x[n:], z, y)


@pytest.mark.parametrize(
    ("n", "right", "said"),
    [
        (100, 0.44, False),  # another order is right on 56 %, as it may be by chance
        (100, 0.38, True),
        (1000, 0.46, False),  # surely below chance, but little would be gained
        (1000, 0.44, True),
    ],
)
def test_two_columns_are_said_to_be_exchanged_where_it_is_sure_and_matters(n, right, said):
    y = np.arange(n) % 2
    decided = np.where(np.arange(n) < right * n, y, 1 - y)
    found = planned(deciding(decided, y), sizes=[20]).warnings
    assert any("another order" in w for w in found) == said


@pytest.mark.parametrize(("right", "said"), [(0.35, False), (0.1, True)])
def test_classes_that_are_mistaken_for_each_other_are_not_said_to_be_exchanged(right, said):
    """Half of the samples are sure; the others are decided the wrong way round as a rule."""
    n = 400
    y = np.where(np.arange(n) % 2, 0, 1 + np.arange(n) // 2 % 2)
    others = np.random.default_rng(0).random(n) < right
    decided = np.where((y == 0) | others, y, 3 - y)
    found = planned(deciding(decided, y), sizes=[20]).warnings
    assert any("another order" in w for w in found) == said


def test_a_column_that_never_wins_is_not_said_to_be_another_class():
    y = np.array([0, 0, 1, 2])[np.arange(120) % 4]
    decided = np.array([1, 2, 1])[y]  # column 0 never wins, and would be left over for class 2
    [warning] = [w for w in planned(deciding(decided, y)).warnings if "another order" in w]
    assert "(column 1 as class 0, 2 as class 1)" in warning


def warned(problem, words):
    made = tu.plan(problem, student=tu.kernels.mlp(depth=1), soft_ratio=[0.5], temperature=[1.0])
    return [w for w in made.warnings if words in w]


def test_logits_of_other_rows_are_warned_of():
    """Shuffled rows look like a pool whose labels are nearly all wrong."""
    problem = task(n=300, m=200, noise=0.1, n_classes=5)
    order = np.random.default_rng(0).permutation(300)
    shuffled = dataclasses.replace(
        problem, teacher_logits_train=problem.teacher_logits_train[order]
    )
    [said] = warned(shuffled, "are probably not in the same order")
    assert said.startswith("The teacher is right on ")
    assert not warned(problem, "are probably not in the same order")


def test_a_teacher_that_is_right_on_three_samples_was_not_trained_on_them():
    problem = task(n=300, m=200, noise=2.0)
    right = problem.teacher_decisions("train")[0] == problem.y_train
    some = [np.flatnonzero(right & (problem.y_train == k))[0] for k in range(3)]
    few = dataclasses.replace(
        problem,
        x_train=problem.x_train[some],
        teacher_logits_train=problem.teacher_logits_train[some],
        y_train=problem.y_train[some],
    )
    assert not warned(few, "was probably trained on the pool")


def test_errors_without_a_test_part_are_said_to_be_those_of_the_pool():
    made = tu.plan(
        task(test=False), student=tu.kernels.mlp(depth=1), soft_ratio=[0.5], temperature=[1.0]
    )
    assert any(note.startswith("There is no test part, so errors come") for note in made.notes)
