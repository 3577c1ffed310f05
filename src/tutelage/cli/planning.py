"""`tutelage plan` and `tutelage demo`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tutelage import kernels, lab
from tutelage._curves import SOFT_RATIOS, TEMPERATURES
from tutelage._plan import Plan, plan
from tutelage._stream import FIRST
from tutelage.cli.app import app
from tutelage.cli.options import (
    STUDENT,
    WHAT,
    WORK,
    AsJson,
    Classes,
    Columns,
    Device,
    Out,
    Quiet,
    Seed,
    bars,
    bytes_of,
    columns_of,
    epochs_of,
    features_of,
    numbers,
    pool_of,
    to_stdout,
    training_of,
)  # fmt: skip
from tutelage.data.task import Task
from tutelage.exceptions import SettingError
from tutelage.outputs import check_writable
from tutelage.report import summary
from tutelage.solve import Scale
from tutelage.students import TorchStudent

EXAMPLES = """Examples:

tutelage plan task.npz

tutelage plan pool.parquet --student my_model:factory --epochs 30

tutelage plan pool.parquet --student hf:FOLDER --optimiser adamw --learning-rate 5e-4 --epochs 10"""
RATIOS, HEATS = (",".join(f"{v:g}" for v in axis) for axis in (SOFT_RATIOS, TEMPERATURES))


@app.command("plan", epilog=EXAMPLES, rich_help_panel="Plans")
def plan_command(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help=(
                "A file (.npz, .safetensors, .parquet), a folder (.npy, parquet, save_to_disk), or"
                " digits or fashion-mnist."
            ),
        ),
    ],
    soft_ratio: Annotated[
        str,
        typer.Option(
            metavar="ρ,ρ,…",
            help="Weights of the teacher to try, above 0 to 1.",
            rich_help_panel=WHAT,
        ),
    ] = RATIOS,
    temperature: Annotated[
        str, typer.Option(metavar="T,T,…", help="Temperatures to try.", rich_help_panel=WHAT)
    ] = HEATS,
    t_power: Annotated[
        int,
        typer.Option(
            metavar="0|2", help="Power of T before the teacher's term.", rich_help_panel=WHAT
        ),
    ] = 2,
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…", help="Sample sizes. (default: log-spaced)", rich_help_panel=WHAT
        ),
    ] = None,
    target_error: Annotated[
        float | None,
        typer.Option(
            metavar="E", help="Say how many samples reach this error.", rich_help_panel=WHAT
        ),
    ] = None,
    columns: Columns = None,
    classes: Classes = None,
    student: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="mlp:depth=3, cnn:width=32, my_module:factory, hf:FOLDER, …",
            rich_help_panel=STUDENT,
        ),
    ] = "mlp",
    epochs: Annotated[
        str,
        typer.Option(
            metavar="N|inf",
            help="Epochs it will be trained for; inf: until it has converged.",
            rich_help_panel=STUDENT,
        ),
    ] = f"{lab.EPOCHS:g}",
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="LR", help="(default: found by a range test)", rich_help_panel=STUDENT
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", metavar="B", min=1, rich_help_panel=STUDENT)
    ] = 64,
    optimiser: Annotated[str, typer.Option(metavar="sgd|adamw", rich_help_panel=STUDENT)] = "sgd",
    weight_decay: Annotated[float, typer.Option(metavar="W", rich_help_panel=STUDENT)] = 0.0,
    warmup: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of steps in which the learning rate grows.",
            rich_help_panel=STUDENT,
        ),
    ] = 0.0,
    linearise: Annotated[
        str,
        typer.Option(
            metavar="warm|init", help="Where a network is linearised.", rich_help_panel=STUDENT
        ),
    ] = "warm",
    warm_starts: Annotated[
        int | None,
        typer.Option(
            metavar="K", help="Brief trainings to average. (default: 3)", rich_help_panel=STUDENT
        ),
    ] = None,
    warm_epochs: Annotated[
        str,
        typer.Option(metavar="N|auto", help="Epochs of a brief training.", rich_help_panel=STUDENT),
    ] = "auto",
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="TRAININGS",
            help="What a plan of a network may cost; 0: theory alone. (default: 1)",
            rich_help_panel=WORK,
        ),
    ] = None,
    regret: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Stop when so little is left to gain. (default: 0.1)",
            rich_help_panel=WORK,
        ),
    ] = None,
    orderings: Annotated[
        int | None,
        typer.Option(
            metavar="R",
            help="Random orders of the pool to average. (default: 4)",
            rich_help_panel=WORK,
        ),
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            metavar="D|auto|exact",
            help="Compute in D features, for pools of any size.",
            rich_help_panel=WORK,
        ),
    ] = "auto",
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise/--no-standardise",
            help="Centre and scale inputs.",
            rich_help_panel=WORK,
        ),
    ] = True,
    dtype: Annotated[
        str, typer.Option(metavar="float64|float32", rich_help_panel=WORK)
    ] = "float64",
    device: Device = "auto",
    path: Annotated[
        str,
        typer.Option(
            "--scale",
            metavar="auto|dense|dask",
            help="How a large pool is dealt with.",
            rich_help_panel=WORK,
        ),
    ] = "auto",
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A running Dask cluster.", rich_help_panel=WORK),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep what is done, to go on after a kill.", rich_help_panel=WORK
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="12GB",
            help="Limit. (default: four fifths of what is free)",
            rich_help_panel=WORK,
        ),
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say which soft ratio, temperature, checkpoint and sample size to use.

    Writes plan.json, curves.nc and report.html to tutelage-plan, or to --out.
    """
    training = training_of(
        warm_epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        optimiser=optimiser,
        weight_decay=weight_decay,
        warmup=warmup,
    )
    chosen = lab.student(student, linearise=linearise, training=training, epochs=epochs_of(epochs))
    if not isinstance(chosen, TorchStudent):
        _check_untrained(
            epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, optimiser=optimiser,
            weight_decay=weight_decay, warmup=warmup,
        )  # fmt: skip
    repeats = _repeats(chosen, orderings, warm_starts)
    counted, named = features_of(features), columns_of(columns)
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
        loaded = pool_of(task, seed, progress, features=features, columns=named, classes=classes)
        made = plan(
            loaded,
            student=chosen,
            target_error=target_error,
            budget=budget,
            regret=regret,
            features=counted,
            device=device,
            soft_ratio=ratios,
            temperature=temperatures,
            t_power=t_power,
            sizes=size_list,
            orderings=repeats,
            seed=seed,
            dtype=dtype,
            standardise=standardise,
            progress=progress,
            scale=scale,
        )
    _deliver(made, folder, as_json=as_json, quiet=quiet)


