"""Which samples of a pool to label next."""

import numpy as np

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.task import Taught

MOST = 1000  # samples that are listed
_ROWS = 1 << 16  # that are looked at at once


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
    return np.concatenate([_margin(part.astype(np.float64)) for part in parts])


def _margin(logits: np.ndarray) -> np.ndarray:
    if logits.shape[1] == 1:
        return np.asarray(np.abs(np.tanh(logits[:, 0] / 2)))
    two = -np.partition(-logits, 1, axis=1)[:, :2]
    total = np.logaddexp.reduce(logits, 1)
    return np.asarray(np.exp(two[:, 0] - total) - np.exp(two[:, 1] - total))
