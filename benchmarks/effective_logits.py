"""Effective logits of 100 settings × 50,000 samples × 10 classes in one call: seconds and memory.

python benchmarks/effective_logits.py
"""

import resource
import time

import numpy as np

import tutelage as tu

GIB = 1 << 30


def main() -> None:
    rng = np.random.default_rng(0)
    logits, labels = 5 * rng.normal(size=(50_000, 10)), rng.integers(0, 10, 50_000)
    ratios, temperatures = np.meshgrid(np.geomspace(0.01, 1, 10), np.geomspace(0.5, 20, 10))
    started = time.perf_counter()
    found = tu.effective_logits(
        logits, labels, soft_ratio=ratios.ravel(), temperature=temperatures.ravel()
    )
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{found.shape[0]} settings × {found.shape[1]:,} × {found.shape[2]}: {seconds:.1f} s, peak"
        f" {peak / GIB:.2f} GiB,",
        end=" ",
    )
    print(
        f"of which the result is {found.nbytes / GIB:.2f}; largest row sum"
        f" {np.abs(found.sum(-1)).max():.0e}"
    )


if __name__ == "__main__":
    main()
