"""Claims a and b: trained wide students arrive at the effective logits, and are the kernel's
solution (§2, §3).
"""

import copy
from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tutelage import kernels
from tutelage.data.part import Part
from tutelage.datasets import gaussian_mixture
from tutelage.lab.claims.claim import Claim
from tutelage.progress import Progress, silent
from tutelage.theory.effective_logits import effective_logits
from tutelage.train.loss import DistillationLoss
from tutelage.train.networks import mlp
from tutelage.train.training import Training, train

SOFT_RATIO, TEMPERATURE, N, FEATURES, DEPTH = 0.5, 2.0, 24, 10, 1
_ROUNDING = 1e-5  # of float32, below which a distance is no longer seen to fall


class Centred(nn.Module):
    """A network less itself at its initial weights: z_0 = 0."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.start = network, copy.deepcopy(network).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) to (n, C)."""
        return self.network(x) - self.start(x)


def effective(*, fast: bool, seed: int = 0, progress: Progress = silent) -> Claim:
    """Claim a."""
    teacher = np.linspace(-6, 6, 61)
    rows = [
        {
            "teacher": z,
            "effective": e,
            "soft_ratio": rho,
            "the teacher is": "right" if right else "wrong",
        }
        for rho in (0.1, 0.3, 0.5, 0.7, 1.0)
        for right in (True, False)
        for z, e in zip(
            teacher,
            effective_logits(
                teacher, ((teacher > 0) == right).astype(int), soft_ratio=rho, temperature=1.0
            ),
            strict=True,
        )
    ]
    curves = pd.DataFrame(rows)
    times = _trained(fast=fast, seed=seed, progress=progress).query("where == 'pool'")
    last = times[times.steps == times.steps.max()].set_index("width").distance
    looks = [look for _, own in times.groupby("width") for look in pairwise(own.distance)]
    nears = all(later <= 1.02 * sooner or later < _ROUNDING for sooner, later in looks)
    held = bool(nears and last.iloc[-1] < 0.1)
    first_chart = (
        alt.Chart(curves)
        .mark_line()
        .encode(
            x=alt.X("teacher:Q", title="teacher's logit"),
            y=alt.Y("effective:Q", title="effective logit"),
            color=alt.Color("soft_ratio:O", title="soft ratio", scale=alt.Scale(scheme="viridis")),
            strokeDash=alt.StrokeDash("the teacher is:N"),
        )
        .properties(width=320, height=260)
    )
    data = pd.concat([curves.assign(figure="effective logits"), times.assign(figure="distance")])
    return Claim(
        "effective-logits",
        "A trained wide student's logits arrive at the effective logits.",
        "after training, the distance to them is "
        + ", ".join(f"{100 * v:.1f} % at width {w}" for w, v in last.items())
        + ", and it fell at every look." * nears,
        held,
        data,
        (first_chart | _over_steps(times, "distance to the effective logits")).resolve_scale(
            color="independent"
        ),
    )


def kernel_solution(*, fast: bool, seed: int = 0, progress: Progress = silent) -> Claim:
    """Claim b."""
    times = _trained(fast=fast, seed=seed, progress=progress).query("where == 'test'")
    last = times[times.steps == times.steps.max()].set_index("width").distance
    held = bool(last.iloc[-1] == last.min() and last.iloc[-1] < 0.1)
    return Claim(
        "kernel-solution",
        "In the limit of width the converged student is the kernel's solution (3.1).",
        "on other inputs, its distance from it is "
        + ", ".join(f"{100 * v:.1f} % at width {w}" for w, v in last.items())
        + ".",
        held,
        times,
        _over_steps(times, "distance to the kernel's solution, other inputs"),
    )


def _over_steps(times: pd.DataFrame, title: str) -> alt.Chart:
    return (
        alt.Chart(times)
        .mark_line(point=True)
        .encode(
            x=alt.X("steps:Q", title="steps of training", scale=alt.Scale(type="log")),
            y=alt.Y("distance:Q", title=title, axis=alt.Axis(format="%")),
            color=alt.Color("width:O", scale=alt.Scale(scheme="plasma")),
        )
        .properties(width=320, height=260)
    )


def _trained(*, fast: bool, seed: int, progress: Progress) -> pd.DataFrame:
    """Distances of networks of growing width, trained on all samples at once, to z_eff and to the
    kernel's solution.
    """
    widths, looks = (
        ((64, 256, 1024), (10, 100, 1000))
        if fast
        else ((64, 256, 1024, 4096), (10, 100, 1000, 8000))
    )
    data, bayes = gaussian_mixture(N, 200, features=FEATURES, seed=seed)
    x, x_test = (torch.as_tensor(v, dtype=torch.float32) for v in (data.x, data.x_test))
    logits = bayes(data.x)
    teacher, labels = (
        torch.as_tensor(logits[:, 1:] - logits[:, :1], dtype=torch.float32),
        torch.as_tensor(data.y),
    )
    target = effective_logits(
        teacher[:, 0], labels, soft_ratio=SOFT_RATIO, temperature=TEMPERATURE
    )[:, None]
    kernel = kernels.mlp(depth=DEPTH)
    theta = kernel(x.double())
    solution = kernel(x_test.double(), x.double()) @ torch.linalg.solve(theta, target)
    rate = float(2 * N / torch.linalg.eigvalsh(theta)[-1])
    rows, loss = [], DistillationLoss(SOFT_RATIO, TEMPERATURE)
    with progress("networks", len(widths) * looks[-1]) as advance:
        for width in widths:
            torch.manual_seed(seed)
            network, done = Centred(mlp(width, DEPTH, parametrisation="ntk")((FEATURES,), 1)), 0
            for look in looks:
                train(
                    network,
                    Part(x, teacher[:, None], labels),
                    loss,
                    Training(look - done, rate, N),
                    seed=seed,
                )
                advance(look - done)
                done = look
                with torch.no_grad():
                    for where, inputs, goal in (("pool", x, target), ("test", x_test, solution)):
                        away = torch.linalg.norm(
                            network(inputs).double() - goal
                        ) / torch.linalg.norm(goal)
                        rows.append(
                            {"width": width, "steps": done, "where": where, "distance": float(away)}
                        )
    return pd.DataFrame(rows)
