"""Large pools: Dask's tiles beside one matrix, growth, 50,000 samples, a million in a stream, and
runs that are killed.

    python benchmarks/scale.py paths|growth|large|stream|kills

Synthetic tasks: inputs of falling variances, a teacher that is a small random network and partly
wrong. Each measurement runs in a process of its own; its memory is the peak of that process, less
what it held once the task was there.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import tutelage as tu
from tutelage.data.source import open_source

LEARNED = ("error", "transfer_risk", "expected_transfer_risk")
SETTINGS = {"soft_ratio": [0.1, 0.3, 0.5, 0.9, 1.0], "temperature": [1.0, 4.0]}


def arrays(n: int, features: int, seed: int) -> dict[str, np.ndarray]:
    """Of one part."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng([1, seed])
    first, second = (
        fixed.normal(size=(features, 64)) / features**0.5,
        fixed.normal(size=(64, 10)) / 8,
    )
    x = rng.normal(size=(n, features)).astype(np.float32)
    x /= np.sqrt(1 + np.arange(features, dtype=np.float32) * 32 / features)
    truth = np.tanh(3 * x @ first) @ second * 6
    logits = (truth + rng.normal(size=truth.shape) / 2).astype(np.float32)
    return {
        "x": x,
        "teacher_logits": logits,
        "y": (truth + rng.gumbel(size=truth.shape) / 2).argmax(1),
    }


def task(n: int, features: int, test: int) -> tu.Task:
    parts = {"train": arrays(n, features, 0), "test": arrays(test, features, 1)}
    return tu.Task(
        **{
            f"{name}_{part}": value
            for part, found in parts.items()
            for name, value in found.items()
        }
    )


def measured(path: str, n: int, features: int, test: int, dtype: str) -> dict[str, float]:
    """A whole plan of ten settings and one ordering, in this process."""
    given, spent = task(n, features, test), {}
    before, started = _peak(), time.perf_counter()
    tu.plan(
        given,
        curves=tu.curves(
            given, tu.kernels.mlp(), **SETTINGS, orderings=1, dtype=dtype, scale=tu.Scale(path)
        ),
    )
    spent["seconds"] = time.perf_counter() - started
    return spent | {"gib": _peak() - before, "peak": _peak()}