@app.command("stream", hidden=True)
def stream_command(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="A folder of .npy files, a .zarr group or a .parquet file, in random order.",
        ),
    ],
    student: Annotated[str, typer.Option(metavar="SPEC", help="As of plan.")] = "mlp",
    soft_ratio: Annotated[str, typer.Option(metavar="ρ,ρ,…")] = RATIOS,
    temperature: Annotated[str, typer.Option(metavar="T,T,…")] = HEATS,
    t_power: Annotated[
        int, typer.Option(metavar="0|2", help="Power of T before the teacher's term.")
    ] = 2,
    sizes: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Sample sizes; by default log-spaced.")
    ] = None,
    features: Annotated[
        int, typer.Option(metavar="D", help="Of the kernel, those of the first D samples.")
    ] = FIRST,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a running Dask cluster.")
    ] = None,
    out: Out = Path("tutelage-stream"),
    quiet: Quiet = False,
) -> None:
    """Plan a pool of any size: the earlier name of plan --features D, until the next release."""
    if not quiet:
        Console(stderr=True, highlight=False).print(
            f"tutelage stream is tutelage plan --features {features} now, and goes with the next"
            " release."
        )
    plan_command(
        task,
        student=student,
        soft_ratio=soft_ratio,
        temperature=temperature,
        t_power=t_power,
        sizes=sizes,
        features=str(features),
        dtype="float32",
        scheduler=scheduler,
        out=out,
        quiet=quiet,
    )


@app.command(rich_help_panel="Plans")
def demo(out: Out = None, seed: Seed = 0, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Make a plan for handwritten digits, with nothing to download.

    Trains a real teacher first; writes to tutelage-demo, or to --out.
    """
    folder = Path("tutelage-demo") if out is None else out
    check_writable(folder)
    with bars(quiet) as progress:
        lab.quick_task("digits", seed=seed, progress=progress).save(folder / "task.npz")
        task = Task.load(folder / "task.npz")
        made = plan(task, student="mlp", seed=seed, progress=progress)
    _deliver(made, folder, as_json=as_json, quiet=quiet)


def _deliver(made: Plan, folder: Path | None, *, as_json: bool, quiet: bool) -> None:
    earlier = folder is not None and (folder / "plan.json").exists()
    if folder is not None:
        made.save(folder)
    if as_json:
        to_stdout(made.to_json())
    if not quiet:
        console = Console(stderr=as_json, highlight=False)
        console.print(summary(made.as_dict()))
        if folder is not None:
            console.print(f"Report: {(folder / 'report.html').resolve()}", soft_wrap=True)
            if earlier:
                console.print("It replaces an earlier plan there; --out keeps both.")


def _check_untrained(**given: Any) -> None:
    """How to train is for students that are trained."""
    plain = {"epochs": f"{lab.EPOCHS:g}", "batch_size": 64, "optimiser": "sgd"}
    for name, value in given.items():
        if value and value != plain.get(name):
            raise SettingError(
                f"--{name.replace('_', '-')} is for networks, such as mlp:width=512; this student"
                " has infinite width, and nothing is trained."
            )


def _repeats(
    student: kernels.Kernel | TorchStudent, orderings: int | None, starts: int | None
) -> int | None:
    """How often to repeat: an ordering of a closed form is a start of a network."""
    if isinstance(student, TorchStudent):
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
