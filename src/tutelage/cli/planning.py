"""`tutelage plan` and `tutelage demo`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tutelage import kernels, lab
from tutelage._curves import SOFT_RATIOS, TEMPERATURES, curves
from tutelage._plan import Plan, plan
from tutelage.cli.app import app
from tutelage.cli.options import (
    AsJson,
    Out,
    Quiet,
    Seed,
    bars,
    bytes_of,
    epochs_of,
    numbers,
    task_of,
    to_stdout,
    training_of,
)  # fmt: skip
from tutelage.exceptions import SettingError
from tutelage.outputs import check_writable
from tutelage.report import summary
from tutelage.scale import Scale
from tutelage.task import Task


@app.command("plan")
def plan_command(
    task: Annotated[
        str,
        typer.Argument(metavar="TASK", help="A task file or folder; or digits or fashion-mnist."),
    ],
    student: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="mlp:depth=3, cnn:depth=3, mlp:width=512, cnn:width=32, or my_module:factory.",
        ),
    ] = "mlp",
    soft_ratio: Annotated[str, typer.Option(metavar="ρ,ρ,…")] = ",".join(
        f"{v:g}" for v in SOFT_RATIOS
    ),
    temperature: Annotated[str, typer.Option(metavar="T,T,…")] = ",".join(
        f"{v:g}" for v in TEMPERATURES
    ),
    t_power: Annotated[
        int, typer.Option(metavar="0|2", help="Power of T before the teacher's term.")
    ] = 2,
    sizes: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Sample sizes; by default log-spaced.")
    ] = None,
    orderings: Annotated[
        int | None,
        typer.Option(metavar="R", help="Random orders of the pool to average. [default: 4]"),
    ] = None,
    linearise: Annotated[
        str, typer.Option(metavar="warm|init", help="Where a network is linearised.")
    ] = "warm",
    warm_starts: Annotated[
        int | None,
        typer.Option(metavar="K", help="Brief trainings of a network to average. [default: 3]"),
    ] = None,
    warm_epochs: Annotated[
        str, typer.Option(metavar="N|auto", help="Epochs of a brief training.")
    ] = "auto",
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="LR", help="Of a network. [default: found by range tests]"),
    ] = None,
    epochs: Annotated[
        str,
        typer.Option(
            metavar="N|inf",
            help="Epochs that a network will be trained for; inf: until it has converged.",
        ),
    ] = f"{lab.EPOCHS:g}",
    seed: Seed = 0,
    target_error: Annotated[
        float | None, typer.Option(metavar="E", help="Say how many samples reach it.")
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="float64|float32")] = "float64",
    standardise: Annotated[
        bool, typer.Option("--standardise/--no-standardise", help="Centre and scale inputs.")
    ] = True,
    path: Annotated[
        str,
        typer.Option("--scale", metavar="auto|dense|dask", help="How a large pool is dealt with."),
    ] = "auto",
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a running Dask cluster.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep finished tiles there; started again, go on from them."
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="12GB", help="That may be used. [default: four fifths of what is free]"
        ),
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Plan a distillation: soft ratio, temperature, checkpoint, samples, and what is left of the
    error.
    """
    training = training_of(warm_epochs, learning_rate)
    kernel = lab.student(student, linearise=linearise, training=training, epochs=epochs_of(epochs))
    repeats = _repeats(kernel, orderings, warm_starts)
    ratios, temperatures = (
        numbers(soft_ratio, "--soft-ratio", float),
        numbers(temperature, "--temperature", float),
    )
    size_list = None if sizes is None else numbers(sizes, "--sizes", int)
    scale = Scale(path, scheduler, checkpoint, bytes_of(memory))
    folder = Path("tutelage-plan") if out is None and not as_json else out
    if folder is not None:
        check_writable(folder)
    with bars(quiet) as progress:
        loaded = task_of(task, seed, progress)
        found = curves(
            loaded,
            kernel,
            ratios,
            temperatures,
            t_power,
            size_list,
            repeats,
            seed,
            dtype,
            standardise,
            progress,
            scale,
        )
        made = plan(loaded, found, target_error=target_error)
    _deliver(made, folder, as_json=as_json, quiet=quiet)


@app.command()
def demo(out: Out = None, seed: Seed = 0, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Plan for a real teacher on real digits: the main job, with nothing to download."""
    folder = Path("tutelage-demo") if out is None else out
    check_writable(folder)
    with bars(quiet) as progress:
        lab.quick_task("digits", seed=seed, progress=progress).save(folder / "task.npz")
        task = Task.load(folder / "task.npz")
        made = plan(task, curves(task, kernels.mlp(), seed=seed, progress=progress))
    _deliver(made, folder, as_json=as_json, quiet=quiet)


def _deliver(made: Plan, folder: Path | None, *, as_json: bool, quiet: bool) -> None:
    if folder is not None:
        made.save(folder)
    if as_json:
        to_stdout(made.to_json())
    if not quiet:
        console = Console(stderr=as_json, highlight=False)
        console.print(summary(made.as_dict()))
        if folder is not None:
            console.print(f"Report: {(folder / 'report.html').resolve()}", soft_wrap=True)


def _repeats(
    kernel: kernels.Kernel | kernels.FiniteStudent, orderings: int | None, starts: int | None
) -> int | None:
    """How often to repeat: an ordering of a closed form is a start of a network."""
    if isinstance(kernel, kernels.FiniteStudent):
        if orderings is not None:
            raise SettingError(
                "--orderings is for students of infinite width; a network takes --warm-starts."
            )
        return starts
    if starts is not None:
        raise SettingError(
            "--warm-starts is for networks, such as mlp:width=512; this student has infinite width."
        )
    return orderings
