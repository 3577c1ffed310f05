"""What a plan costs beside the sweep that it stands for: each setting with each of a teacher's
checkpoints at eight sizes.

    python benchmarks/sweep_cost.py

Fashion-MNIST with a quick teacher that keeps six checkpoints. One student is trained at each of the
eight sizes, and its time counts for every setting of that size, as the time does not depend on the
setting.
"""

import time
from collections.abc import Callable

import numpy as np

import tutelage as tu
from tutelage._curves import SOFT_RATIOS, TEMPERATURES


def main() -> None:
    task = tu.lab.quick_task("fashion-mnist", seed=0)
    sizes = [int(n) for n in np.geomspace(30, task.n_train, 8)]
    settings = len(SOFT_RATIOS) * len(TEMPERATURES) * len(task.teacher_epochs)
    for spec in ("mlp:width=512", "cnn:width=32"):
        network = tu.lab.network_of(spec)
        tu.lab.distil(
            task, network, [(0.5, 4.0)], seeds=1, sizes=[30]
        )  # Lightning is imported once
        trained, _ = _timed(
            lambda network=network: tu.lab.distil(task, network, [(0.5, 4.0)], seeds=1, sizes=sizes)
        )
        sweep = settings * float(trained.seconds.sum())
        print(
            f"{spec}: {settings} settings at {len(sizes)} sizes of up to {task.n_train:,},"
            f" {sweep:,.0f} s of training"
        )
        for name, student in (("warm tangent", network), ("closed form, mlp", tu.kernels.mlp())):
            _, seconds = _timed(
                lambda student=student: tu.plan(task, curves=tu.curves(task, student))
            )
            print(f"  plan, {name}: {seconds:.1f} s, 1/{sweep / seconds:.0f} of the sweep")


def _timed(run: Callable[[], object]) -> tuple[object, float]:
    started = time.perf_counter()
    found = run()
    return found, time.perf_counter() - started


if __name__ == "__main__":
    main()
