"""What a plan costs beside its own linear algebra, and beside refitting every student.

    python benchmarks/plan_cost.py [--n 6000] [--repeats 3]

Fashion-MNIST, coat against shirt; 16 settings, 1 ordering, float64. Each repeat times in turn the
plan, its parts on their own (kernel, one `torch.linalg.cholesky`, two triangular solves), and in
the first repeat also every student fitted by itself: 20 sizes × 16 settings, the kernel given.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from coat_shirt import task
from rich.console import Console
from torch import Tensor

import tutelage as tu
from tutelage.theory.factor import factor, predictions, solve, squared_norms
from tutelage.theory.transfer_risk import expected_transfer_risk, prequential_scale

SOFT_RATIOS, TEMPERATURES = (0.02, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0), (1.0, 4.0)
console = Console(width=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=6000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    problem, kernel = task(arguments.n), tu.kernels.mlp()
    sizes = np.linspace(0, problem.n_train, 21)[1:].astype(int).tolist()
    plans, parts = [], []
    for _ in range(arguments.repeats):
        found, seconds = _timed(lambda: _plan(problem, kernel, sizes))
        plans.append(seconds)
        parts.append(_parts(problem, kernel))
        console.print(f"plan {plans[-1]:.2f} s; kernel + Cholesky + two solves {parts[-1]:.2f} s")
    console.print(
        f"Plan over its own linear algebra, least of {arguments.repeats}:"
        f" {min(plans) / min(parts):.2f}"
    )
    (theta, cross), spent = _timed(lambda: _kernels(problem, kernel))
    prior = kernel.diag(problem.inputs(torch.float64)[1])
    students = _Students.of(problem, found, theta, cross, prior)
    del theta, cross
    once, seconds_once = _timed(students.by_one_factorisation)
    refits, seconds = _timed(students.by_refits)
    console.print(
        f"{len(sizes)} sizes × 16 settings, kernel given: refits {seconds:.0f} s, one factorisation"
        f" {seconds_once:.2f} s, {seconds / seconds_once:.0f} × faster; the plan without its"
        f" kernel, which tells far more, {seconds / (min(plans) - spent):.0f} ×"
    )
    for name, values in refits.items():
        far = [
            np.abs(v - values).max() / np.abs(values).max()
            for v in (once[name], found[name][0].values)
        ]
        console.print(
            f"  {name}: farthest, relative to the largest: {far[0]:.1e} (factorisation),"
            f" {far[1]:.1e} (plan)"
        )


def _plan(problem: tu.Task, kernel: tu.kernels.Kernel, sizes: list[int]) -> xr.Dataset:
    found = tu.curves(
        problem, kernel, soft_ratio=SOFT_RATIOS, temperature=TEMPERATURES, sizes=sizes, orderings=1
    )
    return tu.plan(problem, curves=found).curves


def _kernels(problem: tu.Task, kernel: tu.kernels.Kernel) -> tuple[Tensor, Tensor]:
    pool, test = problem.inputs(torch.float64)
    return kernel(pool), kernel(pool, test)


def _parts(problem: tu.Task, kernel: tu.kernels.Kernel) -> float:
    started = time.perf_counter()
    theta, cross = _kernels(problem, kernel)
    theta.diagonal().add_(1e-10 * theta.diagonal().mean())
    targets = torch.randn(len(theta), 16, dtype=theta.dtype)
    lower = torch.linalg.cholesky(theta)
    torch.linalg.solve_triangular(lower, targets, upper=False)
    torch.linalg.solve_triangular(lower, cross, upper=False)
    return time.perf_counter() - started


@dataclass
class _Students:
    """All students of a grid, in the ordering of seed 0: two ways to the same numbers."""

    theta: Tensor
    cross: Tensor
    prior: Tensor
    targets: Tensor  # (N, settings)
    labels: Tensor
    jitter: float
    sizes: list[int]
    shape: tuple[int, int]

    @classmethod
    def of(
        cls, problem: tu.Task, found: xr.Dataset, theta: Tensor, cross: Tensor, prior: Tensor
    ) -> "_Students":
        order = torch.as_tensor(np.random.default_rng([0, 0]).permutation(problem.n_train))
        ratios, temperatures = np.meshgrid(found.soft_ratio, found.temperature, indexing="ij")
        targets = tu.effective_logits(
            problem.teacher_logits("train")[0, :, 0],
            problem.y_train,
            soft_ratio=ratios.ravel(),
            temperature=temperatures.ravel(),
        )
        return cls(
            theta[order][:, order],
            cross[order],
            prior,
            torch.as_tensor(targets).T[order].contiguous(),
            torch.as_tensor(problem.y_test),
            float(found.jitter[0]),
            found.n.values.tolist(),
            ratios.shape,
        )

    def by_one_factorisation(self) -> dict[str, np.ndarray]:
        factored = factor(self.theta)
        solution, test_solution = solve(factored, self.targets), solve(factored, self.cross)
        scales = prequential_scale(solution, self.sizes)
        rows = [
            (self._error(mean), self._expected(mean, scale, variance))
            for scale, (_, mean, variance) in zip(
                scales, predictions(solution, test_solution, self.prior, self.sizes), strict=True
            )
        ]
        error, expected = (torch.stack(column) for column in zip(*rows, strict=True))
        return self._named(error, squared_norms(solution, self.sizes), expected)

    def by_refits(self) -> dict[str, np.ndarray]:
        rows = [[self._refit(n, s) for s in range(self.targets.shape[1])] for n in self.sizes]
        return self._named(*torch.tensor(rows, dtype=torch.float64).movedim(-1, 0))

    def _refit(self, n: int, setting: int) -> tuple[float, float, float]:
        """As one would without the cumulative sums: each student from its own Cholesky factor."""
        theta, targets = self.theta[:n, :n].clone(), self.targets[:n, setting : setting + 1]
        theta.diagonal().add_(self.jitter)
        lower = torch.linalg.cholesky(theta)
        weights = torch.cholesky_solve(targets, lower)
        mean = self.cross[:n].mT @ weights
        variance = self.prior - torch.linalg.solve_triangular(
            lower, self.cross[:n], upper=False
        ).square().sum(0)
        steps = torch.linalg.solve_triangular(lower, targets, upper=False)[n - n // 3 :]
        expected = self._expected(mean, steps.square().mean(0), variance)
        return self._error(mean).item(), (targets * weights).sum().item(), expected.item()

    def _error(self, mean: Tensor) -> Tensor:
        return ((mean > 0) != self.labels[:, None]).double().mean(0)

    def _expected(self, mean: Tensor, scale: Tensor, variance: Tensor) -> Tensor:
        return expected_transfer_risk(mean.T[..., None], scale[:, None], variance)

    def _named(self, *values: Tensor) -> dict[str, np.ndarray]:
        names = ("error", "squared_norm", "expected_transfer_risk")
        return {n: v.T.reshape(*self.shape, -1).numpy() for n, v in zip(names, values, strict=True)}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


if __name__ == "__main__":
    main()
