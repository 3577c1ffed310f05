"""Predicted against real students: closed form, init and warm tangent on nine tasks.

    python benchmarks/comparison.py [--tasks NAME …] [--cifar FOLDER]

For every task: a CNN teacher trained on other samples, a pool, ten settings; real students (SGD
with momentum at a learning rate of 0.02, cosine, two seeds for each setting; MLPs for 30 epochs,
CNNs for 60) and plans by the three kinds of student, which are told of the same training. Printed
for each task are the predicted and real errors, what is recommended, its regret (its real error
less the least), the rank correlation, and the seconds of plan and of sweep; then the regrets of
fixed defaults. Teachers, real students and plans are kept under benchmarks/cache, so that a run
goes on where the last one ended.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import nn

import tutelage as tu
from tutelage.train.networks import cnn, mlp
from tutelage.train.training import Training, train

CACHE = Path(__file__).parent / "cache" / "comparison"
RATIOS, TEMPERATURES, SEEDS = (0.05, 0.2, 0.5, 0.9, 1.0), (1.0, 4.0), 2
SETTINGS = [(rho, t) for rho in RATIOS for t in TEMPERATURES]
DEFAULTS = {
    "ρ 0.9, T 4": (0.9, 4.0),
    "ρ 0.5, T 1": (0.5, 1.0),
    "ρ 0.05, T 1": (0.05, 1.0),
    "ρ 1": (1.0, 1.0),
}
STUDENT = {
    "mlp": Training(30, 0.02, annealed=True),
    "cnn": Training(60, 0.02, annealed=True),
    "transformer": Training(
        10, 0.0005, batch_size=32, annealed=True, optimiser="adamw", weight_decay=0.01, warmup=0.1
    ),
}
VOCABULARY, LENGTH = 4000, 64  # of texts that a transformer reads
KINDS = ("closed form", "init", "warm")


@dataclass(frozen=True)
class Spec:
    """One task: data, the pool's size, the teacher's samples and epochs, labels redrawn, the
    student.
    """

    data: str
    pair: tuple[int, int] | None
    n: int
    taught: int
    epochs: int
    noise: float
    student: str


TASKS = {
    "fashion pair, weak, mlp": Spec("fashion", (4, 6), 1500, 1000, 2, 0.0, "mlp"),
    "fashion pair, strong, 40 % noise, mlp": Spec("fashion", (4, 6), 1500, 8000, 8, 0.4, "mlp"),
    "fashion 10, weak, mlp": Spec("fashion", None, 1500, 2000, 3, 0.0, "mlp"),
    "fashion 10, strong, mlp": Spec("fashion", None, 1000, 20000, 6, 0.0, "mlp"),
    "fashion 10, weak, 20 % noise, mlp": Spec("fashion", None, 1500, 2000, 3, 0.2, "mlp"),
    "fashion 10, strong, 40 % noise, mlp": Spec("fashion", None, 1500, 20000, 6, 0.4, "mlp"),
    "cifar pair, weak, cnn": Spec("cifar", (0, 2), 1000, 500, 6, 0.0, "cnn"),
    "cifar 10, strong, cnn": Spec("cifar", None, 1000, 12000, 8, 0.0, "cnn"),
    "fashion 10, weak, 20 % noise, cnn": Spec("fashion", None, 1000, 2000, 3, 0.2, "cnn"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    arguments = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    console, rows = Console(width=130), {}
    for name in arguments.tasks:
        spec = TASKS[name]
        task = task_of(name, spec, arguments.cifar)
        real = _kept(name, "real", lambda task=task, spec=spec: _real(task, spec))
        plans = {
            kind: _kept(name, kind, lambda task=task, kind=kind, spec=spec: _plan(task, kind, spec))
            for kind in KINDS
        }
        rows[name] = (real, plans)
        _report(console, name, task, real, plans)
    _summary(console, rows)


def _kept(name: str, what: str, make: Callable[[], Any]) -> Any:
    short = name.replace(" ", "-").replace(",", "").replace("%", "percent")
    path = CACHE / f"{short}.{what.replace(' ', '-')}.json"
    if not path.exists():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def task_of(name: str, spec: Spec, cifar: Path) -> tu.Task:
    path = CACHE / f"{name.replace(' ', '-').replace(',', '').replace('%', 'percent')}.npz"
    if path.exists():
        return tu.Task.load(path)
    data = tu.datasets.fashion_mnist() if spec.data == "fashion" else tu.datasets.cifar10(cifar)
    data = data if spec.pair is None else data.pair(*spec.pair)
    rng = np.random.default_rng(0)
    order, test = rng.permutation(len(data.x)), rng.permutation(len(data.x_test))[:2000]
    pool, taught = order[: spec.n], order[spec.n : spec.n + spec.taught]
    classes = len(data.classes)
    logits = _teach(
        data.x[taught], data.y[taught], [data.x[pool], data.x_test[test]], classes, spec.epochs
    )
    labels = data.y[pool].copy()
    redrawn = rng.random(spec.n) < spec.noise
    labels[redrawn] = rng.integers(0, classes, redrawn.sum())
    task = tu.Task(data.x[pool], logits[0], labels, data.x_test[test], logits[1], data.y_test[test])
    task.save(path)
    return task


def _teach(
    x: np.ndarray, y: np.ndarray, parts: list[np.ndarray], classes: int, epochs: int
) -> list[np.ndarray]:
    torch.manual_seed(0)
    inputs = _images(x)
    network = nn.Sequential(
        nn.Conv2d(inputs.shape[1], 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, classes),
    )  # fmt: skip
    network(inputs[:1])
    optimiser, labels = torch.optim.Adam(network.parameters()), torch.as_tensor(y)
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimiser.step()
    with torch.no_grad():
        return [torch.cat([network(b) for b in _images(part).split(500)]).numpy() for part in parts]


def _images(x: np.ndarray) -> torch.Tensor:
    scaled = torch.as_tensor(x, dtype=torch.float32) / 255 - 0.5
    return scaled[:, None] if scaled.ndim == 3 else scaled.permute(0, 3, 1, 2)


def factory_of(spec: Spec) -> Any:
    kinds = {"mlp": mlp(512, 3), "cnn": cnn(16), "transformer": _transformer}
    return kinds[spec.student]


def _transformer(_: Any, n_outputs: int) -> nn.Module:
    """Two layers of BERT's kind, from scratch."""
    from transformers import (  # noqa: PLC0415 -- takes seconds
        BertConfig,
        BertForSequenceClassification,
    )

    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=512, max_position_embeddings=LENGTH, num_labels=n_outputs,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def _real(task: tu.Task, spec: Spec) -> dict[str, Any]:
    """Train every setting's students."""
    pool, test = task.inputs(torch.float32)
    examples = task.part("train", pool).floating(torch.float32)
    started, errors, risks = time.perf_counter(), [], []
    for rho, t in SETTINGS:
        for seed in range(SEEDS):
            torch.manual_seed(100 + seed)
            network = factory_of(spec)(tuple(pool.shape[1:]), task.n_logits)
            loss = tu.lab.DistillationLoss(rho, t)
            train(network, examples, loss, STUDENT[spec.student], seed=100 + seed)
            with torch.no_grad():
                decided = torch.cat([network(part) for part in test.split(500)]).argmax(1).numpy()
            errors.append(float((decided != task.y_test).mean()))
            risks.append(float((decided != task.teacher_decisions("test")[0]).mean()))
    shape = (len(SETTINGS), SEEDS)
    return {
        "error": np.reshape(errors, shape).tolist(),
        "transfer_risk": np.reshape(risks, shape).tolist(),
        "seconds": time.perf_counter() - started,
    }


