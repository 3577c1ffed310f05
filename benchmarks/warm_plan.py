"""What a plan for a real network costs, beside a training of it: Fashion-MNIST, 10 classes.

    OMP_NUM_THREADS=1 python benchmarks/warm_plan.py [--n 4000] [--settings 40] [--budget 1]
        [--student mlp:width=512,depth=3]

Printed are CPU and wall seconds of the plan and of one training of 60 epochs in the same run, their
ratio, what was announced, and the peak of memory beyond what was held before.
"""

import argparse
import resource
import time

import numpy as np
import torch
from sklearn.linear_model import SGDClassifier

import tutelage as tu

GIB = 1 << 30
RATIOS = {10: 5, 40: 10, 192: 24}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--settings", type=int, default=40, choices=RATIOS)
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--student", default="mlp:width=512,depth=3")
    arguments = parser.parse_args()
    task, ratios = _task(arguments.n), RATIOS[arguments.settings]
    student = tu.lab.student(arguments.student, training=tu.lab.Training(learning_rate=0.02))
    before, started, worked = _peak(), time.perf_counter(), time.process_time()
    plan = tu.plan(
        task,
        student=student,
        soft_ratio=np.linspace(0.05, 1, ratios),
        temperature=np.geomspace(1, 16, arguments.settings // ratios),
        budget=arguments.budget,
    )
    took, cpu = time.perf_counter() - started, time.process_time() - worked
    peak = (_peak() - before) / GIB
    part = task.part("train", task.inputs(torch.float32)[0]).floating(torch.float32)
    started, worked = time.perf_counter(), time.process_time()
    student.trained(part, tu.lab.DistillationLoss(0.5, 4.0), seed=0)
    training, of_training = time.perf_counter() - started, time.process_time() - worked
    cost, best = plan.cost, plan.recommended
    print(
        f"{arguments.student}, {arguments.n:,} samples, {arguments.settings} settings: plan"
        f" {cpu:.1f} CPU s, {took:.1f} s ({cost.predicted_seconds:.1f} announced), one training"
        f" {of_training:.1f} CPU s, {training:.1f} s: {cpu / of_training:.2f} trainings"
        f" ({cost.trainings:.2f} by arithmetic), {len(cost.pilots)} pilots, peak memory"
        f" {peak:.2f} GiB; ρ = {best.soft_ratio:.2g}, T = {best.temperature:.2g}, error"
        f" {best.error:.1%}, expected regret {cost.expected_regret:.2f} points"
    )


def _task(n: int) -> tu.Task:
    """A linear teacher of one pass over 5,000 other samples."""
    data, rng = tu.datasets.fashion_mnist(), np.random.default_rng(0)
    order = rng.permutation(len(data.x))
    pool, taught = order[:n], order[n : n + 5000]
    teacher = SGDClassifier(loss="log_loss", alpha=0.01, random_state=0)
    teacher.fit(data.x[taught].reshape(5000, -1) / 255, data.y[taught])
    logits = [
        teacher.decision_function(x.reshape(len(x), -1) / 255)
        for x in (data.x[pool], data.x_test[:2000])
    ]
    return tu.Task(
        data.x[pool], logits[0], data.y[pool], data.x_test[:2000], logits[1], data.y_test[:2000]
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
