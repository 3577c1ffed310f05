"""`tutelage teach`, `tutelage distil` and `tutelage verify`: real teachers and students."""

from pathlib import Path
from typing import Annotated

import typer
import xarray as xr
from rich.console import Console
from rich.table import Table

from tutelage import datasets, lab
from tutelage._curves import save_curves
from tutelage._plan import read_document
from tutelage.cli.app import app
from tutelage.cli.options import (
    Classes,
    Columns,
    Quiet,
    Seed,
    bars,
    columns_of,
    folder_of,
    numbers,
    plan_of,
    task_of,
    to_stdout,
)
from tutelage.exceptions import SettingError
from tutelage.made_for import MadeFor
from tutelage.outputs import check_writable
from tutelage.report import verification_summary

Seeds = Annotated[int, typer.Option("--seeds", metavar="K", help="Students for each setting.")]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", metavar="N", min=1, help="Epochs of training. (default: the plan's, or 60)"
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", metavar="LR", help="(default: the plan's, or found by a range test)"
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="B", min=1, help="(default: the plan's, or 64)"),
]
Optimiser = Annotated[
    str | None,
    typer.Option("--optimiser", metavar="sgd|adamw", help="(default: the plan's, or sgd)"),
]
WeightDecay = Annotated[
    float | None, typer.Option("--weight-decay", metavar="W", help="(default: the plan's, or 0)")
]
Warmup = Annotated[
    float | None,
    typer.Option(
        "--warmup",
        metavar="SHARE",
        help="Of the steps, in which the learning rate grows from 0. (default: the plan's, or 0)",
    ),
]
PlansSeed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=2**31 - 1, help="Of every draw. (default: the plan's, or 0)"),
]
Spec = Annotated[
    str | None,
    typer.Option(
        "--student", metavar="SPEC", help="mlp:width=512, cnn:width=32, or my_module:factory."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result on stdout as JSON, all else on stderr.")
]


@app.command(rich_help_panel="Students and teachers")
def teach(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="cifar10, fashion-mnist, digits or waves.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the data lies. (default: where it is installed, or downloaded)",
        ),
    ] = None,
    pair: Annotated[str | None, typer.Option(metavar="A,B", help="Two classes only.")] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="(default: resnet:width=16 for images, mlp:width=256 for vectors)"
        ),
    ] = None,
    teacher: Annotated[int, typer.Option(metavar="N", help="Samples that teach.")] = 5000,
    pool: Annotated[
        int, typer.Option(metavar="N", help="Samples of the pool, none of which taught.")
    ] = 2000,
    test: Annotated[int, typer.Option(metavar="N", help="Samples of the test part.")] = 2000,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Let the pool be a part of what taught.")
    ] = False,
    epochs: Annotated[int, typer.Option(metavar="N")] = 20,
    keep: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Epochs to keep logits of, beside the last.")
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="B")] = 64,
    learning_rate: Annotated[float, typer.Option(metavar="LR")] = 0.05,
    devices: Annotated[
        int, typer.Option(metavar="N", help="GPUs, or processes, that share each batch.")
    ] = 1,
    seed: Seed = 0,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for task.npz, teacher.json and teacher.safetensors.",
        ),
    ] = Path("tutelage-teacher"),
    quiet: Quiet = False,
) -> None:
    """Train a teacher, and write the task of its logits; started again after a kill, it goes on
    where it was.
    """
    check_writable(out)
    kept = [] if keep is None else numbers(keep, "--keep", int)
    teaching = lab.Teaching(epochs, kept, batch_size, learning_rate, seed=seed)
    known = datasets.load(data, folder)
    if pair is not None:
        known = known.pair(*_pair(pair, known))
    parts = datasets.split(
        known, teacher=teacher, pool=pool, test=test, seed=seed, in_sample=in_sample
    )
    spec = network or ("resnet:width=16" if known.x.ndim > 2 else "mlp:width=256")
    with bars(quiet) as progress:
        made = lab.teach(
            known,
            parts,
            lab.network_of(spec).factory,
            spec,
            teaching,
            folder=out,
            devices=devices,
            progress=progress,
        )
    made.save(out / "task.npz")
    if not quiet:
        console = Console(highlight=False)
        accuracy = made.teacher_accuracy("test")
        for epoch, right in zip(teaching.kept, [] if accuracy is None else accuracy, strict=True):
            wrong = 100 * (1 - float(right))
            console.print(f"Epoch {epoch}: the teacher errs on {wrong:.1f} % of the test part.")
        console.print(f"Task: {(out / 'task.npz').resolve()}", soft_wrap=True)


