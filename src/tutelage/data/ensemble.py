"""Several teachers as one."""

from collections.abc import Sequence

import numpy as np

from tutelage.exceptions import TaskError


def ensemble(logits: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """Average what several teachers say, in probability.

    Parameters
    ----------
    logits : sequence of arrays of shape (n, C), or (n,)
        Of each teacher: raw scores or log-probabilities; or one binary logit for each sample.
    weights : sequence of float, optional
        Of the teachers, positive; by default alike.

    Returns
    -------
    array of shape (n, C), or (n,)
        log Σ_k w_k softmax(z_k) with weights that sum to one; or its binary logit. In float64.

    Raises
    ------
    TaskError
        If the teachers have different shapes, or a weight is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> sure, unsure = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    >>> np.exp(ensemble([sure, unsure])).round(3)
    array([[0.7, 0.3]])
    """
    shapes = [np.shape(z) for z in logits]
    if not shapes or len(set(shapes)) > 1 or len(shapes[0]) < 1:
        said = ", ".join(map(str, shapes)) or "none"
        raise TaskError(
            f"The teachers' logits have the shapes {said}; expected the same of all, (n, C), or"
            " (n,) for one logit."
        )
    shares = np.asarray([1.0] * len(shapes) if weights is None else weights, float)
    if shares.shape != (len(shapes),) or not (np.isfinite(shares) & (shares > 0)).all():
        raise TaskError(
            f"The weights of {len(shapes)} teachers are {shares.tolist()}; expected a positive"
            " number for each."
        )
    scores = np.stack([np.asarray(z, np.float64) for z in logits])
    binary = scores.ndim == 2
    if binary:
        scores = np.stack([scores, np.zeros_like(scores)], -1)
    logs = scores - np.logaddexp.reduce(scores, -1, keepdims=True)
    weighted = logs + np.log(shares / shares.sum()).reshape(-1, *[1] * (logs.ndim - 1))
    mean: np.ndarray = np.logaddexp.reduce(weighted, 0)
    return mean[..., 0] - mean[..., 1] if binary else mean
