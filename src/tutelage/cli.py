"""The command line: arguments, progress bars, exit codes; no mathematics."""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer.exceptions import TyperException

from tutelage import datasets, kernels, lab
from tutelage.curves import SOFT_RATIOS, TEMPERATURES, curves, save_curves
from tutelage.exceptions import OutputError, SettingError, TutelageError, nearest
from tutelage.outputs import check_writable
from tutelage.plan import Plan, plan
from tutelage.progress import Advance
from tutelage.progress import Progress as Reports
from tutelage.report import summary
from tutelage.task import Task
from tutelage.version import __version__

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for plan.json, curves.nc, report.html.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of every random draw.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print plan.json on stdout, all else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors (and what --json asks for).")]


def run(arguments: Sequence[str]) -> int:
    """Run a command line; give its exit code: 0 done, 1 our defect, 2 bad input, 130 interrupted."""
    try:
        code = int(app(list(arguments), prog_name="tutelage", standalone_mode=False) or 0)
        return _complain(INTERRUPTED, code) if code == 130 else code  # typer turns Ctrl-C into a code, and says nothing
    except TutelageError as error:
        return _complain(str(error), 2)
    except TyperException as error:
        sentence = error.format_message().rstrip(".")
        return _complain(f"{sentence}. See tutelage --help.", 2) if sentence else 2
    except (KeyboardInterrupt, typer.Abort):
        return _complain(INTERRUPTED, 130)
    except MemoryError:
        return _complain(_NO_MEMORY, 2)
    except Exception as error:
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            return _complain(_NO_MEMORY, 2)
        traceback.print_exc()
        return _complain("This is a defect of tutelage, not of your input; please report it with the lines above.", 1)


