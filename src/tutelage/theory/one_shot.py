"""The soft ratio of least squared error, without training at others (docs/theory.md §2)."""

from jaxtyping import Float
from numpy import ndarray


def one_shot_ratio(
    of_labels: Float[ndarray, "m C"],
    of_teacher: Float[ndarray, "m C"],
    truth: Float[ndarray, "m C"],
) -> float:
    """Give the soft ratio at which a student that is linear in its targets has the least squared
    error, (2.6); it may be above 1, or below 0.

    Parameters
    ----------
    of_labels, of_teacher : array of shape (m, C)
        What students that learn from the labels alone and from the teacher alone predict of inputs
        that they have not seen.
    truth : array of shape (m, C)
        What they should.

    Returns
    -------
    float

    References
    ----------
    Das and Sanghavi, *Understanding Self-Distillation in the Presence of Label Noise*, ICML 2023;
    Dang, Patil and Rinaldo, 2026, arXiv 2602.17565.

    Examples
    --------
    >>> import numpy as np
    >>> one_shot_ratio(np.array([[0.0]]), np.array([[0.5]]), np.array([[0.8]]))
    1.6
    """
    way = of_teacher - of_labels
    return float(((truth - of_labels) * way).sum() / (way**2).sum())
