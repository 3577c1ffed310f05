"""Curves of small plans of every kind at an earlier revision and now, which have to agree to 1e-10.

    python benchmarks/goldens.py --before 2fed584

computes them at the revision and here, in processes of one thread each,
and prints the largest difference of every case relative to the variable's largest value. Dask runs
in this process's threads.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr

import tutelage as tu
from tutelage import lab

ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-10


def arrays(
    n: int, test: int, classes: int, *, copies: int = 0, image: bool = False
) -> dict[str, Any]:
    """Make a task: a noisy linear teacher of two classes, or of more."""
    rng = np.random.default_rng(classes)
    shape = (6, 6, 1) if image else (5,)
    x = rng.normal(size=(n + test, *shape))
    flat = x.reshape(n + test, -1)
    columns = 1 if classes == 2 else classes
    truth = flat @ rng.normal(size=(flat.shape[1], columns))
    z = 2 * truth + rng.normal(size=truth.shape)
    y = (truth[:, 0] > 0).astype(int) if columns == 1 else truth.argmax(1)
    z = z[:, 0] if columns == 1 else z
    for of in range(copies):
        x[n - 1 - of], z[n - 1 - of], y[n - 1 - of] = x[of], z[of], y[of]
    parts = {"x_train": x[:n], "teacher_logits_train": z[:n], "y_train": y[:n]}
    if test:
        parts |= {"x_test": x[n:], "teacher_logits_test": z[n:], "y_test": y[n:]}
    return parts


def without(parts: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if name not in names}


def with_epochs(parts: dict[str, Any]) -> dict[str, Any]:
    worse = {k: np.stack([0.3 * v + 0.1, v]) for k, v in parts.items() if k.startswith("teacher")}
    return parts | worse | {"teacher_epochs": np.array([1, 5])}


MLP, NETWORK, INIT = "mlp:depth=2", "mlp:width=16,depth=1", "init mlp:width=16,depth=1"
CASES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "binary": (arrays(120, 50, 2), MLP, {}),
    "ten classes": (arrays(120, 50, 10), MLP, {}),
    "epochs": (with_epochs(arrays(90, 40, 3)), MLP, {}),
    "no labels": (without(arrays(90, 40, 3), "y_train", "y_test"), MLP, {}),
    "no test part": (arrays(90, 0, 3), MLP, {}),
    "test part without labels": (without(arrays(90, 40, 2), "y_test"), MLP, {}),
    "test part without teacher": (without(arrays(90, 40, 3), "teacher_logits_test"), MLP, {}),
    "copies": (arrays(90, 0, 3, copies=9), MLP, {}),
    "float32": (arrays(120, 50, 3), MLP, {"dtype": "float32"}),
    "images": (arrays(60, 20, 3, image=True), "cnn:depth=2", {}),
    "dask": (arrays(300, 50, 3), MLP, {"scale": "dask"}),
    "dask without test part": (arrays(300, 0, 2), MLP, {"scale": "dask"}),
    "network": (arrays(160, 50, 3), NETWORK, {}),
    "network, two classes": (arrays(160, 50, 2), NETWORK, {}),
    "network without test part": (arrays(160, 0, 3, copies=9), NETWORK, {}),
    "network with epochs": (with_epochs(arrays(120, 40, 3)), NETWORK, {}),
    "network at init": (arrays(120, 40, 3), INIT, {}),
}  # fmt: skip


def compute(folder: Path) -> None:
    """Write the curves of every case, as the package that is imported has them."""
    for name, (parts, spec, given) in CASES.items():
        options = {"orderings": 2, "seed": 3} | given
        if "scale" in options:
            options["scale"] = tu.Scale(options["scale"])
        how, _, plain = spec.rpartition(" ")
        training = lab.Training(epochs=4, learning_rate=0.05)
        student = lab.student(plain, linearise=how or "warm", training=training, epochs=20)
        ratios = [0.2, 0.6, 1.0] if "y_train" in parts else [1.0]
        found = tu.curves(
            tu.Task(**parts), student, soft_ratio=ratios, temperature=[1.0, 4.0], **options
        )
        found.to_netcdf(folder / f"{name}.nc", engine="h5netcdf")


def differences(before: xr.Dataset, now: xr.Dataset) -> dict[str, float]:
    """Largest difference of each variable, relative to its largest value."""
    found = {}
    for name, old in before.variables.items():
        new = now.variables.get(name)
        same = new is not None and new.dims == old.dims and new.shape == old.shape
        if not same or not np.array_equal(np.isnan(old.values * 1.0), np.isnan(new.values * 1.0)):
            found[str(name)] = np.inf
            continue
        largest = np.nanmax(np.abs(old.values), initial=1e-300)
        found[str(name)] = float(np.nanmax(np.abs(new.values - old.values), initial=0) / largest)
    return found


def run(source: Path, folder: Path) -> None:
    alone = {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--compute-into", str(folder)]
    subprocess.run(command, check=True, env=os.environ | alone)


def main(
    before: Annotated[str, typer.Option(help="A revision.")] = "2fed584",
    compute_into: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    if compute_into is not None:
        compute(compute_into)
        return
    with tempfile.TemporaryDirectory() as temporary:
        tree, *folders = (Path(temporary) / name for name in ("tree", "before", "now"))
        tree.mkdir()
        archive = subprocess.run(
            ["git", "archive", before, "src"], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
        for source, folder in zip((tree / "src", ROOT / "src"), folders, strict=True):
            folder.mkdir()
            run(source, folder)
        worst = 0.0
        for name in CASES:
            old, new = (xr.load_dataset(f / f"{name}.nc", engine="h5netcdf") for f in folders)
            found = differences(old, new)
            most = max(found, key=lambda k: found[k])
            worst = max(worst, found[most])
            print(f"{name}: {len(found)} variables, at most {found[most]:.1e} ({most})")
    print(f"{'agree' if worst <= TOLERANCE else 'DIFFER'}: at most {worst:.1e}")
    raise typer.Exit(0 if worst <= TOLERANCE else 1)


if __name__ == "__main__":
    typer.run(main)
