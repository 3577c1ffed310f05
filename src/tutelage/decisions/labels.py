"""Which samples of a pool to label next, and what labels of the rest would bring."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.task import Task, Taught
from tutelage.decisions.evidence import Evidence, paired

_HIDDEN = 4  # of so many labels one is kept
_FEWEST = 40  # labels that are enough to hide some
MOST = 1000  # samples that are listed
_ROWS = 1 << 16  # that are looked at at once


@dataclass(frozen=True)
class Labelling:
    """What labels of all samples are expected to take off the error, beside those that there
    are.
    """

    error_reduction: float
    se: float


def with_fewer(task: Taught, seed: int) -> Task | None:
    """Give the task with a quarter of its labels; None where all samples are labelled, or labels
    are too few to tell anything.
    """
    if not isinstance(task, Task) or task.y_train is None or task.y_test is None:
        return None
    known = np.flatnonzero(task.labelled)
    if len(known) == task.n_train or len(known) < _FEWEST:
        return None
    order = np.random.default_rng([seed, 1]).permutation(known)
    fewer = np.array(task.y_train)
    fewer[order[len(known) // _HIDDEN :]] = NOT_LABELLED
    return replace(task, y_train=fewer)


def labelling(task: Task, data: xr.Dataset, fewer: xr.Dataset) -> Labelling:
    """Tell it from what the labels that there are bring beside a quarter of them.

    Errors are taken to fall as the root of the share of samples with a label, f: from f/4 to f by
    half of what they would from 0, so that from f to 1 they fall by 2 (1/√f - 1) of that.

    Parameters
    ----------
    task : Task
    data, fewer : xarray.Dataset
        Curves of it, and of `with_fewer` of it, from the same first start; of one teacher's epoch.
    """
    share = float(task.labelled.mean())
    rows = [Evidence.of(task, d, 0).mistakes[:, :1] for d in (fewer, data)]
    few, all_of_them = (row[int(row.mean((1, 2)).argmin())] for row in rows)
    lost, error = paired(few, all_of_them)
    factor = 2 * (share**-0.5 - 1)
    return Labelling(factor * lost, factor * error)


def label_next(task: Taught, epoch: int) -> list[int]:
    """Give the samples without a label of which the teacher is least sure, the least sure first: of
    copies the first one, and 1,000 at most.

    A label helps most where the teacher is wrong. Of the lists that were tried this one found most
    such samples (benchmarks/labels.py).
    """
    labels = task.y_train
    open_ones = np.ones(task.n_train, bool) if labels is None else labels == NOT_LABELLED
    first = getattr(task, "copy_of", None)
    if first is not None:
        open_ones = open_ones & (first == np.arange(task.n_train))
    samples = np.flatnonzero(open_ones)
    margins = margin(task, epoch)[samples]
    return [int(i) for i in samples[np.argsort(margins, kind="stable")][:MOST]]


def margin(task: Taught, epoch: int) -> np.ndarray:
    """How much likelier the teacher takes its first choice to be than its second, from 0 to 1,
    (N,).
    """
    logits = task.teacher_logits("train")[epoch]
    parts = (logits[k : k + _ROWS] for k in range(0, len(logits), _ROWS))
    return np.concatenate([margin_of(part.astype(np.float64)) for part in parts])


def margin_of(logits: np.ndarray) -> np.ndarray:
    """Give the same of logits (n, C), C = 1 for one logit: (n,)."""
    if logits.shape[1] == 1:
        return np.asarray(np.abs(np.tanh(logits[:, 0] / 2)))
    two = -np.partition(-logits, 1, axis=1)[:, :2]
    total = np.logaddexp.reduce(logits, 1)
    return np.asarray(np.exp(two[:, 0] - total) - np.exp(two[:, 1] - total))
