"""The real data that claims are run on."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from tutelage.data.task import Task
from tutelage.datasets import fashion_mnist, gaussian_mixture, split
from tutelage.progress import Progress, silent
from tutelage.train._teach import Teaching, teach
from tutelage.train.networks import cnn


def coat_shirt(*, fast: bool, seed: int = 0, progress: Progress = silent) -> Task:
    """Fashion-MNIST, coat against shirt, and a small CNN that was stopped at several epochs as the
    teacher.
    """
    data = fashion_mnist().pair(4, 6)
    taught, pool, epochs = (1500, 600, [1, 3, 10]) if fast else (5000, 3000, [1, 2, 4, 8, 16])
    parts = split(data, teacher=taught, pool=pool, test=2000, seed=seed)
    teaching = Teaching(epochs[-1], epochs, batch_size=32, learning_rate=0.03, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        return teach(
            data, parts, cnn(8), "cnn:width=8", teaching, folder=Path(folder), progress=progress
        )


def mixture(n: int, n_test: int, *, features: int = 2, seed: int = 0) -> Task:
    """A Gaussian mixture, with Bayes' rule as the teacher."""
    data, bayes = gaussian_mixture(n, n_test, features=features, seed=seed)
    return Task(data.x, bayes(data.x), data.y, data.x_test, bayes(data.x_test), data.y_test)


def at_epoch(task: Task, epoch: int) -> Task:
    """The same task with one of the teacher's epochs alone, counted from 0."""
    train, test = task.teacher_logits("train"), task.teacher_logits("test")
    assert test is not None
    return Task(task.x_train, train[epoch], task.y_train, task.x_test, test[epoch], task.y_test)


def redrawn(task: Task, share: float, *, epoch: int, seed: int = 0) -> Task:
    """One teacher epoch of a task, with a share of the pool's labels drawn anew."""
    rng = np.random.default_rng([seed, 7])
    labels = np.asarray(task.y_train).copy()
    chosen = rng.random(len(labels)) < share
    labels[chosen] = rng.integers(0, task.n_classes, chosen.sum())
    return replace(at_epoch(task, epoch), y_train=labels)
