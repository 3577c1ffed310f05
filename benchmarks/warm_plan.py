"""What a plan for a real network costs: Fashion-MNIST, 10 classes, width-512 MLP, 40 settings, one
warm start.

    python benchmarks/warm_plan.py [--n 4000]

Printed are the seconds of each part, and the peak of memory beyond what was held before.
"""

import argparse
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.linear_model import SGDClassifier

import tutelage as tu

GIB = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4000)
    arguments = parser.parse_args()
    task = _task(arguments.n)
    before, spent = _peak(), defaultdict(float)

    @contextmanager
    def watch(name: str, _: float) -> Iterator[object]:
        started = time.perf_counter()
        yield lambda steps: None
        spent[name] += time.perf_counter() - started

    started = time.perf_counter()
    student = tu.lab.student("mlp:width=512,depth=3")
    found = tu.curves(
        task,
        student,
        soft_ratio=np.linspace(0.1, 1, 10),
        temperature=[1.0, 2.0, 4.0, 8.0],
        orderings=1,
        dtype="float32",
        progress=watch,
    )
    plan = tu.plan(task, curves=found)
    total = time.perf_counter() - started
    for name, seconds in spent.items():
        print(f"{name}: {seconds:.1f} s")
    print(
        f"{arguments.n} samples, 40 settings, curve and decision: {total:.1f} s in all;"
        f" {plan.recommended.why}"
    )
    kernel = 4 * arguments.n**2
    print(
        f"peak memory {(_peak() - before) / GIB:.2f} GiB beyond the task, one kernel is"
        f" {kernel / GIB:.2f} GiB"
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
