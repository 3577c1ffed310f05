"""What a choice of soft ratio and temperature costs, and how good it is: tutelage and its rivals.

    OMP_NUM_THREADS=1 python benchmarks/search.py [--tasks NAME …] [--cifar FOLDER] [--out FOLDER]

Every method chooses among the same settings, and sees errors on the same labelled test part. Its
cost is counted in trainings of the student on the whole pool (CPU seconds over CPU seconds), its
regret is the real error of what it chooses less the least one of all settings (means of two seeds).
Real students are replayed from `recorded.py`; theory is computed by tutelage and timed beside a
training. Optuna's TPE with median pruning runs as it is (`pip install -c constraints.txt optuna`).

Printed are, on ten settings, on forty, and for transformers on ten: regret and cost of every
method, what each needs to reach the plan's regret, the plans task by task, and whether curves over
epochs cross. With --out the charts are written as search.svg and search.png.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import optuna
import pandas as pd
import torch
from comparison import DEFAULTS, _student
from recorded import (
    ALL,
    PARTS,
    READ,
    SEEDS,
    WIDER,
    Recorded,
    file_of,
    pilots,
    problem,
    recorded,
    settings_of,
)
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import tutelage as tu
from tutelage.pilots import Budget, linearised
from tutelage.pilots.budget import priced
from tutelage.pilots.kinds import Kind
from tutelage.pilots.runs import Pilot, Runs
from tutelage.pilots.surface import Surface, contradicted, wrong_labels
from tutelage.progress import silent
from tutelage.theory.pilots import places
from tutelage.train.training import halfway

CACHE = Path(__file__).parent / "cache" / "search"
OF_READ = (0.5, 1.0, 2.0)  # budgets for transformers, whose theory takes minutes
BUDGETS, DRAWS, THEORY_SEEDS, STARTS = (0.25, 0.5, 1.0, 2.0, 4.0), 20, 2, 3
COLOURS = {
    "tutelage": "#d62728", "tutelage, theory alone": "#ff9896", "successive halving": "#1f77b4",
    "Hyperband": "#17becf", "Optuna TPE, pruned": "#9467bd", "random": "#7f7f7f",
    "grid on a part": "#2ca02c", "flat prior": "#bcbd22", "closed form": "#8c564b",
}  # fmt: skip
NOTHING = torch.zeros(0, dtype=torch.int64)
Rows = Iterator[dict[str, Any]]


class Replayed(Runs):
    """Pilots that were trained before."""

    real: Recorded
    watched: np.ndarray  # errors of pilots after every epoch
    number: int  # of the recorded seed

    def run(self, surface: Surface, s: int, kind: Kind, number: int = 0) -> Pilot:
        """Look one up."""
        recorded = -1 if kind.halvings else 0
        decided = torch.as_tensor(self.real.decisions[recorded, s, self.number])
        return Pilot(s, kind, NOTHING, decided, NOTHING, NOTHING)

    def fall(self, surface: Surface, found: list[Pilot], name: str = "error") -> float:
        """Of the recorded pilots, by their errors after every epoch."""
        curves = self.watched[:, self.number]
        half = halfway(curves.shape[-1])
        hasty = [pilot.setting for pilot in found if pilot.kind.halvings]
        falls = (curves[hasty, half - 1] - curves[hasty, -1]) / np.log2(curves.shape[-1] / half)
        return float(falls.mean()) if hasty else surface.fall


class Problem:
    """A task with its real students, and what theory says of it."""

    def __init__(self, name: str, cifar: Path) -> None:
        self.name, self.settings = name, settings_of(name)
        self.task, spec = problem(name, cifar)
        self.real, self.watched = recorded(name, cifar), pilots(name, cifar)
        self.student = _student("warm", spec)
        x, test = self.task.inputs(torch.float32, ids=spec.student == "transformer")
        self.pool, self.test = self.task.part("train", x).floating(torch.float32), test
        self.truth = self.real.truth
        self.training = self._kept("training", self._trained)["cpu"]

    @property
    def grid(self) -> dict[str, Any]:
        """As `tutelage.curves` takes it."""
        return {
            "soft_ratio": sorted({rho for rho, _ in self.settings}),
            "temperature": sorted({float(t) for _, t in self.settings}),
        }

    def regret(self, chosen: int) -> float:
        """In points."""
        return float(100 * (self.truth[chosen] - self.truth.min()))

    def share(self, kind: int, s: int, seed: int) -> float:
        """What training a student of one of `KINDS` costs."""
        return float(self.real.seconds[kind, s, seed] / self.real.seconds[0].mean())

    def theory(
        self, student: tu.lab.TorchStudent, used: int, seed: int, name: str = "error"
    ) -> dict[str, np.ndarray]:
        """Errors, or transfer risks, of three starts, with the CPU seconds of all."""

        def computed() -> dict[str, Any]:
            data = linearised(self.task, student, used, orderings=STARTS, seed=seed, **self.grid)
            return {name: data[name].values, "n": data.n.values}

        of_last = "" if student.last is None else f"-last-{student.last}"
        what = "theory" if name == "error" else name
        return self._kept(f"{what}-{used}-{seed}{of_last}", computed)

    def alone(self, kind: str) -> dict[str, np.ndarray]:
        """Theory on the whole pool, without pilots."""
        student = tu.kernels.mlp() if kind == "closed form" else self.student

        def computed() -> dict[str, Any]:
            data = tu.curves(self.task, student, sizes=[self.task.n_train], **self.grid)
            best = tu.plan(self.task, curves=data).recommended
            chosen = self.settings.index((best.soft_ratio, best.temperature))
            return {"error": data.error.values, "chosen": chosen}

        return self._kept(kind.replace(" ", "-"), computed)

    def _trained(self) -> dict[str, Any]:
        self.student.trained(self.pool, tu.lab.DistillationLoss(0.5, 4.0), seed=0)
        return {}

    def _kept(self, what: str, compute: Callable[[], dict[str, Any]]) -> dict[str, np.ndarray]:
        path = CACHE / f"{file_of(self.name)}.{what}.npz"
        if not path.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            started = time.process_time()
            found = compute()
            np.savez(path, cpu=time.process_time() - started, **found)
        with np.load(path) as kept:
            return dict(kept)


def planned(p: Problem, method: str = "tutelage") -> Rows:
    """Tutelage within budgets; `flat prior`: pilots alone, with the same model and a flat prior
    mean; `without (3.12)`: as if no label were wrong.
    """
    flat = method == "flat prior"
    for trainings in OF_READ if p.name in READ else BUDGETS:
        budget, count = Budget(trainings), len(p.settings)
        student, prices = priced(p.student, p.pool, p.task.n_test, budget, None, settings=count)
        used, starts = prices.affordable(budget, None)
        for theory_seed in range(1 if flat else THEORY_SEEDS):
            found = p.theory(student, used, theory_seed)
            surface = _surface(p, found, starts, method, last=student.last is not None)
            spent = 0.0 if flat else starts * prices.theory(used)
            measured = 0.0 if flat else starts / STARTS * float(found["cpu"]) / p.training
            for seed in range(SEEDS):
                runs = Replayed(
                    p.task, student, 0, p.pool, p.test, 2, theory_seed, budget, spent, silent
                )
                runs.real, runs.watched, runs.number = p.real, p.watched, seed
                trained = runs.pilots(surface)
                n = p.task.n_train
                mean, _ = runs.known(surface, trained).corrected(
                    places(surface.soft_ratio, surface.temperature, 1.0, surface.doubt(n)),
                    surface.at(n),
                )
                cost = measured + sum(
                    p.share(-1 if k.kind.halvings else 0, k.setting, seed) for k in trained
                )
                chosen, hard = int(mean.argmin()), p.settings.index(DEFAULTS["ρ 0.05, T 1"])
                yield _row(p, method, trainings, cost, chosen) | {
                    "hard": 100 * float(mean[hard] - p.truth[hard]),
                    "miss": 100 * float(mean[chosen] - p.truth[chosen]),
                    "rank": spearmanr(mean, p.truth).statistic,
                    "announced": runs.spent,
                    "pilots": len(trained),
                }


def replayed(
    p: Problem, seed: int, share: float = 1.0, name: str = "error"
) -> tuple[np.ndarray, np.ndarray]:
    """Give errors, or transfer risks, that a plan within one training expects of students of a
    share of the pool, and their covariance.
    """
    budget = Budget(1.0)
    student, prices = priced(
        p.student, p.pool, p.task.n_test, budget, None, settings=len(p.settings)
    )
    used, starts = prices.affordable(budget, None)
    last, spent = student.last is not None, starts * prices.theory(used)
    surface = _surface(p, p.theory(student, used, 0), starts, "tutelage", last=last)
    runs = Replayed(p.task, student, 0, p.pool, p.test, 2, 0, budget, spent, silent)
    runs.real, runs.watched, runs.number = p.real, p.watched, seed
    n = int(p.task.n_train * share)
    at_n = places(surface.soft_ratio, surface.temperature, share, surface.doubt(n))
    found = runs.pilots(surface)
    if name != "error":
        risks = p.theory(student, used, 0, name)
        surface = _surface(p, risks, starts, "tutelage", last=last, name=name)
    known = runs.known(surface, found, name)
    told, _ = known.corrected(at_n, surface.at(n))
    return told, replace(known, wrong=surface.wrong).corrected(at_n, surface.at(n))[1]


def _surface(
    p: Problem, found: dict[str, np.ndarray], starts: int, method: str, *, last: bool,
    name: str = "error",
) -> Surface:  # fmt: skip
    rho, t = np.array(p.settings, float).T
    errors = found[name][:starts].mean(0).reshape(len(rho), 2)
    gain, used = float((errors[:, 0] - errors[:, 1]).mean()), int(found["n"][1])
    if method == "flat prior":
        errors = np.full_like(errors, errors[:, 1].mean())
    of_labels = wrong_labels if name == "error" else contradicted
    wrong = of_labels(p.task, 0) if method == "tutelage" else 0.0
    return Surface(rho, t, errors[:, 1], used, gain, wrong, last)


def alone(p: Problem) -> Rows:
    """Theory alone: of the network on the whole pool, and of an infinitely wide MLP."""
    for kind, label in (("warm", "tutelage, theory alone"), ("closed form", "closed form")):
        if (p.name in WIDER and kind == "warm") or p.name in READ:
            continue
        found = p.alone(kind)
        chosen = int(found["chosen"])
        told = found["error"].mean(0).reshape(-1)
        yield _row(p, label, 0, float(found["cpu"]) / p.training, chosen) | {
            "miss": 100 * float(told[chosen] - p.truth[chosen]),
            "rank": spearmanr(told, p.truth).statistic,
        }


def defaults(p: Problem) -> Rows:
    """A setting that is always taken."""
    for label, setting in DEFAULTS.items():
        yield _row(p, label, 0, 0.0, p.settings.index(setting))


def grids(p: Problem) -> Rows:
    """The whole grid on a part of the pool, or as pilots are trained."""
    for part, divided in enumerate(PARTS[1:], 1):
        errors = p.real.mistakes[part].mean(-1)
        for seed in range(SEEDS):
            cost = sum(p.share(part, s, seed) for s in range(len(p.settings)))
            yield _row(p, "grid on a part", 1 / divided, cost, int(errors[:, seed].argmin()))
    errors = p.real.mistakes[-1].mean(-1)
    for seed in range(SEEDS):
        cost = sum(p.share(-1, s, seed) for s in range(len(p.settings)))
        yield _row(p, "grid of beginnings", 1, cost, int(errors[:, seed].argmin()))


def whole_grid(p: Problem) -> Rows:
    """Every setting trained in full with one seed: as scored here, and judged by the other seed."""
    errors, cost = p.real.mistakes[0].mean(-1), float(len(p.settings))
    for seed in range(SEEDS):
        chosen, judge = int(errors[:, seed].argmin()), errors[:, 1 - seed]
        yield _row(p, "whole grid", 1, cost, chosen)
        row = _row(p, "whole grid, judged by the other seed", 1, cost, chosen)
        yield row | {"regret": float(100 * (judge[chosen] - judge.min()))}


def random_search(p: Problem) -> Rows:
    """So many settings by chance, trained in full."""
    errors, rng = p.real.mistakes[0].mean(-1), np.random.default_rng(0)
    for k in (1, 2, 3, 5, 10):
        for draw in range(DRAWS * SEEDS):
            seed, tried = draw % SEEDS, rng.permutation(len(p.settings))[:k]
            yield _row(p, "random", k, float(k), int(tried[errors[tried, seed].argmin()]))


def halving(p: Problem, seed: int, alive: np.ndarray, first: float) -> tuple[int, float, float]:
    """Train all for some epochs, go on with the best third, and so on to the end: which is left,
    its error, and the cost.
    """
    errors, total = p.real.epochs[:, seed], p.real.epochs.shape[-1]
    epochs, cost, before = first, 0.0, 0
    while True:
        upto = min(total, max(1, round(epochs)))
        cost += len(alive) * (upto - before) / total
        ranked = alive[np.argsort(errors[alive, upto - 1], kind="stable")]
        if upto == total or len(alive) == 1:
            return int(ranked[0]), float(errors[ranked[0], upto - 1]), cost
        alive, before, epochs = ranked[: max(1, len(alive) // 3)], upto, 3 * epochs


def successive_halving(p: Problem) -> Rows:
    """All settings at first, from one epoch to a third of all."""
    total = p.real.epochs.shape[-1]
    for share in (1 / 27, 1 / 9, 1 / 5, 1 / 3):
        for seed in range(SEEDS):
            chosen, _, cost = halving(p, seed, np.arange(len(p.settings)), share * total)
            yield _row(p, "successive halving", round(share, 3), cost, chosen)


def hyperband(p: Problem) -> Rows:
    """Brackets of halving, from many settings briefly to a few in full; after each, the best."""
    total, rng = p.real.epochs.shape[-1], np.random.default_rng(0)
    most = int(math.log(total, 3))
    for draw in range(DRAWS * SEEDS):
        best, cost = (math.inf, 0), 0.0
        for bracket in range(most, -1, -1):
            count = min(len(p.settings), math.ceil((most + 1) / (bracket + 1) * 3**bracket))
            alive = rng.permutation(len(p.settings))[:count]
            chosen, error, spent = halving(p, draw % SEEDS, alive, total / 3**bracket)
            best, cost = min(best, (error, chosen)), cost + spent
            yield _row(p, "Hyperband", most - bracket + 1, cost, best[1])


def tpe(p: Problem) -> Rows:
    """Optuna's TPE, whose median pruner sees every epoch; a setting that comes again is free."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid, total = p.grid, p.real.epochs.shape[-1]
    for draw in range(DRAWS):
        errors, spent = p.real.epochs[:, draw % SEEDS], np.zeros(len(p.settings))
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=draw), pruner=optuna.pruners.MedianPruner()
        )

        def objective(
            trial: optuna.Trial, errors: np.ndarray = errors, spent: np.ndarray = spent
        ) -> float:
            rho = trial.suggest_categorical("soft_ratio", grid["soft_ratio"])
            t = trial.suggest_categorical("temperature", grid["temperature"])
            s = p.settings.index((rho, t))
            for epoch, error in enumerate(errors[s]):
                spent[s] = max(spent[s], (epoch + 1) / total)
                trial.report(float(error), epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return float(errors[s, -1])

        for k in range(1, 16):
            study.optimize(objective, n_trials=1)
            if k in (1, 2, 3, 5, 7, 10, 15):
                found = study.best_params
                chosen = p.settings.index((found["soft_ratio"], found["temperature"]))
                yield _row(p, "Optuna TPE, pruned", k, float(spent.sum()), chosen)


def _row(p: Problem, method: str, at: float, cost: float, chosen: int) -> dict[str, Any]:
    return {
        "task": p.name, "method": method, "at": at, "cost": cost, "regret": p.regret(chosen),
        "span": 100 * float(np.ptp(p.truth)),
    }  # fmt: skip


METHODS = (
    planned,
    lambda p: planned(p, "flat prior"),
    lambda p: planned(p, "without (3.12)"),
    alone,
    grids,
    whole_grid,
    random_search,
    successive_halving,
    hyperband,
    tpe,
    defaults,
)


def rows_of(names: list[str], cifar: Path) -> pd.DataFrame:
    """Every method on every task."""
    rows = []
    for name in names:
        p = Problem(name, cifar)
        rows += [row for method in METHODS for row in method(p)]
        rows += [{"task": name, "method": "crossing", **crossing(p)}]
        print(f"{name}: done", flush=True)
    return pd.DataFrame(rows)


def crossing(p: Problem) -> dict[str, float]:
    """Rank correlation of settings' errors after a share of the epochs with those after all."""
    errors = p.real.epochs.mean(1)
    ends = errors[:, -1]
    return {
        f"after {share}": spearmanr(errors[:, round(k * errors.shape[1]) - 1], ends).statistic
        for share, k in (("1/9", 1 / 9), ("1/3", 1 / 3), ("2/3", 2 / 3))
    }


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Of each method and budget: mean cost, mean regret and the worst of the tasks' means."""
    methods = found[found.method != "crossing"]
    by_task = methods.groupby(["method", "at", "task"])[["cost", "regret", "miss"]].agg(
        cost=("cost", "mean"),
        regret=("regret", "mean"),
        worst=("regret", "max"),
        miss=("miss", lambda m: m.abs().mean()),
    )
    return by_task.groupby(["method", "at"]).agg(
        cost=("cost", "mean"),
        dearest=("cost", "max"),
        regret=("regret", "mean"),
        worst_task=("regret", "max"),
        worst=("worst", "max"),
        miss=("miss", "mean"),
    )


def shown(console: Console, title: str, table: pd.DataFrame) -> None:
    drawn = Table(title=title)
    for name in [*table.index.names, *table.columns]:
        drawn.add_column(str(name), justify="left" if name in ("method", "task") else "right")
    for index, row in table.iterrows():
        first = index if isinstance(index, tuple) else (index,)
        cells = [f"{v:g}" if isinstance(v, float) else str(v) for v in first]
        drawn.add_row(*cells, *("" if pd.isna(v) else f"{v:.2f}" for v in row))
    console.print(drawn)


def against(table: pd.DataFrame) -> pd.DataFrame:
    """Each method against the plan of budget 1: its least mean regret for no more cost, and what it
    costs where its mean regret is no more.
    """
    plan = table.loc[("tutelage", 1.0)]
    rows = {}
    for method, points in table.groupby("method"):
        cheap = points[points.cost <= 1.02 * plan.cost]
        good = points[points.regret <= plan.regret]
        rows[method] = {
            "regret at its cost, times": cheap.regret.min() / plan.regret if len(cheap) else np.nan,
            "cost at its regret, times": good.cost.min() / plan.cost if len(good) else np.nan,
        }
    return pd.DataFrame(rows).T.rename_axis("method")


def chart(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Mean regret against mean cost."""
    parts = []
    for title, table in tables.items():
        data = table.reset_index()
        lines = alt.Chart(data[data.method.isin(COLOURS)]).encode(
            x=alt.X("cost:Q", title="cost, trainings of the student").scale(type="symlog"),
            y=alt.Y("regret:Q", title="regret, points of error").scale(domainMin=0),
            color=alt.Color("method:N", title=None).scale(
                domain=list(COLOURS), range=list(COLOURS.values())
            ),
            strokeWidth=alt.condition("datum.method == 'tutelage'", alt.value(4), alt.value(1.5)),
        )
        drawn = lines.mark_line() + lines.mark_point(filled=True, size=50)
        parts.append(drawn.properties(title=title, width=420, height=320))
    whole = alt.hconcat(*parts).configure_axis(grid=True, gridOpacity=0.3)
    whole.save(folder / "search.svg")
    whole.save(folder / "search.png", scale_factor=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="*", default=[*ALL, *WIDER])
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    console, tables = Console(width=130), {}
    small = {name: spec for name, spec in ALL.items() if name not in READ}
    groups = {"10 settings": small, "40 settings": WIDER, "10 settings, transformers": READ}
    for settings, names in groups.items():
        chosen = [name for name in arguments.tasks if name in names]
        missing = [n for n in chosen if names[n].data != "fashion" and not arguments.cifar.exists()]
        if missing:
            print(f"Left out, as their data is not at {arguments.cifar} (--cifar): {missing}")
        chosen = [name for name in chosen if name not in missing]
        if not chosen:
            continue
        found = rows_of(chosen, arguments.cifar)
        title = f"{settings}, {len(chosen)} tasks"
        table = summary(found)
        shown(console, f"{title}: cost in trainings, regret in points", table)
        shown(console, "Against the plan within one training", against(table))
        if names is not READ:
            tables[title] = table
        plans = found[(found.method == "tutelage") & (found["at"] == 1)]
        columns = ["cost", "announced", "pilots", "regret", "miss", "hard", "rank", "span"]
        shown(console, "Plans within one training", plans.groupby("task")[columns].mean())
        ended = found[found.method == "crossing"].set_index("task")
        shown(
            console,
            "Do curves cross? Rank correlation with the end, by share of the epochs",
            ended[[c for c in ended if c.startswith("after")]],
        )
    if arguments.out:
        chart(tables, arguments.out)


if __name__ == "__main__":
    main()
