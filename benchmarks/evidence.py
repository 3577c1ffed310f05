"""Two more checks on the tasks of comparison.py: the sample-size forecast, and the expected risk at
soft ratio 1.

    python benchmarks/comparison.py && python benchmarks/evidence.py

For every task: the error forecast for the whole pool from its first half, with its 90 % interval,
against the error that is then predicted from all of it (closed form, recommended setting); and the
expected transfer risk at soft ratio 1 of closed form and warm tangent against the share on which
really trained students disagree with the teacher.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from comparison import TASKS, _kept, _task
from rich.console import Console
from rich.table import Table

import tutelage as tu
from tutelage.decisions.samples import Curve, forecast

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


def main() -> None:
    table = Table(
        "task", "forecast, %", "90 %", "then", "inside", "real risk, %", "closed form", "warm"
    )
    inside, ratios = [], []
    for name, spec in TASKS.items():
        task = _task(name, spec, CIFAR)
        whole = tu.curves(task, tu.kernels.mlp(), temperature=[1.0, 4.0])
        best = tu.plan(task, curves=whole).recommended
        at = {"soft_ratio": best.soft_ratio, "temperature": best.temperature}
        told = _forecast(task, at)
        then = float(whole.error.sel(at).isel(n=-1).mean())
        inside.append(told.error_low <= then <= told.error_high)
        real, *expected = (
            float(
                np.mean(_kept(name, what, lambda: None)[key][-2:])
            )  # the two settings at soft ratio 1
            for what, key in (
                ("real", "transfer_risk"),
                ("closed form", "expected_transfer_risk"),
                ("warm", "expected_transfer_risk"),
            )
        )
        ratios.append(np.array(expected) / real)
        table.add_row(
            name,
            f"{100 * told.error:.1f}",
            f"{100 * told.error_low:.1f} to {100 * told.error_high:.1f}",
            f"{100 * then:.1f}",
            "yes" if inside[-1] else "no",
            f"{100 * real:.1f}",
            *(f"{100 * e:.1f} ({e / real:.2f})" for e in expected),
        )
    console = Console(width=130)
    console.print(table)
    console.print(f"Inside the interval: {sum(inside)} of {len(inside)}.")
    closed, warm = np.abs(np.array(ratios) - 1).mean(0)
    console.print(
        f"Expected against real disagreement at ρ = 1, off on average: closed form {closed:.0%},"
        f" warm {warm:.0%}."
    )


def _forecast(task: tu.Task, at: dict[str, float]) -> object:
    """From the first half of the pool."""
    n = task.n_train // 2
    half = replace(
        task,
        x_train=task.x_train[:n],
        teacher_logits_train=task.teacher_logits_train[:n],
        y_train=task.y_train[:n],
    )
    found = tu.curves(
        half, tu.kernels.mlp(), soft_ratio=[at["soft_ratio"]], temperature=[at["temperature"]]
    )
    curve = Curve.of(found.isel(soft_ratio=0, temperature=0))
    return forecast(curve, curve.draws(0), task.n_train)


if __name__ == "__main__":
    main()
