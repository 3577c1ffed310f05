"""A plan of a thousand classes: its time, its memory, and what it said it would take.

python benchmarks/many_classes.py [--classes 1000] [--samples 5000] [--dtype float64]

Random features, 64 of them, 1,000 test samples, the default 32 settings. On an idle machine.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import tutelage as tu

TEST = 1000


def main() -> None:
    """Print what was announced, and what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--dtype", default="float64")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(given.samples + TEST, 64))
    truth = x @ rng.normal(size=(64, given.classes))
    z, y = 0.8 * truth + 1.5 * rng.normal(size=truth.shape), truth.argmax(1)
    n = given.samples
    task = tu.Task(x[:n], z[:n], y[:n], x[n:], z[n:], y[n:])
    del x, truth, z
    started = time.perf_counter()
    plan = tu.plan(
        task, curves=tu.curves(task, tu.kernels.mlp(), dtype=given.dtype, progress=announced)
    )
    seconds, peak = (
        time.perf_counter() - started,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    )
    print(
        f"{given.classes:,} classes, {n:,} samples, {len(plan.settings)} settings, {given.dtype}:"
        f" {seconds:.0f} s, {peak:.1f} GB at the peak"
    )


@contextmanager
def announced(name: str, total: float) -> Iterator:
    """Print what is no work: the cost."""
    if total == 0:
        print(name)
    yield lambda steps: None


if __name__ == "__main__":
    main()
