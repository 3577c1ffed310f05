"""Wrong labels: how many there are, and whether lists of suspects find them; beside cleanlab.

    pip install -c constraints.txt cleanlab
    OMP_NUM_THREADS=1 python benchmarks/wrong_labels.py [--cifar FOLDER]

On the tasks of `recorded.py` whose labels were redrawn by this repository, so that the wrong ones
are known, and k is how many there are. Two tables:

1. Precision among the first k and area under the precision-recall curve, in percent, of: the plan's
   list (`suspect_labels`); the teacher's decision against the label, ordered by its margin, and
   without an order; cleanlab's self-confidence and its `find_label_issues` with the teacher's
   probabilities, and with those of the plan's student, each sample left out (closed form, ρ = 0.05,
   T = 1, its temperature fitted on the labels).
2. The share of wrong labels with its 90 % interval (`wrong_labels`), and cleanlab's estimate; on
   tasks without wrong labels, too.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cleanlab.count import num_label_issues
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from comparison import Spec
from recorded import ALL, _rows, problem
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import average_precision_score

import tutelage as tu
from tutelage.decisions.teacher import share_of_wrong, suspects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    cifar = parser.parse_args().cifar
    console, found, shares = Console(width=150), [], []
    for name, spec in ALL.items():
        if spec.student == "transformer":
            continue
        task, _ = problem(name, cifar)
        wrong = truth(spec, cifar) != task.y_train
        shares.append({"task": name, "true": 100 * wrong.mean()} | of_share(task))
        if spec.noise:
            of = {method: judged(score, wrong) for method, score in scores(task).items()}
            found += [{"task": name, "method": m, "at_k": p, "area": a} for m, (p, a) in of.items()]
            console.print(f"{name}: done", style="dim")
    _print(console, pd.DataFrame(found))
    _print_shares(console, pd.DataFrame(shares))


def truth(spec: Spec, cifar: Path) -> np.ndarray:
    """The pool's labels before any was redrawn, drawn as the task was."""
    rng = np.random.default_rng(0)
    if spec.data == "text":
        rows = _rows(cifar.parent / "debtext" / "debtext.tsv.gz")
        sections = [section for section, _ in Counter(row[0] for row in rows).most_common(10)]
        labels = np.array([sections.index(row[0]) for row in rows if row[0] in sections])
        return labels[rng.permutation(len(labels))[: spec.n]]
    data = tu.datasets.fashion_mnist() if spec.data == "fashion" else tu.datasets.cifar10(cifar)
    data = data if spec.pair is None else data.pair(*spec.pair)
    return data.y[rng.permutation(len(data.y))[: spec.n]]


def scores(task: tu.Task) -> dict[str, np.ndarray]:
    """How suspicious each method finds each label."""
    y = np.asarray(task.y_train)
    z = np.asarray(task.teacher_logits_train, float)
    left_out, votes = student(task)
    teacher, own = softmax(z, 1), fitted(left_out, y)
    listed = suspects(task, 0, votes)
    order = np.full(len(y), -1.0)
    order[listed] = np.arange(len(listed), 0, -1)
    rest = np.where(np.eye(z.shape[1])[y] > 0, -1, teacher)
    margin = rest.max(1) - teacher[np.arange(len(y)), y]
    return {
        "tutelage": order,
        "teacher, by its margin": margin,
        "teacher, no order": (z.argmax(1) != y).astype(float),
        "cleanlab, teacher": -get_label_quality_scores(y, teacher, method="self_confidence"),
        "cleanlab issues, teacher": issues(y, teacher),
        "cleanlab, student": -get_label_quality_scores(y, own, method="self_confidence"),
        "cleanlab issues, student": issues(y, own),
    }


def issues(y: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """As cleanlab lists them, the worst first; all others are equal."""
    found = find_label_issues(y, probabilities, return_indices_ranked_by="self_confidence")
    score = np.zeros(len(y))
    score[found] = np.arange(len(found), 0, -1)
    return score


def student(task: tu.Task) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the closed form at ρ = 0.05, T = 1, each sample left out, (3.6), and its votes."""
    x, _ = task.inputs(torch.float64)
    theta = tu.kernels.mlp()(x, x)
    inverse = torch.linalg.inv(theta + 1e-8 * theta.diagonal().mean() * torch.eye(len(theta)))
    z = np.asarray(task.teacher_logits_train, float)
    targets = torch.as_tensor(tu.effective_logits(z, task.y_train, soft_ratio=0.05))
    logits = targets - inverse @ targets / inverse.diagonal()[:, None]
    return logits.numpy(), logits.argmax(1).numpy()


def fitted(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Probabilities at the temperature under which the labels are likeliest."""

    def surprise(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), 1)[np.arange(len(y)), y].mean())

    found = minimize_scalar(surprise, bounds=(-3, 4), method="bounded")
    return softmax(logits / np.exp(found.x), 1)


def judged(score: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Precision among the first k, where equals share their places, and the area."""
    k = int(wrong.sum())
    least = np.sort(score)[-k]
    above, equal = score > least, score == least
    hits = wrong[above].sum() + (k - above.sum()) * wrong[equal].mean()
    return 100 * float(hits) / k, 100 * float(average_precision_score(wrong, score))


def of_share(task: tu.Task) -> dict[str, float]:
    """The plan's estimate and interval, and cleanlab's."""
    told = share_of_wrong(task, 0)
    y, z = np.asarray(task.y_train), np.asarray(task.teacher_logits_train, float)
    theirs = num_label_issues(y, softmax(z, 1)) / len(y)
    if told is None:
        return {"share": np.nan, "low": np.nan, "high": np.nan, "cleanlab": 100 * theirs}
    return {name: 100 * getattr(told, name) for name in ("share", "low", "high")} | {
        "cleanlab": 100 * theirs
    }


def _print(console: Console, found: pd.DataFrame) -> None:
    table = Table("precision among the first k (area), %", title="Lists of suspect labels")
    methods = list(dict.fromkeys(found["method"]))
    for method in methods:
        table.add_column(method, justify="right")
    rows = [*found.groupby("task", sort=False), ("mean", found)]
    for name, rows_of in rows:
        means = rows_of.groupby("method")[["at_k", "area"]].mean()
        cells = [f"{means.at_k[m]:.1f} ({means.area[m]:.1f})" for m in methods]
        table.add_row(name, *cells)
    console.print(table)


def _print_shares(console: Console, shares: pd.DataFrame) -> None:
    table = Table("task", "true, %", "plan", "90 %", "cleanlab", title="Share of wrong labels")
    for row in shares.itertuples():
        interval = f"{row.low:.1f} to {row.high:.1f}"
        table.add_row(
            row.task, f"{row.true:.1f}", f"{row.share:.1f}", interval, f"{row.cleanlab:.1f}"
        )
    console.print(table)
    held = (shares.low <= shares.true) & (shares.true <= shares.high)
    off = [(shares[name] - shares.true).abs().mean() for name in ("share", "cleanlab")]
    console.print(
        f"The interval holds on {held.sum()} of {len(shares)} tasks; plan {off[0]:.1f} points off"
        f" on average, cleanlab {off[1]:.1f}."
    )


if __name__ == "__main__":
    main()
