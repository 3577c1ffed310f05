"""Leave-one-out of students that are trained for a finite time, without training again.

    OMP_NUM_THREADS=1 python benchmarks/left_out.py [--tasks NAME …] [--cifar FOLDER]

For each task the warm start that has seen a quarter of the pool, and students of the whole pool at
ten settings. Printed are, as shares of the samples that the start has not seen: errors of (8.1)
with each sample left out by (8.4) and as in generalised cross-validation, of converged students
left out by (3.6), on the test part, and of really trained students; rank correlations and regrets
of choosing by each; and for a few samples how far (8.4) lies from students that are solved for anew
without them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from comparison import SETTINGS, _student
from recorded import ALL, problem, recorded
from rich.console import Console
from scipy.stats import spearmanr
from torch import Tensor

import tutelage as tu
from tutelage.data.part import decide
from tutelage.theory.finite_time import CURVATURE, Losses
from tutelage.theory.finite_time import Path as InTime

TASKS = (
    "fashion 10, weak, mlp", "fashion 10, strong, mlp", "fashion 10, weak, 20 % noise, mlp",
    "fashion 10, strong, 40 % noise, mlp", "text 10, mlp, 2000", "text 10, 30 % noise, mlp, 2000",
)  # fmt: skip
CHECKED = 6  # samples that are left out by solving anew


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    given, console = parser.parse_args(), Console(width=130, highlight=False)
    for name in given.tasks:
        assert name in ALL
        _report(console, name, given.cifar)


def _report(console: Console, name: str, cifar: Path) -> None:
    (task, spec), truth = problem(name, cifar), recorded(name, cifar).truth
    x, test = task.inputs(torch.float32)
    pool = task.part("train", x).floating(torch.float32)
    order = torch.as_tensor(np.random.default_rng([0, 0]).permutation(len(pool)))
    student = _student("warm", spec).settled(pool, seed=0)
    seen = len(pool) // 4
    start = student.start(pool.rows(order[:seen]), seed=0)
    part = pool.rows(order)
    theta, across = start.kernel(part.x).double(), start.kernel(test, part.x).double()
    z_0, of_test = start.logits(part.x).double(), start.logits(test).double()
    rho, t = torch.tensor(SETTINGS, dtype=torch.float64).T
    losses = Losses.of(part.teacher.double(), part.labels.long(), rho, t, 2)
    learned, left_out, generalised = in_time(theta, z_0, losses, start.time_per_sample)
    jittered = theta + 1e-8 * theta.diagonal().mean() * torch.eye(len(theta))
    weights = torch.linalg.solve(jittered, learned.flatten(1))
    told = of_test[:, :, None] + (across @ weights).reshape(len(test), *learned.shape[1:])
    unseen, y = slice(seen, None), np.asarray(task.y_train)[order.numpy()]
    errors = {
        "(8.4), left out after its training time": wrong(left_out[unseen], y[unseen]),
        "the same, one step for all samples (GCV)": wrong(generalised[unseen], y[unseen]),
        "(3.6), left out when converged": converged(task, order, theta, z_0, unseen),
        "the same students on the test part": wrong(told, task.y_test),
        "real students on the test part": truth,
    }
    console.print(f"[bold]{name}[/bold]; ρ, T: {' '.join(f'{a:g},{b:g}' for a, b in SETTINGS)}")
    for label, found in errors.items():
        rank = spearmanr(found, truth).statistic
        regret = 100 * (truth[found.argmin()] - truth.min())
        shown = " ".join(f"{100 * value:5.1f}" for value in found)
        console.print(f"  {label:42s} {shown}  rank {rank:5.2f}  regret {regret:.2f}")
    _check(console, theta, z_0, losses, start.time_per_sample, left_out, seen)


def in_time(
    theta: Tensor, z_0: Tensor, losses: Losses, time: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What (8.1) learns, (n, C, K), and its logits with each sample left out: by (8.4), and as in
    generalised cross-validation, where the diagonal of the inverse is its mean for all samples.
    """
    kappa, eye = 1 / (time * CURVATURE), torch.eye(len(theta)).double()
    inverse = torch.linalg.inv(theta + kappa * eye)
    learned = InTime(lambda _: lambda b: inverse @ b, losses, z_0, time).learned(len(theta))
    jittered = theta + 1e-8 * theta.diagonal().mean() * eye
    a = torch.linalg.solve(jittered, learned.flatten(1)).reshape(learned.shape)
    of_each, of_all = 1 / inverse.diagonal() - kappa, 1 / inverse.diagonal().mean() - kappa
    now = z_0[:, :, None] + learned
    return learned, now - a * of_each[:, None, None], now - a * of_all


def converged(
    task: tu.Task, order: Tensor, theta: Tensor, z_0: Tensor, unseen: slice
) -> np.ndarray:
    """Errors of the interpolants of effective logits, each sample left out."""
    jittered = theta + 1e-8 * theta.diagonal().mean() * torch.eye(len(theta))
    inverse, y = torch.linalg.inv(jittered), np.asarray(task.y_train)[order.numpy()]
    teacher, found = np.asarray(task.teacher_logits_train, float)[order.numpy()], []
    for rho, t in SETTINGS:
        z = torch.as_tensor(tu.effective_logits(teacher, y, soft_ratio=rho, temperature=t)) - z_0
        logits = z_0 + z - inverse @ z / inverse.diagonal()[:, None]
        found.append((decide(logits[unseen]).numpy() != y[unseen]).mean())
    return np.array(found)


def wrong(logits: Tensor, y: np.ndarray) -> np.ndarray:
    """Errors of every setting; logits are (n, C, K)."""
    return np.asarray((decide(logits.movedim(2, 1)).numpy() != y[:, None]).mean(0))


def _check(
    console: Console, theta: Tensor, z_0: Tensor, losses: Losses, time: float, left_out: Tensor,
    seen: int,
) -> None:  # fmt: skip
    n, off, without, same = len(theta), [], [], []
    whole = z_0[:, :, None] + in_time(theta, z_0, losses, time)[0]
    for i in np.random.default_rng(0).choice(np.arange(seen, n), CHECKED, replace=False):
        others = torch.as_tensor(np.delete(np.arange(n), i))
        kernel = theta[others][:, others]
        learned, *_ = in_time(kernel, z_0[others], losses.reordered(others), time)
        jittered = kernel + 1e-8 * kernel.diagonal().mean() * torch.eye(n - 1)
        a = torch.linalg.solve(jittered, learned.flatten(1)).reshape(learned.shape)
        anew = z_0[i][:, None] + torch.einsum("n,nck->ck", theta[i, others], a)
        off.append(float((left_out[i] - anew).abs().mean()))
        without.append(float((whole[i] - anew).abs().mean()))
        same.append(float((left_out[i].argmax(0) == anew.argmax(0)).double().mean()))
    console.print(
        f"  (8.4) against {CHECKED} students solved anew: logits {np.mean(off):.3f} apart, where"
        f" those that have seen the sample are {np.mean(without):.3f} apart; {np.mean(same):.0%} of"
        " decisions agree."
    )


if __name__ == "__main__":
    main()
