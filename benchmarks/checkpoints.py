"""Which checkpoint of a teacher: the plan's, and the usual rules.

    OMP_NUM_THREADS=1 python benchmarks/checkpoints.py [--seeds 2]

Fashion-MNIST, ten classes: a CNN is taught for ten epochs on 2,000 or 20,000 samples, with its
logits kept after every second one; pools of 1,500 samples, with all labels right or 30 % redrawn.
Real students (MLPs, 30 epochs) of every checkpoint at three settings; a checkpoint's error is that
of its best setting. Rules: the plan's (`teacher.recommended_epoch`, within one training), the most
accurate on the test part, the last, and the one half way, which Wang et al. (2210.06458) find to be
good on average. Printed is what each costs in points against the best.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from comparison import STUDENT
from rich.console import Console
from rich.table import Table
from torch import nn

import tutelage as tu
from tutelage.data.part import Part
from tutelage.lab import DistillationLoss
from tutelage.students import as_student
from tutelage.students.network import decisions

CACHE = Path(__file__).parent / "cache" / "checkpoints"
CASES = ((2000, 0.0), (2000, 0.3), (20000, 0.0), (20000, 0.3))
EPOCHS, N, TESTED = (2, 4, 6, 8, 10), 1500, 2000
SETTINGS = ((0.2, 4.0), (0.6, 4.0), (1.0, 4.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    given, console = parser.parse_args(), Console(width=130, highlight=False)
    CACHE.mkdir(parents=True, exist_ok=True)
    table = Table(
        "taught on",
        "redrawn",
        "errors of students, %",
        "of teachers, %",
        "plan",
        "most accurate",
        "last",
        "half way",
    )
    costs = []
    for taught, noise in CASES:
        task = case(taught, noise)
        errors = real(task, f"{taught}-{noise}", given.seeds)
        student = as_student("mlp:width=512", training=STUDENT["mlp"], epochs=30)
        made = tu.plan(task, student=student, soft_ratio=[0.2, 0.6, 1.0], temperature=[4.0])
        accuracy = task.teacher_accuracy("test")
        assert accuracy is not None
        rules = {
            "plan": EPOCHS.index(made.teacher.recommended_epoch),
            "most accurate": int(accuracy.argmax()),
            "last": len(EPOCHS) - 1,
            "half way": len(EPOCHS) // 2,
        }
        cost = [100 * (errors[e] - errors.min()) for e in rules.values()]
        costs.append(cost)
        table.add_row(
            f"{taught:,}", f"{100 * noise:.0f} %", " ".join(f"{100 * e:.1f}" for e in errors),
            " ".join(f"{100 * (1 - a):.1f}" for a in accuracy),
            *(f"{c:.2f} (epoch {EPOCHS[e]})" for c, e in zip(cost, rules.values(), strict=True)),
        )  # fmt: skip
    table.add_row("mean", "", "", "", *(f"{value:.2f}" for value in np.mean(costs, 0)))
    console.print(table)


def case(taught: int, noise: float) -> tu.Task:
    """Taught, or read."""
    path = CACHE / f"{taught}-{noise}.npz"
    if path.exists():
        return tu.Task.load(path)
    data, rng = tu.datasets.fashion_mnist(), np.random.default_rng(1)
    order, test = rng.permutation(len(data.x)), rng.permutation(len(data.x_test))[:TESTED]
    pool, own = order[:N], order[N : N + taught]
    labels = data.y[pool].copy()
    redrawn = rng.random(N) < noise
    labels[redrawn] = rng.integers(0, 10, redrawn.sum())
    logits = teacher(data.x[own], data.y[own], [data.x[pool], data.x_test[test]])
    task = tu.Task(
        data.x[pool], np.stack(logits[0]), labels, data.x_test[test], np.stack(logits[1]),
        data.y_test[test], teacher_epochs=np.array(EPOCHS),
    )  # fmt: skip
    task.save(path)
    return task


def teacher(x: np.ndarray, y: np.ndarray, parts: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Logits of each part after every kept epoch."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 10),
    )  # fmt: skip
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    inputs, labels = _images(x), torch.as_tensor(y).long()
    found: list[list[np.ndarray]] = [[] for _ in parts]
    for epoch in range(1, max(EPOCHS) + 1):
        for some in torch.randperm(len(inputs)).split(64):
            loss = nn.functional.cross_entropy(network(inputs[some]), labels[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if epoch in EPOCHS:
            with torch.no_grad():
                for into, part in zip(found, parts, strict=True):
                    into.append(torch.cat([network(b) for b in _images(part).split(500)]).numpy())
    return found


def _images(x: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(x.reshape(-1, 1, 28, 28).astype(np.float32)) / 255


def real(task: tu.Task, name: str, seeds: int) -> np.ndarray:
    """Error of each checkpoint's students at its best setting."""
    path = CACHE / f"{name}.npy"
    if path.exists():
        return np.load(path)
    x, test = task.inputs(torch.float32)
    whole = task.part("train", x).floating(torch.float32)
    student, errors = as_student("mlp:width=512", training=STUDENT["mlp"], epochs=30), []
    for e in range(len(EPOCHS)):
        part = Part(whole.x, whole.teacher[:, [e]], whole.labels)
        of = [
            np.mean([
                (decisions(student.trained(part, DistillationLoss(*setting), seed=900 + s)[0], test)
                 .numpy() != task.y_test).mean() for s in range(seeds)
            ]) for setting in SETTINGS
        ]  # fmt: skip
        errors.append(min(of))
    np.save(path, np.array(errors))
    return np.array(errors)


if __name__ == "__main__":
    main()
