"""`tutelage explain` and `tutelage compare`: what plans say, in sentences and side by side."""

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tutelage._plan import plan, read_document
from tutelage.cli.app import app
from tutelage.cli.options import (
    OUTPUT,
    STUDENT,
    WORK,
    Quiet,
    Seed,
    bars,
    epochs_of,
    folder_of,
    numbers,
    pool_of,
    to_stdout,
)
from tutelage.exceptions import SettingError
from tutelage.outputs import check_writable, written
from tutelage.progress import remark
from tutelage.report import comparison_summary, cost_summary, explain, offers_of, render_comparison
from tutelage.students import EPOCHS, TorchStudent, student
from tutelage.students.spec import specs


@app.command("explain", rich_help_panel="Plans")
def explain_command(
    planned: Annotated[
        Path, typer.Argument(metavar="PLAN", help="The folder of a plan, or its plan.json.")
    ],
) -> None:
    """Say in about ten sentences what a plan found, and why."""
    folder = folder_of(planned)
    said = explain(read_document(folder), _verification(folder))
    to_stdout("".join(f"{sentence}\n" for sentence in said))


def _verification(folder: Path) -> dict[str, Any] | None:
    """What real students said of a plan, if they were asked."""
    path = folder / "verification.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found or None


@app.command("compare", rich_help_panel="Plans")
def compare_command(
    given: Annotated[
        list[Path],
        typer.Argument(
            metavar="PLAN PLAN …", help="Folders of plans; with --students, a task in their place."
        ),
    ],
    students: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC,SPEC,…",
            help="Make a plan of each of these students first.",
            rich_help_panel=STUDENT,
        ),
    ] = None,
    epochs: Annotated[
        str, typer.Option(metavar="N", help="With --students, as of plan.", rich_help_panel=STUDENT)
    ] = f"{EPOCHS:g}",
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="LR", help="With --students, as of plan.", rich_help_panel=STUDENT),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="TRAININGS",
            help="With --students, of each plan. (default: 1)",
            rich_help_panel=WORK,
        ),
    ] = None,
    costs: Annotated[
        str | None,
        typer.Option(
            metavar="COST,COST,…",
            help=(
                "What a sample costs with each plan's teacher, in any unit. Says which teacher to"
                " spend an amount on."
            ),
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The report, or a folder for it. (default: comparison.html)",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Set plans of several students or teachers side by side, in one report.

    With --students: which of them, before any is trained? With --costs: which teacher is worth its
    price?
    """
    priced = None if costs is None else _costs(costs, len(given), students)
    if students is None:
        folders = {str(folder): folder for folder in _different(list(map(folder_of, given)))}
        file = Path("comparison.html") if out is None else _file(out)
    else:
        file = _file(out or Path("tutelage-comparison"))
        folders = _planned(
            given, specs(students), file.parent, seed, quiet=quiet, epochs=epochs_of(epochs),
            learning_rate=learning_rate, budget=budget,
        )  # fmt: skip
    plans = _read(folders)
    offers = None if priced is None else offers_of(plans, priced)
    checked = {name: _verification(folder) for name, folder in folders.items()}
    with written(file) as partial:
        partial.write_text(render_comparison(plans, offers, checked), encoding="utf-8")
    if not quiet:
        console = Console(highlight=False)
        console.print(comparison_summary(plans, checked))
        if offers is not None:
            console.print(cost_summary(offers))
        if students is not None:
            console.print(f"Plans: {', '.join(map(str, folders.values()))}", soft_wrap=True)
        console.print(f"Report: {file.resolve()}", soft_wrap=True)


def _costs(text: str, plans: int, students: str | None) -> list[float]:
    """Read one cost for each plan."""
    if students is not None:
        raise SettingError(
            "--costs compares teachers, and --students makes plans with one teacher; make a plan"
            " with each teacher, and compare those."
        )
    found = numbers(text, "--costs", float)
    if len(found) != plans:
        raise SettingError(
            f"--costs names {len(found)} cost(s) for {plans} plan(s); expected one for each, in"
            " their order."
        )
    wrong = next((cost for cost in found if not 0 < cost < math.inf), None)
    if wrong is not None:
        raise SettingError(f"--costs holds {wrong:g}; expected finite numbers above 0.")
    return found


def _file(out: Path) -> Path:
    return out if out.suffix == ".html" else out / "comparison.html"


def _planned(
    given: list[Path], chosen: list[str], folder: Path, seed: int, *, quiet: bool, epochs: float,
    learning_rate: float | None, budget: float | None,
) -> dict[str, Path]:  # fmt: skip
    """Make a plan of each student, in a folder of its name."""
    if len(given) != 1:
        raise SettingError(f"--students makes plans for one task, and {len(given)} were given.")
    chosen = list(dict.fromkeys(chosen))
    if len(chosen) < 2:
        raise SettingError(
            f"--students names {len(chosen)} student(s); expected two or more, such as"
            " mlp:width=64,cnn:width=16."
        )
    trained = {spec: isinstance(student(spec), TorchStudent) for spec in chosen}
    check_writable(folder)
    folders = {spec: folder / re.sub(r"[^\w.=-]+", "-", spec) for spec in chosen}
    with bars(quiet) as progress:
        loaded = pool_of(str(given[0]), seed, progress, features="auto")
        for spec, into in folders.items():
            remark(progress, f"Student {spec}")
            made = plan(
                loaded, student=spec, epochs=epochs, learning_rate=learning_rate,
                budget=budget if trained[spec] else None, seed=seed, progress=progress,
            )  # fmt: skip
            made.save(into)
    return folders


def _different(folders: list[Path]) -> list[Path]:
    """At least two, and none of them twice."""
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise SettingError(f"{twice} is given twice; expected different plans.")
    if len(folders) < 2:
        raise SettingError(
            f"One plan was given ({folders[0]}); expected two or more, or a task with --students."
        )
    return folders


def _read(folders: dict[str, Path]) -> dict[str, dict[str, Any]]:
    plans = {name: read_document(folder) for name, folder in folders.items()}
    bare = next(
        (name for name, plan in plans.items() if plan["recommended"]["error"] is None), None
    )
    if bare is not None:
        raise SettingError(
            f"The plan {bare} is of a task without labels, so that it predicts no error; plans are"
            " compared by their errors."
        )
    _of_one_kind(plans)
    return plans


def _of_one_kind(plans: dict[str, dict[str, Any]]) -> None:
    """Refuse plans whose errors have nothing to do with each other."""
    (first, one), *others = plans.items()
    for name, other in others:
        classes = [plan["task"]["n_classes"] for plan in (one, other)]
        if classes[0] != classes[1]:
            raise SettingError(
                f"{first} is a plan of a task with {classes[0]} classes, and {name} of one with"
                f" {classes[1]}; expected plans of one task, for several students or teachers."
            )
