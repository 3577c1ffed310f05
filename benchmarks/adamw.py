"""Plans of networks that AdamW trains, against real students.

    OMP_NUM_THREADS=1 python benchmarks/adamw.py [--tasks NAME …] [--cifar FOLDER]

MLPs of `comparison.py` at a learning rate of 0.001, ten settings, two seeds. Printed are real
errors, those of theory alone and of the plan within one training, with rank correlation and regret.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from comparison import RATIOS, SEEDS, SETTINGS, STUDENT, TASKS, Spec, factory_of, task_of
from scipy.stats import spearmanr

import tutelage as tu
from tutelage.students.network import decisions

CHOSEN = (
    "fashion 10, weak, mlp",
    "fashion 10, weak, 20 % noise, mlp",
    "fashion 10, strong, 40 % noise, mlp",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="*", default=list(CHOSEN))
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    arguments = parser.parse_args()
    np.set_printoptions(precision=1, suppress=True, linewidth=150)
    for name in arguments.tasks:
        spec = TASKS[name]
        task = task_of(name, spec, arguments.cifar)
        student = _student(spec)
        truth = _real(task, student)
        print(f"{name}: real {100 * truth}")
        for kind, budget in (("theory alone", 0.0), ("plan", 1.0)):
            made = tu.plan(
                task, student=student, soft_ratio=RATIOS, temperature=[1.0, 4.0], budget=budget
            )
            told = {(s.soft_ratio, s.temperature): s.error for s in made.settings}
            errors = np.array([told[s] for s in SETTINGS])
            best = SETTINGS.index((made.recommended.soft_ratio, made.recommended.temperature))
            regret, rank = truth[best] - truth.min(), spearmanr(errors, truth).statistic
            print(
                f"  {kind} {100 * errors}, rank {rank:.2f}, regret {100 * regret:.2f}", flush=True
            )


def _student(spec: Spec) -> tu.lab.TorchStudent:
    own = tu.lab.Training(learning_rate=0.001, optimiser="adamw")
    epochs = STUDENT[spec.student].epochs
    return tu.lab.TorchStudent(factory_of(spec), spec.student, training=own, epochs=epochs)


def _real(task: tu.Task, student: tu.lab.TorchStudent) -> np.ndarray:
    pool, test = task.inputs(torch.float32)
    part = task.part("train", pool).floating(torch.float32)
    errors = []
    for rho, t in SETTINGS:
        loss = tu.lab.DistillationLoss(rho, t)
        networks = [student.trained(part, loss, seed=100 + s)[0] for s in range(SEEDS)]
        errors.append([(decisions(n, test).numpy() != task.y_test).mean() for n in networks])
    return np.mean(errors, 1)


if __name__ == "__main__":
    main()
