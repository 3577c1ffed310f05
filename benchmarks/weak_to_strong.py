"""Students that are better than their teacher, and what distilling adds to labels.

    OMP_NUM_THREADS=1 python benchmarks/weak_to_strong.py [--cifar FOLDER]

On the tasks of `recorded.py`: the teacher's own error on the test part, that of real students which
learn from it alone (ρ = 1), nearly from labels alone (ρ = 0.05) and at the best setting; and what a
plan within one training predicts of the gain over the better of the two extremes.
"""

import argparse
from pathlib import Path

import numpy as np
from recorded import ALL, READ
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from search import Problem, replayed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    given, console = parser.parse_args(), Console(width=120)
    table = Table("task", "teacher", "ρ = 1", "ρ = 0.05", "best", "gain", "predicted gain")
    gains = []
    for name in ALL:
        if name in READ:
            continue
        p = Problem(name, given.cifar)
        rho = np.array([r for r, _ in p.settings])
        accuracy = p.task.teacher_accuracy("test")
        assert accuracy is not None
        extremes = [rho == 1, rho == 0.05]
        real, told = (gain(errors, extremes) for errors in (p.truth, replayed(p, 0)[0]))
        gains.append((real, told))
        shown = [1 - accuracy[0], *(p.truth[e].min() for e in extremes), p.truth.min(), real, told]
        table.add_row(name, *(f"{100 * value:.1f}" for value in shown))
    console.print(table)
    real, told = np.array(gains).T
    console.print(
        "Gains of mixing over the better of teacher and labels alone:"
        f" {100 * real.mean():.1f} points on average, predicted {100 * told.mean():.1f}; rank"
        f" correlation {spearmanr(real, told).statistic:.2f},"
        f" {100 * np.abs(real - told).mean():.1f} points apart on average."
    )


def gain(errors: np.ndarray, extremes: list[np.ndarray]) -> float:
    """How much less the best setting errs than the better extreme."""
    return float(min(errors[e].min() for e in extremes) - errors.min())


if __name__ == "__main__":
    main()
