"""Small random problems: pools, test inputs and targets with everything that theory needs."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from tutelage import Task
from tutelage.kernels import mlp


@dataclass
class Problem:
    pool: torch.Tensor
    test: torch.Tensor
    theta: torch.Tensor
    cross: torch.Tensor
    prior: torch.Tensor
    targets: torch.Tensor


def problem(n=40, m=15, features=6, columns=3, seed=0, dtype=torch.float64, kernel=None):
    generator = torch.Generator().manual_seed(seed)
    pool, test = (
        torch.randn(k, features, generator=generator, dtype=torch.float64).to(dtype) for k in (n, m)
    )
    targets = torch.randn(n, columns, generator=generator, dtype=torch.float64).to(dtype)
    kernel = kernel or mlp(depth=2)
    return Problem(pool, test, kernel(pool), kernel(pool, test), kernel.diag(test), targets)


def task(
    n=60, m=30, n_classes=3, seed=0, epochs=None, labels=True, test=True, noise=0.7, features=5
):
    """A task with a linear truth, a teacher that is partly wrong, and one logit for two classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, features))
    truth = x[:, 0] if n_classes == 2 else x @ rng.normal(size=(features, n_classes))
    y = (truth > 0).astype(int) if n_classes == 2 else truth.argmax(1)
    count = (len(epochs),) if epochs is not None else ()
    z = 2 * truth + noise * rng.normal(size=(*count, *truth.shape))
    train, held = (
        (..., slice(0, n), *([slice(None)] if truth.ndim == 2 else [])),
        (
            ...,
            slice(n, None),
            *([slice(None)] if truth.ndim == 2 else []),
        ),
    )
    return Task(
        x_train=x[:n],
        teacher_logits_train=z[train],
        y_train=y[:n] if labels else None,
        x_test=x[n:] if test else None,
        teacher_logits_test=z[held] if test else None,
        y_test=y[n:] if labels and test else None,
        teacher_epochs=None if epochs is None else np.array(epochs),
    )


def linear(input_shape, n_outputs):
    """A factory that can be found by its name."""
    return nn.Linear(*input_shape, n_outputs)


def wrongly_labelled(flips=45, noise=3.0):
    """Wrong labels, and a teacher that errs so much that a low soft ratio is best all the same."""
    problem = task(n=300, m=100, noise=noise, n_classes=2)
    y, flipped = problem.y_train.copy(), np.random.default_rng(0).permutation(300)[:flips]
    y[flipped] = 1 - y[flipped]
    return replace(problem, y_train=y), set(flipped.tolist())


def untimed(plan):
    """A plan.json without the seconds that things took."""
    cost = plan["cost"] | {"seconds": 0, "predicted_seconds": 0}
    return plan | {"seconds": 0, "cost": cost}


def planning(given, options, folder):
    """A command that makes a plan with a checkpoint, to be run in a process of its own."""
    code = "from _tutelage_entry import main; main()"
    arguments = ["plan", given, *options, "--checkpoint", folder, "--json", "--quiet"]
    return [sys.executable, "-c", code, *map(str, arguments)]


def planned_by(command):
    """Run it to its end, and give the plan without its seconds."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return untimed(json.loads(done.stdout))
