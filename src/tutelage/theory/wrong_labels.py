"""How many labels are wrong, and which are suspected (docs/theory.md §6)."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

_NORMAL = 1.6449  # of 90 %
_LEAST = 0.1  # by which a teacher has to tell right labels from wrong ones
_VOTE = 0.5  # what a student's vote counts beside the teacher's logarithm


@dataclass(frozen=True)
class WrongLabels:
    """The share of the pool's labels that are wrong, and its 90 % interval."""

    share: float
    low: float
    high: float


def wrong_labels(
    agreed: float, labelled: int, agreed_test: float, tested: int, classes: int
) -> WrongLabels | None:
    """Give the share of labels that are wrong, by how much more often the teacher contradicts them
    than those of a test part whose labels are right, (6.2).

    Parameters
    ----------
    agreed, agreed_test : float
        Shares of labels that the teacher agrees with, in a pool that it was not trained on and in
        the test part.
    labelled, tested : int
        How many labels these are of.
    classes : int

    Returns
    -------
    WrongLabels or None
        None where the teacher tells right labels from wrong ones too seldom, or agrees with the
        pool so much more often than with the test part that it was probably trained on it.

    Examples
    --------
    >>> found = wrong_labels(0.646, 1500, 0.787, 2000, 10)
    >>> round(found.share, 2), round(found.low, 2), round(found.high, 2)
    (0.18, 0.15, 0.22)
    """
    by_chance = (1 - agreed_test) / (classes - 1)
    told = agreed_test - by_chance
    if told < _LEAST:
        return None
    share = (agreed_test - agreed) / told
    by_test = (1 - share * classes / (classes - 1)) / told  # its derivatives
    by_pool = 1 / told
    variance = (
        by_test**2 * agreed_test * (1 - agreed_test) / tested
        + by_pool**2 * agreed * (1 - agreed) / labelled
    )
    wide = _NORMAL * math.sqrt(variance)
    if share + 2 * wide < 0:
        return None
    return WrongLabels(*(min(max(v, 0.0), 1.0) for v in (share, share - wide, share + wide)))


def suspicion(
    logits: Float[ndarray, "n C"], labels: Int[ndarray, " n"], contradicted: Bool[ndarray, " n"]
) -> Float[ndarray, " n"]:
    """Give how much speaks against each label, in nats, (6.3).

    Parameters
    ----------
    logits : array of shape (n, C)
        The teacher's; C = 1 for one logit.
    labels : array of shape (n,)
    contradicted : array of shape (n,)
        Whether the student of the smallest soft ratio, which has not seen the sample, votes for
        another class.

    Examples
    --------
    >>> suspicion(np.array([[0.0], [9.0]]), np.array([1, 0]), np.array([True, False])).round(2)
    array([1.19, 9.  ])
    """
    z = logits.astype(np.float64)
    if z.shape[1] == 1:
        against = np.logaddexp(0, np.where(labels == 1, -z[:, 0], z[:, 0]))
    else:
        against = np.logaddexp.reduce(z, 1) - z[np.arange(len(z)), labels]
    return np.asarray(against + _VOTE * contradicted)
