"""Closed-form kernels of images at sizes that matter: time, and memory at its peak.

    python benchmarks/image_kernels.py [global|pooled|flatten ...]

Random images of 32 × 32 × 3, three 3 × 3 convolutions, float32. Each runs in a process of its own
and says first what it expects.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch

import tutelage as tu

CONVOLUTIONS, HEAD = (
    (tu.kernels.Conv(), tu.kernels.Relu()) * 3,
    (
        tu.kernels.GlobalAvgPool(),
        tu.kernels.Dense(),
    ),
)
CASES = {
    "flatten": ("flattened", 5000, tu.kernels.cnn(depth=3)),
    "global": ("global average pooling", 500, tu.kernels.cnn(depth=3, head="global_avg_pool")),
    "pooled": (
        "2 × 2 pooling of the images, then as above",
        2000,
        tu.kernels.Sequential(tu.kernels.AvgPool(2), *CONVOLUTIONS, *HEAD),
    ),
    "pooled-later": (
        "2 × 2 pooling after the first of the convolutions",
        2000,
        tu.kernels.Sequential(*CONVOLUTIONS[:2], tu.kernels.AvgPool(2), *CONVOLUTIONS[2:], *HEAD),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=list(CASES))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for case in arguments.cases:
        if arguments.here:
            run(case)
        else:
            subprocess.run([sys.executable, __file__, case, "--here"], check=True)


def run(case: str) -> None:
    what, n, kernel = CASES[case]
    x = torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = kernel.cost((3, 32, 32), n, dtype=x.dtype)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    kernel(x)
    seconds, peak = (
        time.perf_counter() - started,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )
    print(
        f"{what}, {n:,} images: {seconds:.0f} s ({seconds / expected.seconds:.2f} of what was"
        f" expected), peak memory {peak / 2**20:.2f} GiB, {(peak - before) / 2**20:.2f} GiB of it"
        f" for the kernel; {expected}",
        flush=True,
    )


if __name__ == "__main__":
    main()
