"""Peak memory of a plan beside one kernel.

    python benchmarks/memory.py [--n 20000] [--orderings 2]
    python benchmarks/memory.py --network [--n 10000]

Synthetic inputs of 784 features, float32, 8 settings, 2,000 test samples. Printed is the peak of
the process less what it held before the plan began, in units of one kernel (N² numbers). With
--network it is the kernel of a width-512 MLP of 3 hidden layers and 10 outputs, and of a small CNN,
and what they took beyond it.
"""

import argparse
import resource

import numpy as np
import torch

import tutelage as tu
from tutelage.train.networks import cnn, mlp

GIB = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--orderings", type=int, default=2)
    parser.add_argument("--network", action="store_true")
    arguments = parser.parse_args()
    if arguments.network:
        _networks(arguments.n)
        return
    tu.curves(
        _problem(200, 100), tu.kernels.mlp(), soft_ratio=[0.5, 1.0], temperature=[1.0], orderings=1
    )  # loads what is loaded on first use
    problem = _problem(arguments.n, 2000)
    before = _peak()
    found = tu.curves(
        problem,
        tu.kernels.mlp(),
        soft_ratio=[0.1, 0.3, 0.7, 1.0],
        temperature=[1.0, 4.0],
        orderings=arguments.orderings,
        dtype="float32",
    )
    tu.plan(problem, curves=found)
    used, kernel, block = _peak() - before, 4 * arguments.n**2, 4 * 2000 * arguments.n
    print(
        f"before the plan {before / GIB:.2f} GiB, peak {(before + used) / GIB:.2f} GiB in"
        f" {found.attrs['seconds']:.0f} s"
    )
    print(
        f"used {used / GIB:.2f} GiB = {(used - block) / kernel:.2f} × one kernel"
        f" ({kernel / GIB:.2f} GiB) + the test block"
    )


def _networks(n: int) -> None:
    for name, factory in (("mlp", mlp(512, 3)), ("cnn", cnn(8))):
        network, x = factory((1, 28, 28), 10), torch.randn(n, 1, 28, 28)
        before = _peak()
        theta = tu.kernels.empirical(network)(x)
        beyond = _peak() - before - theta.nbytes
        print(
            f"{name}, N = {n:,}: {beyond / GIB:.2f} GiB beyond the kernel of"
            f" {theta.nbytes / GIB:.2f} GiB"
        )


def _problem(n: int, n_test: int) -> tu.Task:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n + n_test, 784)).astype(np.float32)
    logits = 3 * x[:, 0] + x[:, 1] * x[:, 2]
    labels = (logits + rng.normal(size=len(x)) > 0).astype(int)
    return tu.Task(x[:n], logits[:n], labels[:n], x[n:], logits[n:], labels[n:])


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
