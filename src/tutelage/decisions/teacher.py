"""Which checkpoint, and where the teacher is wrong (docs/theory.md §6)."""

from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.task import Taught
from tutelage.decisions.evidence import Evidence, within_one_se
from tutelage.decisions.settings import Choice
from tutelage.theory.effective_logits import flip_ratio
from tutelage.theory.imperfect_teacher import split_disagreements
from tutelage.theory.wrong_labels import WrongLabels, suspicion, wrong_labels

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Epoch:
    """A teacher's stopping epoch at its own recommended setting."""

    epoch: int
    error: float | None
    error_se: float | None
    transfer_risk: float | None
    data_inefficiency: float
    soft_ratio: float
    temperature: float


@dataclass(frozen=True)
class Teacher:
    """The teacher's part of a plan; ids are positions in the pool.

    `flip_ratio_quantiles` are those of the teacher's errors on the pool, at the recommended
    temperature: the soft ratios under which a label would overrule it. `label_next` are samples
    without a label, the one that deserves it most first. `suspect_labels` are all samples on which
    teacher and label differ, the label that is most probably wrong first, as in the three lists
    before; `wrong_labels` is the share of wrong labels, None where it cannot be told.
    """

    epochs: list[Epoch] | None
    recommended_epoch: int | None
    label_corrects_teacher: list[int]
    teacher_corrects_label: list[int]
    undecided: list[int]
    flip_ratio_quantiles: dict[str, float]
    label_next: list[int] = field(default_factory=list)
    suspect_labels: list[int] = field(default_factory=list)
    wrong_labels: WrongLabels | None = None


def choose_epoch(evidences: list[Evidence], choices: list[Choice]) -> int:
    """Choose among epochs whose recommended settings err within one standard error of the best.

    Of those the one whose students err least on average over all settings of the grid: with that
    checkpoint the setting matters least, and so does any flaw in its prediction.
    """
    rows = [e.mistakes[c.chosen] for e, c in zip(evidences, choices, strict=True)]
    best = int(np.argmin([row.mean() for row in rows]))
    equal = [e for e, row in enumerate(rows) if within_one_se(row, rows[best])]
    return min(equal, key=lambda e: float(evidences[e].error.mean()))


def describe_epoch(
    task: Taught, data: xr.Dataset, index: int, evidence: Evidence, choice: Choice
) -> Epoch:
    """Summarise one epoch (`data` has no epoch axis left)."""
    assert task.teacher_epochs is not None
    s, risk = choice.chosen, None
    setting = {"soft_ratio": evidence.soft_ratio[s], "temperature": evidence.temperature[s]}
    if "transfer_risk" in data:
        risk = float(data.transfer_risk.sel(setting).isel(n=-1).mean())
    return Epoch(
        int(task.teacher_epochs[index]),
        float(evidence.error[s]) if evidence.against_labels else None,
        float(evidence.error_se[s]) if evidence.against_labels else None,
        risk,
        float(evidence.inefficiency[s]),
        float(evidence.soft_ratio[s]),
        float(evidence.temperature[s]),
    )


def disagreements(
    task: Taught, data: xr.Dataset, epoch: int, temperature: float, t_power: int
) -> dict[str, object]:
    """Split the pool where teacher and label differ, and say how firmly the teacher errs."""
    if task.y_train is None:
        return {
            "label_corrects_teacher": [],
            "teacher_corrects_label": [],
            "undecided": [],
            "flip_ratio_quantiles": {},
        }
    votes = data.decision_loo.sel(temperature=temperature)
    low, high = (np.asarray(votes.isel(soft_ratio=k)) for k in (0, -1))
    given, labels = task.teacher_decisions("train")[epoch], np.asarray(task.y_train)
    order = suspects(task, epoch, low)
    split = split_disagreements(
        *(torch.as_tensor(np.asarray(v)[order]) for v in (given, labels, low, high))
    )
    return {
        "label_corrects_teacher": order[split.label_corrects_teacher.numpy()].tolist(),
        "teacher_corrects_label": order[split.teacher_corrects_label.numpy()].tolist(),
        "undecided": order[split.undecided.numpy()].tolist(),
        "flip_ratio_quantiles": _quantiles(error_flip_ratios(task, epoch, temperature, t_power)),
        "suspect_labels": order.tolist(),
        "wrong_labels": None if "held_out" in data else share_of_wrong(task, epoch),
    }


def suspects(task: Taught, epoch: int, votes: np.ndarray) -> np.ndarray:
    """Give the samples on which teacher and label differ, the most suspicious label first, (6.3).

    Parameters
    ----------
    task : Taught
    epoch : int
        Of the teacher, by its number.
    votes : integer array of shape (N,)
        Of the student of the smallest soft ratio, which has not seen the sample; negative where it
        does not say.
    """
    given, labels = task.teacher_decisions("train")[epoch], np.asarray(task.y_train)
    found = np.flatnonzero((given != labels) & (labels != NOT_LABELLED))
    against = (votes != labels) & (votes >= 0)
    logits = task.teacher_logits("train")[epoch]
    score = suspicion(logits[found], labels[found], against[found])
    return found[np.argsort(-score, kind="stable")]


def share_of_wrong(task: Taught, epoch: int) -> WrongLabels | None:
    """Give the share of the pool's labels that are wrong, (6.2); None without a test part."""
    pool, test = (task.teacher_accuracy(part) for part in ("train", "test"))
    if pool is None or test is None or task.y_train is None:
        return None
    return wrong_labels(
        float(pool[epoch]), labelled_count(task), float(test[epoch]), task.n_test, task.n_classes
    )


def labelled_count(task: Taught) -> int:
    """How many samples of the pool have a label."""
    labels = task.y_train
    return 0 if labels is None else int((np.asarray(labels) != NOT_LABELLED).sum())


def error_flip_ratios(task: Taught, epoch: int, temperature: float, t_power: int) -> np.ndarray:
    """The flip ratio, (2.3), of each pool sample on which the teacher is wrong."""
    assert task.y_train is not None
    logits = task.teacher_logits("train")[epoch]
    wrong = task.teacher_decisions("train")[epoch] != task.y_train
    wrong &= task.y_train != NOT_LABELLED
    flat = logits[wrong, 0] if task.n_logits == 1 else logits[wrong]
    if not wrong.any():
        return np.empty(0)
    return flip_ratio(flat, task.y_train[wrong], temperature=temperature, t_power=t_power)


def _quantiles(flips: np.ndarray) -> dict[str, float]:
    return {f"{q:g}": float(np.quantile(flips, q)) for q in QUANTILES} if len(flips) else {}