INTERRUPTED = "Interrupted; nothing half-written was left."
_NO_MEMORY = "The memory does not suffice for the kernel of this pool; use fewer samples, or --dtype float32."


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tutelage {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tell what distilling a teacher into a student will do, before the student is trained."""


@app.command("plan")
def plan_command(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task file or folder; or digits or fashion-mnist.")],
    student: Annotated[
        str, typer.Option(metavar="SPEC", help="mlp:depth=3, mlp:width=512, cnn:width=32, or my_module:factory.")
    ] = "mlp",
    soft_ratio: Annotated[str, typer.Option(metavar="ρ,ρ,…")] = ",".join(f"{v:g}" for v in SOFT_RATIOS),
    temperature: Annotated[str, typer.Option(metavar="T,T,…")] = ",".join(f"{v:g}" for v in TEMPERATURES),
    t_power: Annotated[int, typer.Option(metavar="0|2", help="Power of T before the teacher's term.")] = 2,
    sizes: Annotated[str | None, typer.Option(metavar="N,N,…", help="Sample sizes; by default log-spaced.")] = None,
    orderings: Annotated[
        int | None, typer.Option(metavar="R", help="Random orders of the pool to average. [default: 4]")
    ] = None,
    linearise: Annotated[str, typer.Option(metavar="warm|init", help="Where a network is linearised.")] = "warm",
    warm_starts: Annotated[
        int | None, typer.Option(metavar="K", help="Brief trainings of a network to average. [default: 3]")
    ] = None,
    warm_epochs: Annotated[str, typer.Option(metavar="N|auto", help="Epochs of a brief training.")] = "auto",
    learning_rate: Annotated[
        float | None, typer.Option(metavar="LR", help="Of a network. [default: found by range tests]")
    ] = None,
    epochs: Annotated[
        str,
        typer.Option(metavar="N|inf", help="Epochs that a network will be trained for; inf: until it has converged."),
    ] = f"{lab.EPOCHS:g}",
    seed: Seed = 0,
    target_error: Annotated[float | None, typer.Option(metavar="E", help="Say how many samples reach it.")] = None,
    dtype: Annotated[str, typer.Option(metavar="float64|float32")] = "float64",
    standardise: Annotated[
        bool, typer.Option("--standardise/--no-standardise", help="Centre and scale inputs.")
    ] = True,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Plan a distillation: soft ratio, temperature, checkpoint, samples, and what is left of the error."""
    training = _training(warm_epochs, learning_rate)
    kernel = lab.student(student, linearise=linearise, training=training, epochs=_epochs(epochs))
    repeats = _repeats(kernel, orderings, warm_starts)
    ratios, temperatures = _numbers(soft_ratio, "--soft-ratio", float), _numbers(temperature, "--temperature", float)
    size_list = None if sizes is None else _numbers(sizes, "--sizes", int)
    folder = Path("tutelage-plan") if out is None and not as_json else out
    if folder is not None:
        check_writable(folder)
    with _bars(quiet) as progress:
        loaded = _task(task, seed, progress)
        found = curves(
            loaded, kernel, ratios, temperatures, t_power, size_list, repeats, seed, dtype, standardise, progress
        )  # fmt: skip
        made = plan(loaded, found, target_error=target_error)
    _deliver(made, folder, as_json=as_json, quiet=quiet)


@app.command()
def demo(out: Out = None, seed: Seed = 0, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Plan for a real teacher on real digits: the main job, with nothing to download."""
    folder = Path("tutelage-demo") if out is None else out
    check_writable(folder)
    with _bars(quiet) as progress:
        task = lab.quick_task("digits", seed=seed, progress=progress)
        made = plan(task, curves(task, kernels.mlp(), seed=seed, progress=progress))
        task.save(folder / "task.npz")
    _deliver(made, folder, as_json=as_json, quiet=quiet)


def _task(name: str, seed: int, progress: Reports) -> Task:
    path = Path(name)
    plain = path.name == name and not path.suffix  # neither a path nor a file's name
    if plain and (name in datasets.BUILT_IN or nearest(name, datasets.BUILT_IN)) and not path.exists():
        return lab.quick_task(name, seed=seed, progress=progress)
    return Task.load(path)


def _deliver(made: Plan, folder: Path | None, *, as_json: bool, quiet: bool) -> None:
    if folder is not None:
        save_curves(made.curves, folder / "curves.nc")
        made.to_html(folder / "report.html")
        made.to_json(folder / "plan.json")
    if as_json:
        _write(made.to_json())
    if not quiet:
        console = Console(stderr=as_json, highlight=False)
        console.print(summary(made.as_dict()))
        if folder is not None:
            console.print(f"Report: {(folder / 'report.html').resolve()}", soft_wrap=True)


def _write(text: str) -> None:
    """To stdout, whatever the terminal's encoding."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"The plan cannot be written to stdout: {error.strerror}.") from error


def _numbers(text: str, option: str, kind: Callable[[str], float]) -> list:  # type: ignore[type-arg]
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise SettingError(f"{option} is {text!r}; expected {what} with commas between them.") from None


def _training(epochs: str, learning_rate: float | None) -> lab.Training:
    if epochs == "auto":
        return lab.Training(learning_rate=learning_rate)
    if not epochs.isdecimal() or int(epochs) < 1:
        raise SettingError(f"--warm-epochs is {epochs!r}; expected a whole number of 1 or more, or auto.")
    return lab.Training(epochs=int(epochs), learning_rate=learning_rate)


def _epochs(text: str) -> float:
    if text != "inf" and (not text.isdecimal() or int(text) < 1):
        raise SettingError(f"--epochs is {text!r}; expected a whole number of 1 or more, or inf.")
    return float(text)


def _repeats(kernel: kernels.Kernel | kernels.FiniteStudent, orderings: int | None, starts: int | None) -> int | None:
    """How often to repeat: an ordering of a closed form is a start of a network."""
    if isinstance(kernel, kernels.FiniteStudent):
        if orderings is not None:
            raise SettingError("--orderings is for students of infinite width; a network takes --warm-starts.")
        return starts
    if starts is not None:
        raise SettingError("--warm-starts is for networks, such as mlp:width=512; this student has infinite width.")
    return orderings


@contextmanager
def _bars(quiet: bool) -> Iterator[Reports]:
    """Draw the library's progress as bars on stderr, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bars:

        @contextmanager
        def progress(name: str, total: float) -> Iterator[Advance]:
            bar = bars.add_task(name, total=total)
            yield lambda steps: bars.advance(bar, steps)
            bars.remove_task(bar)

        yield progress


def _complain(sentence: str, code: int) -> int:
    sys.stderr.write(sentence.rstrip() + "\n")
    return code
