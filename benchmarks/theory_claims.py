"""The paper's claims on Fashion-MNIST, coat against shirt: what held, in numbers.

    python benchmarks/theory_claims.py

A CNN teacher, stopped at several epochs, taught on 6,000 other samples; a pool of 6,000, 2,000 test
samples; a wide ReLU student of depth 3; t_power 0 and T = 1, as in the paper.
"""

import numpy as np
import xarray as xr
from coat_shirt import task
from rich.console import Console
from rich.table import Table

import tutelage as tu

SOFT_RATIOS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
SIZES = (100, 300, 1000, 2000, 3000, 6000)
WEAK = 2


def main() -> None:
    problem = task(epochs=True)
    found = tu.curves(
        problem,
        tu.kernels.mlp(),
        soft_ratio=SOFT_RATIOS,
        temperature=[1.0],
        t_power=0,
        sizes=SIZES,
        orderings=4,
    )
    mean = found.mean("ordering").sel(temperature=1.0)
    weak = mean.sel(epoch=WEAK)
    accuracy = dict(
        zip(problem.teacher_epochs.tolist(), problem.teacher_accuracy("test"), strict=True)
    )
    console = Console(width=110)
    console.print(
        f"Teacher's accuracy by epoch: {', '.join(f'{e}: {a:.1%}' for e, a in accuracy.items())}\n"
    )
    console.print(
        _table(
            f"Data inefficiency by soft ratio, teacher of epoch {WEAK}",
            weak.data_inefficiency,
            "soft_ratio",
        )
    )
    falls = weak.data_inefficiency.diff("soft_ratio") < 0
    console.print(
        f"It falls as the soft ratio rises in {int(falls.sum())} of {falls.size} steps.\n"
    )
    own = mean.sel(soft_ratio=1.0).data_inefficiency
    console.print(_table("Data inefficiency by stopping epoch, soft ratio 1", own, "epoch"))
    rises = own.diff("epoch") > 0
    console.print(f"It rises with a later stop in {int(rises.sum())} of {rises.size} steps.\n")
    console.print(_table(f"Error by soft ratio, teacher of epoch {WEAK}", weak.error, "soft_ratio"))
    best = SOFT_RATIOS[int(np.argmin(weak.error.isel(n=-1).values))]
    console.print(
        f"The best soft ratio at n = {SIZES[-1]} is {best:g}; the teacher itself errs on"
        f" {1 - accuracy[WEAK]:.1%}.\n"
    )
    _expected(console, mean.sel(soft_ratio=1.0))
    nested = (found.oracle_risk <= found.power_bound) & (found.power_bound <= found.risk_bound)
    console.print(
        f"Measured risk ≤ power bound (4.2) ≤ bound (4.1) in {int(nested.sum())} of"
        f" {nested.size} cases."
    )
    console.print(
        "The least of the power bounds before the whole pool is"
        f" {float(found.power_bound.isel(n=slice(-1)).min()):.1%}."
    )


def _expected(console: Console, mean: xr.Dataset) -> None:
    table = Table(
        "epoch", *map(str, SIZES), title="Expected over measured transfer risk, soft ratio 1"
    )
    ratio = mean.expected_transfer_risk / mean.transfer_risk
    for epoch in ratio.epoch.values:
        table.add_row(str(epoch), *(f"{v:.2f}" for v in ratio.sel(epoch=epoch).values))
    console.print(table)
    far = np.abs(ratio.sel(n=slice(300, None)) - 1).max("n")
    told = ", ".join(f"{e}: {float(far.sel(epoch=e)):.0%}" for e in far.epoch.values)
    console.print(f"Farthest from measured at n of 300 and more, by epoch: {told}.")


def _table(title: str, values: xr.DataArray, along: str) -> Table:
    table = Table(along.replace("_", " "), *map(str, SIZES), title=f"{title}, by n")
    for step in values[along].values:
        table.add_row(
            f"{step:g}", *(f"{v:.3f}" for v in values.sel({along: step}).transpose("n").values)
        )
    return table


if __name__ == "__main__":
    main()
