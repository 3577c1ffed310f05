"""Where the bounds on risk say something: the paper's (4.1), the power bound (4.2), certificates.

    OMP_NUM_THREADS=1 python benchmarks/bounds.py [--cifar FOLDER]

Infinitely wide students of N/8, N/4, N/2 and 3N/4 samples against that of all N, at soft ratios of
0.2 and 1 (T = 4), on the tasks of `recorded.py` and on a Gaussian mixture with its Bayes rule as
teacher. Printed are for each n the share of decisions that really differ, the bounds and the share
that is certified, in percent; and of the squared length of the oracle's weights the share that the
student of n samples lacks, ‖w⊥‖²/‖Δw_*‖², which the bounds rest on.
"""

import argparse
from pathlib import Path

import numpy as np
from recorded import ALL, READ, problem
from rich.console import Console
from rich.table import Table

import tutelage as tu

NAMES = ("oracle_risk", "risk_bound", "power_bound", "certified_fraction")
PARTS = (8, 4, 2, 4 / 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    given, console = parser.parse_args(), Console(width=130)
    table = Table("task", "ρ", *(f"N/{part:.3g}" for part in PARTS), "lacking at N/2")
    certified = []
    for name, task in [*tasks(given.cifar), ("Gaussian mixture, Bayes' rule", mixture())]:
        sizes = [int(task.n_train / part) for part in PARTS]
        found = tu.curves(
            task, "mlp", soft_ratio=[0.2, 1.0], temperature=[4.0], sizes=sizes, orderings=1
        ).isel(ordering=0, temperature=0)
        for rho in found.soft_ratio.values:
            at = found.sel(soft_ratio=rho)
            cells = [
                " / ".join(f"{100 * float(at[name].sel(n=n)):.0f}" for name in NAMES) for n in sizes
            ]
            norms = at.squared_norm.values
            lacking = 1 - norms[sizes.index(int(task.n_train / 2))] / norms[-1]
            table.add_row(name, f"{rho:g}", *cells, f"{100 * lacking:.0f} %")
            certified.append(float(at.certified_fraction.sel(n=sizes[2])))
    console.print("Cells: really different / (4.1) / (4.2) / certified, %")
    console.print(table)
    over = np.array(certified) > 0.3
    console.print(f"More than 30 % are certified at N/2 in {over.sum()} of {len(over)} rows.")


def tasks(cifar: Path) -> list[tuple[str, tu.Task]]:
    """The tasks with numbers as inputs."""
    return [(name, problem(name, cifar)[0]) for name in ALL if name not in READ]


def mixture() -> tu.Task:
    """Two classes that overlap little, in two dimensions."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    x = rng.normal(size=(3000, 2)) + 3.0 * (2 * y[:, None] - 1) * np.array([1.0, 0.5])
    logits = 2 * 3.0 * (x @ np.array([1.0, 0.5]))
    return tu.Task(x[:1000], logits[:1000], y[:1000], x[1000:], logits[1000:], y[1000:])


if __name__ == "__main__":
    main()
