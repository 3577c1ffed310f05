"""Which teacher to pay for: teachers of different price, ranked before any student is trained.

    OMP_NUM_THREADS=1 python benchmarks/priced_teachers.py [--cifar FOLDER] [--seeds 2]

Of each task three teachers, taught on few, more and many samples, label a pool that has no labels
of its own; one sample costs 1, 3 and 10. A plan within one training is made with each teacher, as
`tutelage compare PLAN PLAN PLAN --costs 1,3,10` reads it. For six amounts the teacher that the
plans call best is compared with the one whose real students are best, which are trained at each
plan's setting on the samples that the amount buys. Printed are what the choice costs, and what it
costs to always take the cheapest, the dearest or the one in the middle. Real students and plans are
kept under benchmarks/cache.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison import CACHE, _teach
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import tutelage as tu
from tutelage.decisions.costs import Offer, ranked
from tutelage.lab import DistillationLoss
from tutelage.report.verified import SURE
from tutelage.students import as_student
from tutelage.students.network import decisions

COSTS = (1, 3, 10)  # of one sample
TAUGHT = ((300, 20), (2000, 6), (20000, 6))  # samples and epochs of the teachers
SPENT = (400, 1000, 2500, 6000, 15000, 30000)
POOL, TEST, EPOCHS = 3000, 2000, 30
TASKS = {"fashion": "mlp:width=256", "cifar": "cnn:width=16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    parser.add_argument("--seeds", type=int, default=2)
    given, console = parser.parse_args(), Console(width=120)
    for name, spec in TASKS.items():
        tasks = _tasks(name, given.cifar)
        rows = [_kept(name, k, spec, task, given.seeds) for k, task in enumerate(tasks)]
        _report(console, f"{name}, {spec}", tasks, rows)


def _tasks(name: str, cifar: Path) -> list[tu.Task]:
    """One task for each teacher, of the same pool."""
    data = tu.datasets.fashion_mnist() if name == "fashion" else tu.datasets.cifar10(cifar)
    rng = np.random.default_rng(0)
    order, test = rng.permutation(len(data.x)), rng.permutation(len(data.x_test))[:TEST]
    pool, others, y_test = order[:POOL], order[POOL:], data.y_test[test]
    tasks = []
    for k, (taught, epochs) in enumerate(TAUGHT):
        path = _folder() / f"{name}.{k}.npz"
        if not path.exists():
            x, seen = [data.x[pool], data.x_test[test]], others[:taught]
            logits = _teach(data.x[seen], data.y[seen], x, 10, epochs)
            tu.Task(x[0], logits[0], None, x[1], logits[1], y_test).save(path)
        tasks.append(tu.Task.load(path))
    return tasks


def _folder() -> Path:
    folder = CACHE.parent / "priced_teachers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _kept(name: str, k: int, spec: str, task: tu.Task, seeds: int) -> dict[str, Any]:
    path = _folder() / f"{name}.{k}.json"
    if not path.exists():
        path.write_text(json.dumps(_row(task, COSTS[k], spec, seeds)))
    row: dict[str, Any] = json.loads(path.read_text())
    return row


def _row(task: tu.Task, cost: float, spec: str, seeds: int) -> dict[str, Any]:
    made = tu.plan(task, student=spec, epochs=EPOCHS)
    best, rate = made.recommended, made.made_for.learning_rate
    training = tu.lab.Training(learning_rate=rate, attempts=4)
    student = as_student(spec, training=training, epochs=EPOCHS)
    x, test = task.inputs(torch.float32)
    pool = task.part("train", x).floating(torch.float32)
    loss, real = DistillationLoss(best.soft_ratio, best.temperature), {}
    for n in sorted({min(int(spend / cost), POOL) for spend in SPENT}):
        errors = []
        for seed in range(seeds):
            drawn = torch.as_tensor(np.random.default_rng(seed).permutation(POOL)[:n])
            network, _ = student.trained(pool.rows(drawn), loss, seed=500 + seed)
            errors.append(float((decisions(network, test).numpy() != task.y_test).mean()))
        real[n] = errors
    return {"plan": made.as_dict(), "real": real}


def _report(console: Console, name: str, tasks: list[tu.Task], rows: list[dict[str, Any]]) -> None:
    offers = {k: Offer.of(rows[k]["plan"], cost) for k, cost in enumerate(COSTS)}
    accurate = [task.teacher_accuracy("test") for task in tasks]
    titles = [
        f"teacher {k + 1}: {100 * (1 - a[0]):.1f} %, price {COSTS[k]}"
        for k, a in enumerate(accurate)
        if a is not None
    ]
    table = Table("spent", *titles, "told", "best", "off", title=f"{name}: predicted / real, %")
    real = np.array([[_real(rows[k], s / COSTS[k]) for k in offers] for s in SPENT])
    off, pairs, chosen = 100 * (real - real.min(1, keepdims=True)), [], []
    for spend, errors, lost in zip(SPENT, real, off, strict=True):
        found = dict(ranked(offers, spend))
        best, *others = found
        chosen.append(float(lost[best]))
        pairs += [(bought.error, errors[k]) for k, bought in found.items()]
        behind = [found[other].behind(found[best]) for other in others]
        close = any(apart <= SURE * spread for apart, spread in behind)
        cells = [
            f"{f'{100 * found[k].error:.1f}' if k in found else '–'} / {100 * errors[k]:.1f}"
            for k in offers
        ]
        told = f"{best + 1}{' (close)' if close else ''}"
        table.add_row(f"{spend:,}", *cells, told, str(errors.argmin() + 1), f"{lost[best]:.1f}")
    console.print(table)
    means, (told, errors) = off.mean(0), np.array(pairs).T
    console.print(
        f"Off the best teacher for the amount: the plans' choice {np.mean(chosen):.1f} points on"
        f" average; always the cheapest {means[0]:.1f}, the middle one {means[1]:.1f}, the dearest"
        f" {means[2]:.1f}. Predicted and real errors: rank correlation"
        f" {spearmanr(told, errors).statistic:.2f}, {100 * np.abs(told - errors).mean():.1f} points"
        " apart."
    )


def _real(row: dict[str, Any], n: float) -> float:
    """Mean error of the real students of so many samples, of the pool at most."""
    return float(np.mean(row["real"][str(min(int(n), POOL))]))


if __name__ == "__main__":
    main()
