"""`tutelage explain` and `tutelage compare`: what plans say, in sentences and side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tutelage._plan import read_document
from tutelage.cli.app import app
from tutelage.cli.options import OUTPUT, Quiet, folder_of, to_stdout
from tutelage.exceptions import SettingError
from tutelage.outputs import written
from tutelage.report import comparison_summary, explain, render_comparison


@app.command("explain", rich_help_panel="Plans")
def explain_command(
    planned: Annotated[
        Path, typer.Argument(metavar="PLAN", help="The folder of a plan, or its plan.json.")
    ],
) -> None:
    """Say in about ten sentences what a plan found, and why."""
    to_stdout("".join(f"{sentence}\n" for sentence in explain(read_document(folder_of(planned)))))


@app.command("compare", rich_help_panel="Plans")
def compare_command(
    planned: Annotated[list[Path], typer.Argument(metavar="PLAN PLAN …", help="Folders of plans.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", help="The report, or a folder for it.", rich_help_panel=OUTPUT
        ),
    ] = Path("comparison.html"),
    quiet: Quiet = False,
) -> None:
    """Set plans of several students or teachers side by side, in one report."""
    folders = [folder_of(path) for path in planned]
    names = [str(folder) for folder in folders]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingError(f"{twice} is given twice; expected different plans.")
    if len(folders) < 2:
        raise SettingError(f"One plan was given ({names[0]}); expected two or more.")
    plans = {name: read_document(folder) for name, folder in zip(names, folders, strict=True)}
    bare = next(
        (name for name, plan in plans.items() if plan["recommended"]["error"] is None), None
    )
    if bare is not None:
        raise SettingError(
            f"The plan {bare} is of a task without labels, so that it predicts no error; plans are"
            " compared by their errors."
        )
    out = out if out.suffix == ".html" else out / "comparison.html"
    with written(out) as partial:
        partial.write_text(render_comparison(plans), encoding="utf-8")
    if not quiet:
        console = Console(highlight=False)
        console.print(comparison_summary(plans))
        console.print(f"Report: {out.resolve()}", soft_wrap=True)