def alone(*arguments: object) -> dict[str, float]:
    """The same in a process of its own."""
    # On the dask path tiles run side by side, one thread each.
    threads = {"OMP_NUM_THREADS": "1"} if arguments[0] == "dask" else {}
    command = [sys.executable, __file__, "one", *map(str, arguments)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | threads
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def paths() -> None:
    dense, tiles = (alone(path, 20_000, 784, 2000, "float64") for path in ("dense", "dask"))
    for name, found in (("dense", dense), ("Dask", tiles)):
        print(f"N = 20,000, float64, {name}: {found['seconds']:.0f} s, {found['gib']:.1f} GiB")
    print(
        f"Dask takes {tiles['seconds'] / dense['seconds']:.2f} × its time,"
        f" {tiles['gib'] / dense['gib']:.2f} × its memory"
    )


def growth() -> None:
    found = [
        (n, alone("dask", n, 784, 500, "float64"), _kernel_seconds(n))
        for n in (5000, 10_000, 20_000)
    ]
    for n, whole, kernel in found:
        print(f"N = {n:,}: plan {whole['seconds']:.1f} s, of which kernel {kernel:.1f} s")
    (_, first, kernel), (_, last, kernels) = found[0], found[-1]
    print(
        "from 5,000 to 20,000 the plan grows as"
        f" N^{np.log(last['seconds'] / first['seconds']) / np.log(4):.2f}, its kernel as"
        f" N^{np.log(kernels / kernel) / np.log(4):.2f}"
    )


def large() -> None:
    found = alone("dask", 50_000, 3072, 2000, "float32")
    print(
        f"N = 50,000 × 3,072, float32, 10 settings, 2,000 test: {found['seconds'] / 60:.1f} min,"
        f" peak {found['peak']:.1f} GiB in all"
    )


def stream() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for part, count in (
            ("test", 10_000),
            ("train", 1_000_000),
        ):  # many to test with: two students differ by chance too
            files = {}
            for start in range(0, count, 50_000):  # so that making it takes little memory
                for name, value in arrays(
                    min(50_000, count), 256, 1 if part == "test" else 2 + start
                ).items():
                    key = f"{folder}/{name}_{part}.npy"
                    if key not in files:
                        shape = (count, *value.shape[1:])
                        files[key] = np.lib.format.open_memmap(key, "w+", value.dtype, shape)
                    files[key][start : start + len(value)] = value
            del files
        for size in (10_000, 1_000_000):
            print(
                f"1,000,000 × 256, D = 4,096, {f'{size:,}' if size < 1_000_000 else 'all'} of"
                " them: ",
                end="",
                flush=True,
            )
            subprocess.run([sys.executable, __file__, "streamed", folder, str(size)], check=True)


def streamed(folder: str, n: int) -> None:
    source, started = open_source(folder), time.perf_counter()
    sizes = [1000, 10_000]
    found = tu.curves(
        source,
        tu.kernels.mlp(),
        **SETTINGS,
        sizes=sizes,
        pool=n,  # all but what it keeps apart
        features=4096,
        dtype="float32",
        left_out=False,
    ).isel(ordering=0)
    spent = time.perf_counter() - started
    print(
        f"{spent / 60:.1f} min, peak {_peak():.1f} GiB; least error"
        f" {100 * float(found.error.isel(n=-1).min()):.1f} %",
        flush=True,
    )
    if n <= 10_000:
        x, z, y = source.rows(0, n)
        test = dict(
            zip(("x_test", "teacher_logits_test", "y_test"), source.test() or (), strict=True)
        )
        whole = tu.Task(x, z, y, **test)
        exact = tu.curves(
            whole, tu.kernels.mlp(), **SETTINGS, sizes=sizes, orderings=1, dtype="float32"
        ).isel(ordering=0)
        off = {k: 100 * float(abs(exact[k] - found[k]).isel(n=-1).max()) for k in LEARNED}
        print(
            f"  against the exact path: error at most {off['error']:.2f}, agreement"
            f" {off['transfer_risk']:.2f}, expected risk"
            f" {off['expected_transfer_risk']:.2f} points off"
        )


def kills() -> None:
    rng, right = random.Random(0), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task(3000, 100, 200).save(folder / "task.npz")
        started = time.perf_counter()
        whole = _planned(folder, "whole")
        lasted = time.perf_counter() - started
        for k in range(20):
            run = subprocess.Popen(_command(folder, f"run-{k}"), stdout=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.1, 0.95) * lasted)
            run.send_signal(signal.SIGKILL)
            run.wait()
            tiles = len(list((folder / f"run-{k}").rglob("*.npy")))
            same = _planned(folder, f"run-{k}") == whole
            right += same
            print(
                f"killed with {tiles} files written: {'the same plan' if same else 'another plan'}",
                flush=True,
            )
    print(f"{right} of 20 runs that were killed ended with the plan of one that was not")


def _command(folder: Path, name: str) -> list[str]:
    code = "from _tutelage_entry import main; main()"
    given = [
        "plan",
        f"{folder}/task.npz",
        "--orderings",
        "2",
        "--checkpoint",
        f"{folder}/{name}",
        "--json",
        "--quiet",
    ]
    return [sys.executable, "-c", code, *given]


def _planned(folder: Path, name: str) -> dict[str, object]:
    done = subprocess.run(_command(folder, name), check=True, capture_output=True, text=True)
    return json.loads(done.stdout) | {"seconds": 0}


def _kernel_seconds(n: int) -> float:
    x = tu.kernels.mlp()
    inputs = torch.as_tensor(arrays(n, 784, 0)["x"]).double()
    started = time.perf_counter()
    for start in range(0, n, 2500):
        for other in range(0, start + 1, 2500):
            x(inputs[start : start + 2500], inputs[other : other + 2500])
    return time.perf_counter() - started


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or [""]
    if command == "one":
        name, n, features, test, dtype = rest
        print(json.dumps(measured(name, int(n), int(features), int(test), dtype)))
    elif command == "streamed":
        streamed(rest[0], int(rest[1]))
    elif command in ("paths", "growth", "large", "stream", "kills"):
        globals()[command]()
    else:
        print(__doc__)