@app.command(rich_help_panel="Students and teachers")
def distil(
    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="A task file or folder; or digits or fashion-mnist."),
    ] = None,
    planned: Annotated[
        Path | None,
        typer.Option(
            "--plan", metavar="PLAN", help="Train what this plan recommends, as it was made for."
        ),
    ] = None,
    student: Spec = None,
    soft_ratio: Annotated[
        str | None,
        typer.Option(metavar="ρ,ρ,…", help="0 is training on the labels alone. (default: 0.5)"),
    ] = None,
    temperature: Annotated[str | None, typer.Option(metavar="T,T,…", help="(default: 4)")] = None,
    t_power: Annotated[
        int | None, typer.Option(metavar="0|2", help="Power of T before the teacher's term.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Sample sizes. (default: the pool)")
    ] = None,
    seeds: Seeds = 2,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    optimiser: Optimiser = None,
    weight_decay: WeightDecay = None,
    warmup: Warmup = None,
    seed: PlansSeed = None,
    standardise: Annotated[
        bool | None, typer.Option("--standardise/--no-standardise", help="Centre and scale inputs.")
    ] = None,
    columns: Columns = None,
    classes: Classes = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for students.nc and their weights.")
    ] = Path("tutelage-students"),
    quiet: Quiet = False,
) -> None:
    """Train real students: at one setting, a grid, or what a plan recommends."""
    if task is None and planned is None:
        raise SettingError("No task was given to distil; expected one, or a plan (--plan DIR).")
    if planned is not None and (columns or classes):
        raise SettingError("--columns and --classes are the plan's; leave them out with --plan.")
    check_writable(out)
    with bars(quiet) as progress:
        if planned is None:
            named = columns_of(columns)
            loaded = task_of(str(task), seed or 0, progress, columns=named, classes=classes)
            made_for, rho, t, power = (
                MadeFor({"family": "mlp", "width": 512}, 0, standardise=True),
                0.5,
                4.0,
                2,
            )
        else:
            made, loaded = plan_of(planned, task, progress)
            best, made_for, power = made.recommended, made.made_for, made.t_power
            rho, t = best.soft_ratio, best.temperature
        network = lab.trained_as_planned(
            made_for,
            student=student,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            optimiser=optimiser,
            weight_decay=weight_decay,
            warmup=warmup,
        )
        ratios = [rho] if soft_ratio is None else numbers(soft_ratio, "--soft-ratio", float)
        hot = [t] if temperature is None else numbers(temperature, "--temperature", float)
        found = lab.distil(
            loaded,
            network,
            [(rho, t) for rho in ratios for t in hot],
            seeds=seeds,
            t_power=power if t_power is None else t_power,
            sizes=None if sizes is None else numbers(sizes, "--sizes", int),
            seed=made_for.seed if seed is None else seed,
            standardise=made_for.standardise if standardise is None else standardise,
            out=out,
            progress=progress,
        )
    save_curves(found, out / "students.nc")
    if not quiet:
        console = Console(highlight=False)
        console.print(_students(found))
        console.print(f"Students: {out.resolve()}", soft_wrap=True)


@app.command(rich_help_panel="Students and teachers")
def verify(
    planned: Annotated[
        Path, typer.Argument(metavar="PLAN", help="The folder of a plan, or its plan.json.")
    ],
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="The plan's task, if it has moved.")
    ] = None,
    student: Spec = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="Train every setting of the plan's grid, too.")
    ] = False,
    seeds: Seeds = 2,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    optimiser: Optimiser = None,
    weight_decay: WeightDecay = None,
    warmup: Warmup = None,
    seed: PlansSeed = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a plan: train real students at its setting and at usual defaults, and compare."""
    folder = folder_of(planned)
    read_document(folder)  # before anything is trained
    check_writable(folder)
    with bars(quiet) as progress:
        made, loaded = plan_of(folder, task, progress)
        network = lab.trained_as_planned(
            made.made_for,
            student=student,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            optimiser=optimiser,
            weight_decay=weight_decay,
            warmup=warmup,
        )
        found, students = lab.verify(
            loaded, made, network, grid=grid, seeds=seeds, seed=seed, progress=progress
        )
    save_curves(students, folder / "students.nc")
    text = found.to_json(folder / "verification.json")
    made.to_html(folder / "report.html", found.as_dict())
    if as_json:
        to_stdout(text)
    if not quiet:
        console = Console(stderr=as_json, highlight=False)
        console.print(verification_summary(found.as_dict()))
        console.print(f"Report: {(folder / 'report.html').resolve()}", soft_wrap=True)


@app.command("reproduce", rich_help_panel="Research")
def reproduce_command(
    claim: Annotated[
        str, typer.Argument(metavar="CLAIM", help=f"One of {', '.join(lab.CLAIMS)}; or all.")
    ],
    fast: Annotated[
        bool, typer.Option("--fast", help="Smaller pools and networks: a minute or so each.")
    ] = False,
    seed: Seed = 0,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for the figure (PNG, SVG), its data and the verdict.",
        ),
    ] = Path("tutelage-claims"),
    quiet: Quiet = False,
) -> None:
    """Run a claim of the paper again, on real data and networks."""
    check_writable(out)
    for name in lab.CLAIMS if claim == "all" else [claim]:
        with bars(quiet) as progress:
            found = lab.reproduce(name, fast=fast, seed=seed, progress=progress)
        found.save(out)
        if not quiet:
            Console(highlight=False).print(found.line)


def _pair(text: str, data: datasets.Dataset) -> tuple[int, int]:
    names = [name.strip() for name in text.split(",")]
    found = [
        data.classes.index(n) if n in data.classes else int(n) if n.isdecimal() else -1
        for n in names
    ]
    if (
        len(found) != 2
        or found[0] == found[1]
        or not all(0 <= k < len(data.classes) for k in found)
    ):
        raise SettingError(
            f"--pair is {text!r}; expected two of {', '.join(data.classes)}, with a comma between"
            " them."
        )
    return found[0], found[1]


def _students(found: xr.Dataset) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in (
        "soft ratio",
        "temperature",
        "samples",
        "error",
        "≠ teacher",
        "fit to teacher",
        "s",
    ):
        table.add_column(title, justify="right")
    means = found.mean("seed").drop_vars("decision", errors="ignore")
    frame = means.to_dataframe().reset_index()
    for row in frame.to_dict("records"):
        shares = [
            f"{100 * row[k]:.1f} %" if k in row else "–" for k in ("error", "transfer_risk", "fit")
        ]
        table.add_row(
            f"{row['soft_ratio']:g}",
            f"{row['temperature']:g}",
            f"{row['n']:,}",
            *shares,
            f"{row['seconds']:.0f}",
        )
    return table
