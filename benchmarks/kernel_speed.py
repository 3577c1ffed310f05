"""Our closed-form kernel beside neural-tangents', each in an environment of its own.

    python benchmarks/kernel_speed.py [--n 4000] [--rounds 5]

float32, 4,000 inputs of 784 features, a ReLU network of depth 3; neural-tangents 0.6.5 on jax 0.4.34,
jitted. Each process makes one call to warm up and times the next three; the processes take turns, and
the least time of each side counts. The first run installs neural-tangents under benchmarks/envs.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from environments import environment

PINS = ("neural-tangents==0.6.5", "jax==0.4.34", "jaxlib==0.4.34", "numpy<2", "scipy<1.14")

OURS = """
import sys, time, numpy as np, torch
import tutelage as tu
x = torch.as_tensor(np.random.default_rng(0).normal(size=(int(sys.argv[1]), 784)).astype(np.float32))
kernel = tu.kernels.mlp(depth=3, activation="relu", weight_var=2.0, bias_var=0.1)
for _ in range(4):
    started = time.perf_counter()
    result = kernel(x)
    print(time.perf_counter() - started, float(result.double().norm()))
"""

THEIRS = """
import sys, time, numpy as np, jax
from neural_tangents import stax
x = jax.numpy.asarray(np.random.default_rng(0).normal(size=(int(sys.argv[1]), 784)).astype(np.float32))
layers = [stax.Dense(1, W_std=2**0.5, b_std=0.1**0.5), stax.Relu()] * 3 + [stax.Dense(1, W_std=2**0.5, b_std=0.1**0.5)]
kernel = jax.jit(lambda x: stax.serial(*layers)[2](x, None, "ntk"))
for _ in range(4):
    started = time.perf_counter()
    result = kernel(x).block_until_ready()
    print(time.perf_counter() - started, float(np.linalg.norm(np.asarray(result, np.float64))))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    theirs = environment("neural-tangents", PINS)
    ours_least = theirs_least = float("inf")
    for _ in range(arguments.rounds):
        ours, own_norm = _run(Path(sys.executable), OURS, arguments.n)
        other, other_norm = _run(theirs, THEIRS, arguments.n)
        print(
            f"tutelage {ours:.3f} s, neural-tangents {other:.3f} s; norms differ by {abs(own_norm / other_norm - 1):.0e}"
        )
        ours_least, theirs_least = min(ours, ours_least), min(other, theirs_least)
    print(
        f"Kernel of {arguments.n:,} × 784, depth 3, float32: {theirs_least / ours_least:.1f} × faster than neural-tangents"
    )


def _run(python: Path, code: str, n: int) -> tuple[float, float]:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([python, "-c", code, str(n)], check=True, capture_output=True, text=True, env=environment)
    calls = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    return min(seconds for seconds, _ in calls[1:]), calls[-1][1]


if __name__ == "__main__":
    main()
