"""What a plan warns of beyond what the task and the factorisation said."""

from collections.abc import Mapping
from typing import Any

from tutelage.decisions.teacher import Teacher
from tutelage.task import Task

_FEW = 100


def warnings_of(task: Task, epoch: int, teacher: Teacher, soft_ratio: float, attrs: Mapping[str, Any]) -> list[str]:
    """Give the sentences that a reader of the plan should not miss."""
    found = [
        _in_sample_teacher(task, epoch),
        _error_from_pool(task, attrs),
        _converged(attrs),
        _few(task, attrs),
        _label_noise(task, teacher, soft_ratio, attrs),
    ]
    return [sentence for sentence in found if sentence is not None]


def _in_sample_teacher(task: Task, epoch: int) -> str | None:
    train, test = task.teacher_accuracy("train"), task.teacher_accuracy("test")
    if train is None or test is None:
        return None
    gap = float(train[epoch] - test[epoch])
    spread = sum(float(a * (1 - a)) / n for a, n in ((train[epoch], task.n_train), (test[epoch], task.n_test))) ** 0.5
    if gap <= max(0.02, 3 * spread):
        return None
    return (
        f"The teacher is right on {100 * train[epoch]:.1f} % of the pool but on {100 * test[epoch]:.1f} % of the test part: it was "
        "probably trained on the pool, and hides its errors there. Soft ratios near 1 then look better than they are; "
        "use a pool that the teacher has not seen."
    )


def _error_from_pool(task: Task, attrs: Mapping[str, Any]) -> str | None:
    if task.x_test is None or attrs["error_from"] == "test part":
        return None
    return "The test part has no labels (y_test), so errors come from the pool itself: unseen samples, and leave-one-out at n = N."


def _converged(attrs: Mapping[str, Any]) -> str | None:
    if attrs["error_from"] == "test part" or not attrs["finite"]:
        return None
    return "Errors that come from the pool are those of a student that is trained until it has converged."


def _few(task: Task, attrs: Mapping[str, Any]) -> str | None:
    count = task.n_test if attrs["error_from"] == "test part" else task.n_train
    if count >= _FEW:
        return None
    return (
        f"Errors are measured on {count} samples only, so that one sample more or less moves them by {100 / count:.2g} points: take "
        "what is said of settings and sample sizes as a hint."
    )


def _label_noise(task: Task, teacher: Teacher, soft_ratio: float, attrs: Mapping[str, Any]) -> str | None:
    share = len(teacher.teacher_corrects_label) / task.n_train
    if share < 0.03 or soft_ratio >= 0.5 or "width=inf" not in attrs["student"]:
        return None
    return (
        f"On {100 * share:.1f} % of the pool, the teacher and students that have not seen the sample agree against its label. If "
        "those labels are wrong, the recommended soft ratio may be too low: an infinitely wide student shrugs wrong labels off more "
        "easily than practical networks do."
    )
