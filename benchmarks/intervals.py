"""How often 90 % intervals hold what comes.

    OMP_NUM_THREADS=1 python benchmarks/intervals.py [--synthetic 200] [--cifar FOLDER]

1. Synthetic tasks of random size, classes, teacher and share of wrong labels, infinitely wide
   students: the error with 1,000 more samples, as a plan of the first samples forecasts it
   (`samples.next_1000`), against that of the student of all of them on the same test part; and the
   share of wrong labels.
   Beside it the samples that a target error takes (`samples.target`), where the target is the error
   of that student: do they hold how many samples it has seen?
2. The 15 tasks of `recorded.py`, plans within a budget of 1: predicted errors of the recommended
   setting and of all settings against those of real students (means of two seeds), of the whole
   pool, a quarter and an eighth of it; and how often they differ from the teacher.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from recorded import ALL, PARTS, READ, SEEDS
from rich.console import Console
from search import Problem, replayed

import tutelage as tu
from tutelage.decisions.evidence import standard_error
from tutelage.decisions.samples import samples

NORMAL, MORE, TESTED = 1.6449, 1000, 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--synthetic", type=int, default=200)
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    given, console = parser.parse_args(), Console(width=120, highlight=False)
    rows = [forecast(seed) for seed in range(given.synthetic)]
    for name in ("forecast", "samples for a target", "wrong labels"):
        known = [row[name] for row in rows if row[name] is not None]
        low, real, high = np.array(known).T
        held = (low <= real) & (real <= high)
        console.print(
            f"{name}, {len(known)} synthetic tasks: {held.mean():.0%} inside;"
            f" {(real < low).mean():.0%} below, {(real > high).mean():.0%} above;"
            f" {_width(name, low, high)}"
        )
    _real(console, given.cifar)


def _width(name: str, low: np.ndarray, high: np.ndarray) -> str:
    ends = np.isfinite(high)
    if name.startswith("samples"):
        factor = np.median(high[ends] / low[ends])
        return (
            f"{1 - ends.mean():.0%} without an upper end, the others {factor:.1f} times the lower"
        )
    return f"median width {100 * np.median(high - low):.1f} points"


def forecast(seed: int) -> dict[str, tuple[float, float, float] | None]:
    """Low, real and high, of the error with more samples and of the share of wrong labels."""
    rng = np.random.default_rng(seed)
    n, classes, features = (
        int(rng.integers(150, 600)),
        int(rng.integers(2, 7)),
        int(rng.integers(4, 30)),
    )
    share, m = float(rng.uniform(0, 0.3)), n + MORE + TESTED
    x = rng.normal(size=(m, features))
    hidden = np.tanh(x @ rng.normal(size=(features, 12)) / features**0.5 * 2)
    score = hidden @ rng.normal(size=(12, classes))
    y = (score + 0.3 * rng.gumbel(size=score.shape)).argmax(1)
    logits = 2 * (score + float(rng.uniform(0.1, 1)) * rng.normal(size=score.shape))
    labels = y.copy()
    wrong = (rng.random(m) < share) & (np.arange(m) < n + MORE)
    labels[wrong] = (labels[wrong] + rng.integers(1, classes, wrong.sum())) % classes

    def task(some: int) -> tu.Task:
        test = slice(n + MORE, None)
        return tu.Task(x[:some], logits[:some], labels[:some], x[test], logits[test], y[test])

    grid = {"soft_ratio": [0.1, 0.5, 1.0], "temperature": [2.0], "seed": seed}
    made = tu.plan(task(n), student="mlp:depth=2", **grid)
    best, told, suspected = made.recommended, made.samples.next_1000, made.teacher.wrong_labels
    whole = tu.curves(
        task(n + MORE), "mlp:depth=2", soft_ratio=[best.soft_ratio], temperature=[2.0],
        sizes=[n + MORE], orderings=1,
    )  # fmt: skip
    real = float(whole.error.squeeze())
    curve = made.curves.sel(soft_ratio=best.soft_ratio, temperature=2.0)
    target = samples(curve, real, seed).target
    assert target is not None
    low, high = (float("inf") if k is None else k for k in (target.n_low, target.n_high))
    return {
        "samples for a target": (low, n + MORE, high),
        "forecast": None if told is None else (told.error_low, real, told.error_high),
        "wrong labels": (
            (suspected.low, float(wrong[:n].mean()), suspected.high)
            if suspected is not None
            else None
        ),
    }


def _real(console: Console, cifar: Path) -> None:
    problems = [Problem(name, cifar) for name in ALL if name not in READ]
    for kind, part in enumerate(PARTS[:3]):
        of = "the pool" if part == 1 else f"1/{part} of the pool"
        errors = [p.real.mistakes[kind].mean((1, 2)) for p in problems]
        _held(console, f"error of students of {of}", problems, errors, 1 / part)
    taught = [p.task.teacher_decisions("test") for p in problems]
    risks = [
        (p.real.decisions[0] != decided[0]).mean((1, 2))
        for p, decided in zip(problems, taught, strict=True)
        if decided is not None
    ]
    _held(console, "disagreement with the teacher", problems, risks, 1.0, "transfer_risk")


def _held(
    console: Console, what: str, problems: list[Problem], truths: list[np.ndarray], share: float,
    name: str = "error",
) -> None:  # fmt: skip
    chosen, every, missed = [], [], []
    for (p, real), seed in itertools.product(zip(problems, truths, strict=True), range(SEEDS)):
        best = int(replayed(p, seed)[0].argmin())
        mean, covariance = replayed(p, seed, share, name)
        sampled = standard_error(mean[None], np.array(p.task.n_test))
        off = np.abs(real - mean) / np.hypot(sampled, np.sqrt(np.diag(covariance)))
        chosen.append(off[best])
        missed.append(100 * (mean - real)[best])
        every += off.tolist()
    console.print(
        f"{what}, 15 tasks: {np.mean(np.array(chosen) <= NORMAL):.0%} of {len(chosen)} inside at"
        f" the recommended setting, {np.mean(np.array(every) <= NORMAL):.0%} of {len(every)} at"
        f" all; {np.abs(missed).mean():.1f} points apart on average, {np.mean(missed):+.1f} with"
        " its sign"
    )


if __name__ == "__main__":
    main()