def _student(kind: str, spec: Spec) -> Any:
    if kind == "closed form":
        return tu.kernels.mlp()
    own = STUDENT[spec.student]
    brief = replace(own, epochs=Training().epochs, annealed=False)
    return tu.lab.TorchStudent(factory_of(spec), spec.student, kind, brief, own.epochs)


def _plan(task: tu.Task, kind: str, spec: Spec) -> dict[str, Any]:
    started = time.perf_counter()
    found = tu.curves(
        task,
        _student(kind, spec),
        soft_ratio=RATIOS,
        temperature=TEMPERATURES,
        sizes=[task.n_train],
    )
    plan = tu.plan(task, curves=found)
    by_setting = {(s.soft_ratio, s.temperature): s for s in plan.settings}
    best = plan.recommended
    return {
        "error": [by_setting[s].error for s in SETTINGS],
        "transfer_risk": [by_setting[s].transfer_risk for s in SETTINGS],
        "distance": [by_setting[s].distance for s in SETTINGS],
        "expected_transfer_risk": [by_setting[s].expected_transfer_risk for s in SETTINGS],
        "recommended": [best.soft_ratio, best.temperature],
        "verdict": best.verdict,
        "seconds": time.perf_counter() - started,
        "warnings": plan.warnings,
    }


def _regret(real: np.ndarray, setting: tuple[float, float]) -> float:
    return float(real[SETTINGS.index(tuple(setting))] - real.min())


