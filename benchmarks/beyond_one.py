"""Soft ratios above 1: a negative weight of the labels.

    OMP_NUM_THREADS=1 python benchmarks/beyond_one.py [--n 3000] [--seeds 2]

Fashion-MNIST, ten classes, 30 and 50 % of the pool's labels redrawn; the teacher is an MLP that was
taught on the same noisy labels, for 4 epochs (stopped early) or for 30. That is where Das and
Sanghavi (2301.13304) find weights above 1 to help. Printed are real students' errors (MLPs of width
512, SGD, T = 1) by soft ratio, the share of samples for which (2.2) has no solution, and the
one-shot weight (2.6) of a kernel ridge regression of the same labels and teacher.
"""

import argparse

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import tutelage as tu
from tutelage.theory.one_shot import one_shot_ratio
from tutelage.train.networks import mlp

RATIOS = (0.05, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
RATE, BATCH, EPOCHS = 0.02, 64, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=2)
    given, console = parser.parse_args(), Console(width=140)
    x, y, test, truth = data(given.n)
    theta, across = kernels(x, test)
    table = Table("labels redrawn", "teacher", "its error, %", "no solution at 1.5, %", "one shot")
    for rho in RATIOS:
        table.add_column(f"ρ = {rho:g}", justify="right")
    for noise in (0.3, 0.5):
        rng = np.random.default_rng(1)
        redrawn = rng.random(len(y)) < noise
        labels = np.where(redrawn, rng.integers(0, 10, len(y)), y)
        hard = torch.eye(10)[torch.as_tensor(labels)]
        for epochs in (4, EPOCHS):
            teacher = trained(x, hard, epochs, seed=7)
            with torch.no_grad():
                soft = teacher(x).softmax(1)
            weight = one_shot(theta, across, hard, soft, truth)
            errors = [
                np.mean([error(trained(x, mixed(soft, hard, rho), EPOCHS, s), test, truth)
                         for s in range(given.seeds)])
                for rho in RATIOS
            ]  # fmt: skip
            lost = float((soft[torch.arange(len(y)), labels] < 1 - 1 / 1.5).float().mean())
            cells = [
                f"{100 * error(teacher, test, truth):.1f}",
                f"{100 * lost:.0f}",
                f"{weight:.2f}",
            ]
            shown = [f"{100 * value:.1f}" for value in errors]
            shown[int(np.argmin(errors))] = f"[bold]{shown[int(np.argmin(errors))]}[/bold]"
            table.add_row(f"{100 * noise:.0f} %", f"{epochs} epochs", *cells, *shown)
    console.print(table)


def data(n: int) -> tuple[torch.Tensor, np.ndarray, torch.Tensor, np.ndarray]:
    """Standardised inputs and labels of a pool and of a test part."""
    whole = tu.datasets.fashion_mnist()
    order = np.random.default_rng(0).permutation(len(whole.x))[:n]
    x = torch.as_tensor(whole.x[order].reshape(n, -1).astype(np.float32))
    test = torch.as_tensor(whole.x_test[:4000].reshape(4000, -1).astype(np.float32))
    mean, deviation = x.mean(), x.std()
    return (x - mean) / deviation, whole.y[order], (test - mean) / deviation, whole.y_test[:4000]


def kernels(x: torch.Tensor, test: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of an infinitely wide MLP."""
    kernel = tu.kernels.mlp()
    return kernel(x.double(), x.double()).numpy(), kernel(test.double(), x.double()).numpy()


def one_shot(
    theta: np.ndarray, across: np.ndarray, hard: torch.Tensor, soft: torch.Tensor, truth: np.ndarray
) -> float:
    """The weight of a kernel ridge regression (a hundredth of the kernel's diagonal)."""
    ridged = theta + 0.01 * theta.diagonal().mean() * np.eye(len(theta))
    of = [across @ np.linalg.solve(ridged, t.double().numpy() - 0.1) for t in (hard, soft)]
    return one_shot_ratio(of[0], of[1], np.eye(10)[truth] - 0.1)


def mixed(soft: torch.Tensor, hard: torch.Tensor, rho: float) -> torch.Tensor:
    """At T = 1 the loss is the cross-entropy with these targets, which sum to 1."""
    return rho * soft + (1 - rho) * hard


def trained(x: torch.Tensor, targets: torch.Tensor, epochs: int, seed: int) -> torch.nn.Module:
    """By a loop of its own: targets may be negative."""
    torch.manual_seed(seed)
    network = mlp(width=512, depth=3)(x.shape[1:], 10)
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9)
    steps = epochs * -(-len(x) // BATCH)
    annealed = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for part in torch.randperm(len(x), generator=generator).split(BATCH):
            loss = -(targets[part] * network(x[part]).log_softmax(1)).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)  # it is unbounded above 1
            optimiser.step()
            annealed.step()
    return network.eval()


def error(network: torch.nn.Module, test: torch.Tensor, truth: np.ndarray) -> float:
    """Of its decisions."""
    with torch.no_grad():
        return float((network(test).argmax(1).numpy() != truth).mean())


if __name__ == "__main__":
    main()
