"""The task that the benchmarks share: Fashion-MNIST, coat against shirt, and a CNN teacher stopped
early.

Needs Debian's package dataset-fashion-mnist (``make system``). The teacher is trained on samples
that are neither in the pool nor in the test part, and its logits are kept on disk.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import tutelage as tu

COAT, SHIRT = 4, 6
EPOCHS = (1, 2, 4, 8, 16)
CACHE = Path(__file__).parent / "cache"


def task(
    n_train: int = 6000, n_test: int = 2000, *, seed: int = 0, epochs: bool = False, stop: int = 2
) -> tu.Task:
    """Give the task, with all stopping epochs or with the teacher stopped at one."""
    path = CACHE / f"coat-shirt-{n_train}-{n_test}-{seed}.npz"
    if not path.exists():
        _make(n_train, n_test, seed).save(path)
    whole = tu.Task.load(path)
    if epochs:
        return whole
    at = whole.teacher_epochs.tolist().index(stop)
    logits = {part: whole.teacher_logits(part)[at, :, 0] for part in ("train", "test")}
    return tu.Task(
        x_train=whole.x_train,
        teacher_logits_train=logits["train"],
        y_train=whole.y_train,
        x_test=whole.x_test,
        teacher_logits_test=logits["test"],
        y_test=whole.y_test,
    )


def _make(n_train: int, n_test: int, seed: int) -> tu.Task:
    data = tu.datasets.fashion_mnist().pair(COAT, SHIRT)
    order = np.random.default_rng(seed).permutation(len(data.x))
    pool, taught = order[:n_train], order[n_train:]
    logits = _teacher(data.x[taught], data.y[taught], [data.x[pool], data.x_test[:n_test]], seed)
    return tu.Task(
        x_train=data.x[pool],
        teacher_logits_train=logits[0],
        y_train=data.y[pool],
        x_test=data.x_test[:n_test],
        teacher_logits_test=logits[1],
        y_test=data.y_test[:n_test],
        teacher_epochs=np.array(EPOCHS),
    )


def _teacher(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], seed: int) -> list[np.ndarray]:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 1),
    )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters())
    inputs, labels = _images(x), torch.as_tensor(y, dtype=torch.float32)
    kept: list[list[np.ndarray]] = [[] for _ in parts]
    for epoch in range(1, EPOCHS[-1] + 1):
        for batch in torch.randperm(len(inputs)).split(64):
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(
                network(inputs[batch])[:, 0], labels[batch]
            ).backward()
            optimiser.step()
        if epoch in EPOCHS:
            with torch.no_grad():
                for rows, part in zip(kept, parts, strict=True):
                    rows.append(network(_images(part))[:, 0].double().numpy())
    return [np.stack(rows) for rows in kept]


def _images(x: np.ndarray) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float32)[:, None] / 255 - 0.29


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the task of the benchmarks to a file.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--all-epochs", action="store_true")
    arguments = parser.parse_args()
    task(epochs=arguments.all_epochs).save(arguments.path)
