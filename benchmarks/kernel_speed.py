"""Our closed-form kernels beside neural-tangents', each in an environment of its own.

    python benchmarks/kernel_speed.py [dense|flatten|global ...]

float32; neural-tangents 0.6.5 on jax 0.4.34, jitted. Each process makes one call to warm up and
times the next ones; the processes take turns, and the least time of each side counts.
neural-tangents' global average pooling is called once to compile and once to be timed, two minutes
each. The first run installs neural-tangents under benchmarks/envs.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from environments import environment

PINS = ("neural-tangents==0.6.5", "jax==0.4.34", "jaxlib==0.4.34", "numpy<2", "scipy<1.14")

# What is computed, the inputs' shape, rounds, calls of ours, and of theirs.
CASES = {
    "dense": ("depth 3, 4,000 × 784", (4000, 784), 5, 4, 4),
    "flatten": (
        "3 convolutions and a flattening, 256 images of 32 × 32 × 3",
        (256, 3, 32, 32),
        3,
        4,
        3,
    ),
    "global": (
        "3 convolutions and global average pooling, 16 images of 32 × 32 × 3",
        (16, 3, 32, 32),
        1,
        4,
        2,
    ),
}

OURS = """
import sys, time, numpy as np, torch
import tutelage as tu
case, calls, *shape = sys.argv[1], *map(int, sys.argv[2:])
x = torch.as_tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))
kernel = {"dense": lambda: tu.kernels.mlp(depth=3),
          "flatten": lambda: tu.kernels.cnn(depth=3, head="flatten"),
          "global": lambda: tu.kernels.cnn(depth=3, head="global_avg_pool")}[case]()
for _ in range(calls):
    started = time.perf_counter()
    result = kernel(x)
    print(time.perf_counter() - started, float(result.double().norm()))
"""

THEIRS = """
import sys, time, numpy as np, jax
from neural_tangents import stax
case, calls, *shape = sys.argv[1], *map(int, sys.argv[2:])
x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
x = jax.numpy.asarray(x if x.ndim == 2 else np.moveaxis(x, 1, -1))
given = {"W_std": 2**0.5, "b_std": 0.1**0.5}
convolution = stax.Conv(1, (3, 3), padding="SAME", **given)
weights = stax.Dense(1, **given) if case == "dense" else convolution
head = {"dense": [], "flatten": [stax.Flatten()], "global": [stax.GlobalAvgPool()]}[case]
layers = [weights, stax.Relu()] * 3 + head + [stax.Dense(1, **given)]
kernel = jax.jit(lambda x: stax.serial(*layers)[2](x, None, "ntk"))
for _ in range(calls):
    started = time.perf_counter()
    result = kernel(x).block_until_ready()
    print(time.perf_counter() - started, float(np.linalg.norm(np.asarray(result, np.float64))))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=list(CASES))
    theirs = environment("neural-tangents", PINS)
    for case in parser.parse_args().cases:
        what, shape, rounds, calls, other_calls = CASES[case]
        ours, others = [], []
        for _ in range(rounds):
            ours.append(_run(Path(sys.executable), OURS, case, calls, *shape))
            others.append(_run(theirs, THEIRS, case, other_calls, *shape))
        (own, own_norm), (other, other_norm) = min(ours), min(others)
        print(
            f"{what}: tutelage {own:.3f} s, neural-tangents {other:.3f} s, {other / own:.1f} ×"
            f" faster; norms differ by {abs(own_norm / other_norm - 1):.0e}",
            flush=True,
        )


def _run(python: Path, code: str, case: str, *numbers: int) -> tuple[float, float]:
    given = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [python, "-c", code, case, *map(str, numbers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=given)
    calls = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    return min(seconds for seconds, _ in calls[1:]), calls[-1][1]


if __name__ == "__main__":
    main()
