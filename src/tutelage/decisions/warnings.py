"""What a plan warns of beyond what the task and the factorisation said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.task import Taught
from tutelage.decisions.evidence import Evidence
from tutelage.decisions.teacher import Teacher, labelled_count

_FEW = 100
_FAR_OFF = 0.02  # errors in features from those of the exact path
_GAIN, _MUCH_BETTER = (
    0.1,
    1.5,
)  # accuracy that another order of columns has to bring, at least and as a factor
_AS_BAD = 0.9  # as the most frequent class
HARMED = "Networks memorise wrong labels"  # of the note where the choice counts what they do
OUTVOTED = 0.03  # of the labels
_MOSTLY = 0.5  # of the labels that are wrong
_IMBALANCED = 0.4  # of the error of chance


@dataclass(frozen=True)
class Facts:
    """What rules look at.

    Attributes
    ----------
    task : Taught
    epoch : int
        The recommended epoch of the teacher, by its number.
    teacher : Teacher
    evidence : Evidence
    chosen : int
        The recommended setting, by its number.
    attrs : mapping
        Of the curves.
    """

    task: Taught
    epoch: int
    teacher: Teacher
    evidence: Evidence
    chosen: int
    attrs: Mapping[str, Any]


Rule = Callable[[Facts], str | None]
RULES: list[Rule] = []
"""What a reader of the plan should mind, in this order."""


def rule(function: Rule) -> Rule:
    """Enter a rule."""
    RULES.append(function)
    return function


def warnings_of(facts: Facts) -> list[str]:
    """Give the sentences that a reader of the plan should not miss."""
    found = [of(facts) for of in RULES]
    return [sentence for sentence in found if sentence is not None]


def notes_of(facts: Facts) -> list[str]:
    """Give the sentences that say what predicted errors are errors of."""
    found = [
        _error_from_pool(facts.task, facts.attrs),
        _converged(facts.attrs),
        _harmed(facts.evidence),
    ]
    return [sentence for sentence in found if sentence is not None]


@rule
def _columns_in_another_order(facts: Facts) -> str | None:
    """A teacher whose columns are classes in another order than the labels'."""
    task, epoch = facts.task, facts.epoch
    parts = [
        (task.teacher_decisions(p), y)
        for p, y in (("train", task.y_train), ("test", task.y_test))
        if y is not None
    ]
    known = [(given[epoch], y) for given, y in parts if given is not None]
    if not known:
        return None
    given, labels = (np.concatenate(v) for v in zip(*known, strict=True))
    given, labels = given[labels != NOT_LABELLED], labels[labels != NOT_LABELLED]
    seen, numbers = np.unique(
        np.concatenate([given, labels]), return_inverse=True
    )  # of very many classes few are
    counts = np.zeros((len(seen), len(seen)), int)
    np.add.at(counts, tuple(numbers.reshape(2, -1)), 1)
    columns, classes = linear_sum_assignment(counts, maximize=True)
    accuracy, best = (given == labels).mean(), counts[columns, classes].sum() / len(labels)
    chance = 1 / task.n_classes
    below = accuracy < chance - 2 * (chance * (1 - chance) / len(labels)) ** 0.5
    if best - accuracy < _GAIN or not (below or best >= _MUCH_BETTER * accuracy):
        return None
    moved = [
        (seen[c], seen[k])
        for c, k in zip(columns, classes, strict=True)
        if c != k and counts[c].any()
    ]
    shown = (
        "column "
        + ", ".join(f"{c} as class {k}" for c, k in moved[:6])
        + (", …" if len(moved) > 6 else "")
    )
    if task.n_logits == 1:
        shown = "a positive logit as class 0"
    level = f"below chance ({100 * chance:.3g} %)" if below else "far lower than it could be"
    return (
        f"The teacher is right on {100 * accuracy:.1f} % of the labelled samples, {level}; with its"
        f" columns in another order it would be right on {100 * best:.1f} % ({shown}). Look there"
        " first: its classes are probably not in the order of the labels, and then nothing that"
        " this plan says is of use."
    )


@rule
def _one_class_only(facts: Facts) -> str | None:
    task, epoch = facts.task, facts.epoch
    decisions = task.teacher_decisions("train")[epoch]
    if bool((decisions != decisions[0]).any()):
        return None
    return (
        f"The teacher gives class {decisions[0]} to every sample of the pool. Check that"
        " teacher_logits_train are raw scores of these inputs"
        + (", positive for class 1 and negative for class 0." if task.n_logits == 1 else ".")
    )


@rule
def _masked(facts: Facts) -> str | None:
    task = facts.task
    if task.fill is None:
        return None
    share = float((task.teacher_logits("train") <= task.fill).mean())
    return (
        f"{100 * share:.0f} % of the teacher's logits are {task.fill:g}, far below all others:"
        " classes that were masked, of which the teacher says nothing. A student is predicted to"
        " give each about a twelfth of the probability of the least class that was kept. With all"
        " of the teacher's logits the prediction is better, and so, as a rule, is the student."
    )


@rule
def _imbalance(facts: Facts) -> str | None:
    evidence, chosen = facts.evidence, facts.chosen
    if not evidence.against_labels or evidence.majority_error > _IMBALANCED * (
        1 - 1 / (int(evidence.truth.max()) + 1)
    ):
        return None
    most = int(np.bincount(evidence.truth).argmax())
    return (
        f"{100 * (1 - evidence.majority_error):.1f} % of the samples that errors are measured on"
        f" are of class {most}, so that always saying {most} errs on"
        f" {100 * evidence.majority_error:.1f} %. The recommended setting errs on"
        f" {100 * evidence.error[chosen]:.1f} %, and on"
        f" {100 * evidence.balanced_error[chosen]:.1f} % if every class counts alike (balanced"
        " error)."
    )


