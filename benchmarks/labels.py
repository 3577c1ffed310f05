"""Labels and teacher's answers that are bought: whether lists beat chance, and worth is told.

    OMP_NUM_THREADS=1 python benchmarks/labels.py [--cifar FOLDER] [--repeats 3]

Three tables, of tasks of `recorded.py` and real students (ρ = 0.5, T = 4 but for the third):

1. A fifth of the pool is labelled, and a tenth more is bought: at random, where students of low and
   high soft ratio vote apart, and as a plan lists them (`label_next`).
2. The teacher has seen a quarter of the pool, and is asked about an eighth more: at random, where
   the power function is largest (the posterior deviation of the kernel's Gaussian process), and by
   `Plan.teach_next`.
3. What labels of all samples are expected to take off the error, and what they do (the best of
   three soft ratios each time).
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from comparison import STUDENT, Spec, factory_of
from recorded import problem
from rich.console import Console
from rich.table import Table

import tutelage as tu
from tutelage.data.checks import NOT_LABELLED
from tutelage.data.inputs import shape
from tutelage.decisions.labels import label_next
from tutelage.students.network import decisions
from tutelage.train.training import train

LABELLED = (
    "fashion 10, weak, mlp", "fashion 10, weak, 20 % noise, mlp", "fashion pair, weak, mlp",
    "text 10, mlp, 2000",
)  # fmt: skip
TAUGHT = ("fashion 10, weak, mlp", "fashion 10, strong, mlp", "text 10, mlp, 2000")
RATIOS = (0.2, 0.5, 0.9)


def error(task: tu.Task, spec: Spec, seed: int, rho: float = 0.5) -> float:
    """Of a real student, in percent."""
    pool, test = task.inputs(torch.float32)
    torch.manual_seed(seed)
    network = factory_of(spec)(shape(pool), task.n_logits)
    examples = task.part("train", pool).floating(torch.float32)
    train(network, examples, tu.lab.DistillationLoss(rho, 4.0), STUDENT[spec.student], seed=seed)
    return 100 * float((decisions(network.eval(), test).numpy() != task.y_test).mean())


def with_labels(task: tu.Task, chosen: np.ndarray) -> tu.Task:
    """With labels of these samples alone."""
    y = np.full(task.n_train, NOT_LABELLED)
    y[chosen] = np.asarray(task.y_train)[chosen]
    return replace(task, y_train=y)


def labels(task: tu.Task, spec: Spec, repeats: int) -> Iterator[dict[str, float]]:
    """Table 1."""
    n = task.n_train
    for r in range(repeats):
        order = np.random.default_rng(r).permutation(n)
        known, others = order[: n // 5], order[n // 5 :]
        now = with_labels(task, known)
        found = tu.curves(
            now, "mlp", soft_ratio=[0.05, 1.0], temperature=[4.0], sizes=[n], orderings=1
        )
        votes = found.decision_loo.isel(temperature=0).values
        apart = others[np.argsort(votes[0][others] == votes[-1][others], kind="stable")]
        lists = {
            "none": [], "at random": others[: n // 10], "votes apart": apart[: n // 10],
            "label_next": label_next(now, 0)[: n // 10], "all": others,
        }  # fmt: skip
        for name, chosen in lists.items():
            bought = np.concatenate([known, np.asarray(chosen, int)])
            yield {name: error(with_labels(task, bought), spec, r)}


def asked(task: tu.Task, spec: Spec, repeats: int) -> Iterator[dict[str, float]]:
    """Table 2."""
    n, kernel = task.n_train, tu.kernels.mlp()
    for r in range(repeats):
        order = np.random.default_rng(r).permutation(n)
        known, others = order[: n // 4], order[n // 4 :]
        made = tu.plan(_of(task, known), student=kernel, soft_ratio=[1.0], temperature=[4.0])
        pool, _ = task.inputs(torch.float64)
        theta = kernel(pool, pool).numpy()
        known_block = theta[np.ix_(known, known)]
        across = np.linalg.solve(known_block, theta[np.ix_(known, others)])
        left = np.diag(theta)[others] - (theta[np.ix_(known, others)] * across).sum(0)
        lists = {
            "none": [], "at random": others[: n // 8], "power function": others[np.argsort(-left)],
            "teach_next": others[made.teach_next(np.asarray(task.x_train)[others])], "all": others,
        }  # fmt: skip
        for name, chosen in lists.items():
            some = np.asarray(chosen, int)[: None if name == "all" else n // 8]
            yield {name: error(_of(task, np.concatenate([known, some])), spec, r, 1.0)}


def _of(task: tu.Task, chosen: np.ndarray) -> tu.Task:
    return replace(
        task, x_train=np.asarray(task.x_train)[chosen],
        teacher_logits_train=task.teacher_logits_train[..., chosen, :]
        if task.n_logits > 1 else task.teacher_logits_train[..., chosen],
        y_train=np.asarray(task.y_train)[chosen],
    )  # fmt: skip


def worth(task: tu.Task, spec: Spec, repeats: int, share: float) -> Iterator[dict[str, float]]:
    """Table 3."""
    n = task.n_train
    for r in range(repeats):
        known = np.random.default_rng(r).permutation(n)[: int(share * n)]
        now = with_labels(task, known)
        made = tu.plan(now, student="mlp", soft_ratio=RATIOS, temperature=[4.0], seed=r)
        told = made.samples.labelled
        assert told is not None
        real = [min(error(t, spec, r, rho) for rho in RATIOS) for t in (now, task)]
        yield {
            "expected": 100 * told.error_reduction, "± s.e.": 100 * told.se,
            "real": real[0] - real[1],
        }  # fmt: skip


def shown(title: str, rows: dict[str, list[dict[str, float]]]) -> None:
    """Means over repeats."""
    means = pd.DataFrame({name: pd.DataFrame(r).mean() for name, r in rows.items()}).T
    table = Table(title=title, title_justify="left", box=None)
    for column in ("", *means.columns):
        table.add_column(column, justify="left" if not column else "right")
    for name, row in means.iterrows():
        table.add_row(str(name), *(f"{v:.2f}" for v in row))
    Console(width=130).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    tasks = {name: problem(name, given.cifar) for name in dict.fromkeys(LABELLED + TAUGHT)}
    shown(
        "Error, %, a fifth labelled and a tenth more",
        {name: list(labels(*tasks[name], given.repeats)) for name in LABELLED},
    )
    shown(
        "Error, %, a quarter taught and an eighth more",
        {name: list(asked(*tasks[name], given.repeats)) for name in TAUGHT},
    )
    shown(
        "What labels of all samples take off the error, points",
        {
            f"{name}: {100 * share:.0f} % labelled": list(worth(*tasks[name], given.repeats, share))
            for name in LABELLED
            for share in (0.2, 0.5)
        },
    )


if __name__ == "__main__":
    main()
