"""Which of several students, before any is trained: five students on two tasks.

    OMP_NUM_THREADS=1 python benchmarks/students.py [--cifar FOLDER] [--seeds 2]

For each task and student a plan within one training (`tutelage compare --students`), and real
students of the recommended setting. Printed are predicted and real errors, parameters, operations
for one input, the rank correlation, and what taking the student of the least predicted error costs
against the best of the five. Real students and plans are kept under benchmarks/cache.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from comparison import CACHE
from recorded import ALL, file_of, problem
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import tutelage as tu
from tutelage.lab import DistillationLoss
from tutelage.students import as_student
from tutelage.students.network import decisions

STUDENTS = ("mlp:width=16,depth=1", "mlp:width=128", "mlp:width=512", "cnn:width=8", "cnn:width=32")
TASKS = ("fashion 10, weak, 20 % noise, mlp", "cifar 10, strong, cnn")
EPOCHS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    parser.add_argument("--seeds", type=int, default=2)
    given, console = parser.parse_args(), Console(width=120)
    for name in TASKS:
        assert name in ALL
        rows = [_kept(name, spec, given.cifar, given.seeds) for spec in STUDENTS]
        _report(console, name, rows)


def _kept(name: str, spec: str, cifar: Path, seeds: int) -> dict[str, float]:
    path = CACHE.parent / "students" / f"{file_of(name)}.{spec.replace(':', '-')}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_row(problem(name, cifar)[0], spec, seeds)))
    return json.loads(path.read_text())


def _row(task: tu.Task, spec: str, seeds: int) -> dict[str, float]:
    made = tu.plan(task, student=spec, epochs=EPOCHS)
    best, rate = made.recommended, made.made_for.learning_rate
    training = tu.lab.Training(learning_rate=rate, attempts=4)
    student = as_student(spec, training=training, epochs=EPOCHS)
    x, test = task.inputs(torch.float32)
    pool = task.part("train", x).floating(torch.float32)
    real = []
    for seed in range(seeds):
        loss = DistillationLoss(best.soft_ratio, best.temperature)
        network, _ = student.trained(pool, loss, seed=500 + seed)
        real.append(float((decisions(network, test).numpy() != task.y_test).mean()))
    return {
        "student": spec, "predicted": best.error, "se": best.error_se, "real": float(np.mean(real)),
        "spread": float(np.std(real, ddof=1)), "trainings": made.cost.trainings,
        "parameters": made.made_for.parameters, "operations": made.made_for.operations,
    }  # fmt: skip


def _report(console: Console, name: str, rows: list[dict[str, float]]) -> None:
    table = Table(
        "student", "parameters", "operations", "predicted, %", "± 1 s.e.", "real, %", "± seeds",
        "trainings", title=name,
    )  # fmt: skip
    for row in sorted(rows, key=lambda row: row["predicted"]):
        numbers = (100 * row[key] for key in ("predicted", "se", "real", "spread"))
        cells = [f"{value:.1f}" for value in numbers]
        sizes = [f"{row['parameters']:,}", f"{row['operations']:.2g}"]
        table.add_row(row["student"], *sizes, *cells, f"{row['trainings']:.2f}")
    console.print(table)
    predicted, real = (np.array([row[key] for row in rows]) for key in ("predicted", "real"))
    console.print(
        f"Rank correlation {spearmanr(predicted, real).statistic:.2f}; the student of the least"
        f" predicted error is {100 * (real[predicted.argmin()] - real.min()):.1f} points worse than"
        f" the best of five, which span {100 * (real.max() - real.min()):.1f}; predicted and real"
        f" errors {100 * np.abs(predicted - real).mean():.1f} points apart on average,"
        f" {100 * np.abs(predicted - real).max():.1f} at most."
    )


if __name__ == "__main__":
    main()