@rule
def _in_sample_teacher(facts: Facts) -> str | None:
    task, epoch = facts.task, facts.epoch
    train, test = task.teacher_accuracy("train"), task.teacher_accuracy("test")
    if train is None or test is None:
        return None
    gap = float(train[epoch] - test[epoch])
    labelled = labelled_count(task)
    spread = (
        _variance(float(train[epoch]), labelled) + _variance(float(test[epoch]), task.n_test)
    ) ** 0.5
    if gap <= max(0.02, 3 * spread) or _columns_in_another_order(facts) is not None:
        return None
    return (
        f"The teacher is right on {100 * train[epoch]:.1f} % of the pool but on"
        f" {100 * test[epoch]:.1f} % of the test part: it was probably trained on the pool, and"
        " hides its errors there. Soft ratios near 1 then look better than they are; use a pool"
        " that the teacher has not seen."
    )


def _variance(share: float, n: int) -> float:
    """Of a share of so few samples that all of them may be right by chance (Laplace)."""
    smoothed = (share * n + 1) / (n + 2)
    return smoothed * (1 - smoothed) / n


@rule
def _rows_apart(facts: Facts) -> str | None:
    """Logits of other samples than the labels', or labels that are mostly wrong."""
    task, epoch, wrong = facts.task, facts.epoch, facts.teacher.wrong_labels
    if wrong is None or wrong.low < _MOSTLY or _columns_in_another_order(facts) is not None:
        return None
    train, test = task.teacher_accuracy("train"), task.teacher_accuracy("test")
    assert train is not None
    assert test is not None
    return (
        f"The teacher is right on {100 * train[epoch]:.1f} % of the pool but on"
        f" {100 * test[epoch]:.1f} % of the test part: the rows of x_train, teacher_logits_train"
        " and y_train are probably not in the same order, or most labels are wrong. Check that"
        " first; until then nothing that this plan says is of use."
    )


def _error_from_pool(task: Taught, attrs: Mapping[str, Any]) -> str | None:
    if attrs["error_from"] != "pool":
        return None
    why = "There is no test part" if task.n_test == 0 else "The test part has no labels (y_test)"
    return (
        f"{why}, so errors come from the pool itself: unseen samples, and leave-one-out at n = N."
        " Wrong labels of the pool count as errors of the student."
    )


def _harmed(evidence: Evidence) -> str | None:
    if evidence.wrong == 0:
        return None
    return (
        f"The teacher contradicts the pool's labels {100 * evidence.wrong:.0f} points more often"
        f" than those of the test part. {HARMED} more than the student of this"
        f" plan: at the lowest soft ratio they err about {100 * evidence.harm.max():.1f} points"
        " more. The choice and the gain count that; the errors of settings do not (theory.md,"
        " (3.12))."
    )


def _converged(attrs: Mapping[str, Any]) -> str | None:
    if attrs["error_from"] == "test part" or not attrs["finite"]:
        return None
    return (
        "Errors that come from the pool are those of a student that is trained until it has"
        " converged."
    )


@rule
def _features_far_from_exact(facts: Facts) -> str | None:
    off = facts.attrs.get("apart_error", 0.0)
    if off <= _FAR_OFF:
        return None
    return (
        f"At {facts.attrs['exact_at']:,} samples errors in {facts.attrs['features']:,} features are"
        f" up to {100 * off:.1f} points off those of the exact path. Give more features, or none."
    )


@rule
def _few(facts: Facts) -> str | None:
    count = len(facts.evidence.truth)
    if count >= _FEW:
        return None
    return (
        f"Errors are measured on {count} samples only, so that one sample more or less moves them"
        f" by {100 / count:.2g} points: take what is said of settings and sample sizes as a hint."
    )


@rule
def _learns_nothing(facts: Facts) -> str | None:
    evidence, chosen = facts.evidence, facts.chosen
    error, majority = float(evidence.error[chosen]), evidence.majority_error
    if not evidence.against_labels or error < _AS_BAD * majority:
        return None
    trained = facts.attrs["learns_features"]
    where = " and at the learning rate that the notes name (--learning-rate)" if trained else ""
    return (
        f"The recommended student is predicted to err on {100 * error:.1f} % of samples, nearly as"
        f" often as one that always gives the most frequent class ({100 * majority:.1f} %): it"
        f" hardly learns. Look at the inputs, at the order of the teacher's columns{where}."
    )


@rule
def _label_noise(facts: Facts) -> str | None:
    task, teacher, attrs = facts.task, facts.teacher, facts.attrs
    soft_ratio = float(facts.evidence.soft_ratio[facts.chosen])
    share = len(teacher.teacher_corrects_label) / max(1, labelled_count(task))
    told = teacher.wrong_labels
    overvoted = told is not None and share > told.high  # students that know too little to vote
    if (
        share < OUTVOTED
        or overvoted
        or facts.evidence.wrong > 0
        or soft_ratio == 1
        or attrs["learns_features"]
    ):
        return None
    return (
        f"On {100 * share:.1f} % of the labels, the teacher and students that have not seen the"
        " sample agree against the label. If those labels are wrong, the recommended soft ratio"
        " may be too low: a student whose features are not trained, such as an infinitely wide"
        " one, is affected less by wrong labels than practical networks are. Plan for your own"
        " network (--student), or check with tutelage verify."
    )
