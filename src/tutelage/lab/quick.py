"""A real teacher in seconds, for a built-in data set: what `tutelage demo` distils."""

import numpy as np
from sklearn.neural_network import MLPClassifier

from tutelage.data.task import Task
from tutelage.datasets import Dataset, load
from tutelage.progress import Progress, silent

EPOCHS = (1, 2, 4, 8, 16, 32)
_COUNTS = {"digits": (900, 400, 497), "fashion-mnist": (20000, 3000, 2000)}  # teacher, pool, test


def quick_task(name: str, *, seed: int = 0, progress: Progress = silent) -> Task:
    """Train a teacher on a part of a data set, and give the rest as a task.

    The teacher is scikit-learn's multi-layer perceptron (one hidden layer of 64), stopped after
    several epochs; the pool and the test part are samples that it has not seen.

    Parameters
    ----------
    name : {"digits", "fashion-mnist"}
    seed : int
        Of the split and of the teacher.
    progress : Progress
        Told of the epochs.

    Returns
    -------
    Task
        With teacher logits at epochs 1, 2, 4, ..., 32.

    Raises
    ------
    TaskError
        If the data set is unknown or not installed.

    Examples
    --------
    >>> task = quick_task("digits")
    >>> task.n_train, task.n_test, task.teacher_epochs
    (400, 497, array([ 1,  2,  4,  8, 16, 32]))
    """
    data, order = load(name), np.random.default_rng(seed)
    n_teacher, n_pool, n_test = _COUNTS[name]
    x, y, x_test, y_test = _split_off_test(data, n_test, order)
    chosen = order.permutation(len(x))[: n_teacher + n_pool]
    taught, pool = chosen[:n_teacher], chosen[n_teacher:]
    logits = _teacher(x[taught], y[taught], [x[pool], x_test], len(data.classes), seed, progress)
    return Task(
        x_train=x[pool],
        teacher_logits_train=logits[0],
        y_train=y[pool],
        x_test=x_test,
        teacher_logits_test=logits[1],
        y_test=y_test,
        teacher_epochs=np.array(EPOCHS),
        source=name,
    )


def _split_off_test(
    data: Dataset, n_test: int, order: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if len(data.x_test):
        held = order.permutation(len(data.x_test))[:n_test]
        return data.x, data.y, data.x_test[held], data.y_test[held]
    shuffled = order.permutation(len(data.x))
    held, rest = shuffled[:n_test], shuffled[n_test:]
    return data.x[rest], data.y[rest], data.x[held], data.y[held]


def _teacher(
    x: np.ndarray,
    y: np.ndarray,
    parts: list[np.ndarray],
    n_classes: int,
    seed: int,
    progress: Progress,
) -> list[np.ndarray]:
    """Logits of each part at each of the stopping epochs, (E, n, C)."""
    scale = float(x.max())
    network = MLPClassifier((64,), learning_rate_init=3e-3, batch_size=32, random_state=seed)
    found: list[list[np.ndarray]] = [[] for _ in parts]
    with progress("teacher", EPOCHS[-1]) as advance:
        for epoch in range(1, EPOCHS[-1] + 1):
            network.partial_fit(x.reshape(len(x), -1) / scale, y, classes=np.arange(n_classes))
            if epoch in EPOCHS:
                for kept, part in zip(found, parts, strict=True):
                    # Log-probabilities are the logits up to a constant per sample, which no loss
                    # sees.
                    p = network.predict_proba(part.reshape(len(part), -1) / scale)
                    kept.append(np.log(np.maximum(p, 1e-30)))
            advance(1)
    return [np.stack(kept) for kept in found]
