"""What plans of every kind cost at an earlier revision and now: CPU seconds and peak memory.

    python benchmarks/before_after.py --before 2fed584

Processes of one thread take turns; the least CPU time of each side counts, and its peak memory.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import tutelage as tu

ROOT = Path(__file__).parents[1]
GIB = 1 << 20  # KiB
CASES = ("closed form", "float32", "many classes", "tiles", "network", "features")


def _problem(n: int, test: int, features: int, classes: int) -> Any:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n + test, features)).astype(np.float32)
    z = (x @ rng.normal(size=(features, classes)) + rng.normal(size=(n + test, classes))) / 3
    y = (z + rng.normal(size=z.shape) / 3).argmax(1)
    return tu.Task(x[:n], z[:n], y[:n], x[n:], z[n:], y[n:])


def case(name: str, share: float = 1.0) -> None:
    """Make the plan of a case, or of a share of its samples, by names that both revisions have."""

    def problem(n: int, *shape: int) -> Any:
        return _problem(round(share * n), *shape)

    settings: dict[str, Any] = {"soft_ratio": [0.1, 0.3, 0.5, 0.9, 1.0], "temperature": [1.0, 4.0]}
    if name in ("closed form", "float32"):
        dtype = "float64" if name == "closed form" else "float32"
        found = tu.curves(problem(3000, 1000, 50, 10), tu.kernels.mlp(), **settings, dtype=dtype)
    elif name == "many classes":
        settings = {"soft_ratio": [0.1, 0.5], "temperature": [1.0, 4.0]}
        found = tu.curves(problem(1500, 500, 50, 300), tu.kernels.mlp(), **settings, orderings=1)
    elif name == "tiles":
        scale = tu.Scale("dask")
        pool = problem(3000, 1000, 50, 10)
        found = tu.curves(pool, tu.kernels.mlp(), **settings, orderings=1, scale=scale)
    elif name == "network":
        training = tu.lab.Training(5, 0.05)
        student = tu.lab.student("mlp:width=128,depth=2", training=training, epochs=20)
        found = tu.curves(problem(1200, 1000, 50, 10), student, **settings, orderings=2)
    else:
        with tempfile.TemporaryDirectory() as folder:
            problem(20_000, 2000, 50, 10).save(folder + "/pool")
            found = _in_features(folder + "/pool", settings, share)
    assert np.isfinite(found.error.values).all()


def _in_features(folder: str, settings: dict[str, Any], share: float) -> Any:
    if hasattr(tu, "open_source"):
        how = {"dtype": "float32", "left_out": False}
        return tu.curves(
            tu.open_source(folder),
            tu.kernels.mlp(),
            **settings,
            features=round(1500 * share),
            **how,
        )
    from tutelage.scale import open_source  # noqa: PLC0415 (where it was before)

    return tu.stream(
        open_source(folder), tu.kernels.mlp(), **settings, features=round(1500 * share)
    )


def run(source: Path, name: str) -> tuple[float, float]:
    """CPU seconds, without imports, and GiB."""
    alone = {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--case", name]
    done = subprocess.run(
        command, check=True, env=os.environ | alone, capture_output=True, text=True
    )
    seconds, memory = map(float, done.stdout.split()[-2:])
    return seconds, memory


def main(
    before: Annotated[str, typer.Option(help="A revision.")] = "2fed584",
    rounds: Annotated[int, typer.Option()] = 3,
    only: Annotated[str, typer.Option(help="Cases, with commas between.")] = ",".join(CASES),
    one: Annotated[str, typer.Option("--case", hidden=True)] = "",
) -> None:
    if one:
        case(one, 0.1)  # loads what is needed
        started = time.process_time()
        case(one)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
        print(time.process_time() - started, memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", before, "src"], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        for name in only.split(","):
            pairs = [
                (run(Path(folder) / "src", name), run(ROOT / "src", name)) for _ in range(rounds)
            ]
            (old, held), (new, holds) = (min(side) for side in zip(*pairs, strict=True))
            print(
                f"{name}: {old:.1f} s before, {new:.1f} s now ({new / old:.2f} x);"
                f" {held:.2f} and {holds:.2f} GiB ({holds / held:.2f} x)",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