def _report(console: Console, name: str, task: tu.Task, real: Any, plans: Any) -> None:
    truth = np.mean(real["error"], 1)
    table = Table(
        title=(
            f"{name}: error, %; teacher {1 - task.teacher_accuracy('test')[0]:.1%}; N ="
            f" {task.n_train}"
        )
    )
    for heading in (
        "",
        *(f"{rho:g}/{t:g}" for rho, t in SETTINGS),
        "chosen",
        "regret",
        "rank",
        "s",
    ):
        table.add_column(heading, justify="right")
    table.add_row("real", *(f"{100 * e:.1f}" for e in truth), "", "", "", f"{real['seconds']:.0f}")
    for kind, plan in plans.items():
        rank = spearmanr(plan["error"], truth).statistic
        chosen = f"{plan['recommended'][0]:g}/{plan['recommended'][1]:g}"
        errors = (f"{100 * e:.1f}" for e in plan["error"])
        table.add_row(
            kind,
            *errors,
            chosen,
            f"{100 * _regret(truth, plan['recommended']):.2f}",
            f"{rank:.2f}",
            f"{plan['seconds']:.0f}",
        )
    console.print(table)


def _summary(console: Console, rows: dict[str, Any]) -> None:
    truths = {name: np.mean(real["error"], 1) for name, (real, _) in rows.items()}
    table = Table(title=f"Over {len(rows)} tasks, percentage points")
    for heading in (
        "choice",
        "mean regret",
        "worst",
        "rank where errors span > 3",
        "|predicted - real| at the choice",
        "sweep / plan",
    ):
        table.add_column(heading, justify="right")
    for kind in KINDS:
        plans = {name: plans[kind] for name, (_, plans) in rows.items()}
        regrets = [100 * _regret(truths[name], plan["recommended"]) for name, plan in plans.items()]
        ranks = [
            spearmanr(p["error"], truths[n]).statistic
            for n, p in plans.items()
            if np.ptp(truths[n]) > 0.03
        ]
        at = {name: SETTINGS.index(tuple(plan["recommended"])) for name, plan in plans.items()}
        misses = [
            100 * abs(plan["error"][at[name]] - truths[name][at[name]])
            for name, plan in plans.items()
        ]
        faster = np.mean(
            [rows[name][0]["seconds"] / plan["seconds"] for name, plan in plans.items()]
        )
        table.add_row(
            kind,
            f"{np.mean(regrets):.2f}",
            f"{max(regrets):.2f}",
            f"{np.mean(ranks):.2f} (least {min(ranks):.2f})" if ranks else "",
            f"{np.mean(misses):.2f}",
            f"{faster:.1f}",
        )
    for name, setting in DEFAULTS.items():
        regrets = [100 * _regret(truth, setting) for truth in truths.values()]
        table.add_row(name, f"{np.mean(regrets):.2f}", f"{max(regrets):.2f}", "", "", "")
    console.print(table)


if __name__ == "__main__":
    main()
