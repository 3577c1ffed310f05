"""Options that commands share, what their texts mean, and progress bars."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tutelage import datasets, lab
from tutelage._plan import Plan, read_document, read_with
from tutelage.data.source import Source, in_parts, open_pool, streams
from tutelage.data.tables import is_table
from tutelage.data.task import Task
from tutelage.exceptions import OutputError, SettingError, nearest
from tutelage.progress import Advance
from tutelage.progress import Progress as Reports
from tutelage.solve import free_memory

_SHARE = 0.25  # of free memory, that a folder of arrays may take to be read as a whole
WHAT, STUDENT, WORK, OUTPUT = "What to plan for", "The student", "The work", "Output"  # of --help
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder for plan.json, curves.nc, report.html.",
        rich_help_panel=OUTPUT,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        max=2**31 - 1,
        help="Of every random draw.",
        rich_help_panel=WORK,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print plan.json on stdout, all else on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="x=…,labels=…",
        help="Which columns of a table are x, labels, teacher_logits. (default: by name)",
        rich_help_panel=WHAT,
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        metavar="C",
        min=2,
        help="Number of classes, where a table has the teacher's largest scores only.",
        rich_help_panel=WHAT,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="Where to compute and train.",
        rich_help_panel=WORK,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Print nothing but errors.", rich_help_panel=OUTPUT)
]


def task_of(
    name: str, seed: int, progress: Reports, *, columns: Any = None, classes: int | None = None
) -> Task:
    """A task file or a table, or a built-in data set with a quick teacher."""
    path = Path(name)
    plain = path.name == name and not path.suffix  # neither a path nor a file's name
    if (
        plain
        and (name in datasets.BUILT_IN or nearest(name, datasets.BUILT_IN))
        and not path.exists()
    ):
        return lab.quick_task(name, seed=seed, progress=progress)
    return Task.load(path, columns=columns, classes=classes)


def plan_of(planned: Path, task: str | None, progress: Reports) -> tuple[Plan, Task]:
    """A plan that was saved, and its task, which may have moved."""
    folder = folder_of(planned)
    document = read_document(folder)
    source = task or document["task"]["source"]
    if source is None:
        raise SettingError(
            "The plan does not say which task file it was made from; give it with --task."
        )
    made_up = Path(source).name == source  # such as digits, which the tool makes itself
    if task is None and not made_up and not Path(source).exists():
        raise SettingError(
            f"The plan's task is not at {source} any more; say where it is now with --task."
        )
    given = read_with(document)
    loaded = pool_of(source, int(document["seed"]), progress, features="auto", **given)
    if isinstance(loaded, Source) or document["task"].get("streamed"):
        raise SettingError(
            "The plan is of a stream, and real students are trained on a task in memory; plan for"
            " one (.npz, .safetensors, a folder of .npy files, or parquet without --features)."
        )
    return Plan.load(folder, task=loaded), loaded


def folder_of(planned: Path) -> Path:
    """Give the folder of a plan, which may be named by its plan.json."""
    return planned.parent if planned.suffix == ".json" else planned


def to_stdout(text: str) -> None:
    """To stdout, whatever the terminal's encoding."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"The plan cannot be written to stdout: {error.strerror}.") from error


def numbers(text: str, option: str, kind: Callable[[str], float]) -> list:  # type: ignore[type-arg]
    """Read numbers with commas between them."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise SettingError(
            f"{option} is {text!r}; expected {what} with commas between them."
        ) from None


def pool_of(
    name: str, seed: int, progress: Reports, *, features: str, columns: Any = None,
    classes: int | None = None,
) -> Task | Source:  # fmt: skip
    """A task, or a source where a pool of any size is read in features."""
    path = Path(name)
    if in_parts(path) and features == "exact":
        raise SettingError(
            f"{path} is read in parts, in features; the exact path takes a task in memory"
            " (.npz, .safetensors, a folder of .npy files, or parquet)."
        )
    if streams(path):
        size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
        fits = size < _SHARE * free_memory()
        asked = features not in ("auto", "exact")
        # Tables are streamed if features are asked for or memory has no room, folders if both.
        table = features == "exact" or (fits and not asked)
        whole = table if is_table(path) else fits or not asked
        return open_pool(path, whole=whole, columns=columns, classes=classes)
    if columns or classes:
        raise SettingError(f"--columns and --classes are those of tables; {path} is none.")
    return task_of(name, seed, progress)


def columns_of(text: str | None) -> dict[str, dict[str, float] | list[str]] | None:
    """Columns by their role, from ``x=input_ids,x=attention_mask,labels=section``; of several
    teachers with their weights, from ``teacher_logits=large*2,teacher_logits=small``.
    """
    if text is None:
        return None
    found: dict[str, dict[str, float]] = {}
    for part in text.split(","):
        role, equals, name = part.partition("=")
        name, times, weight = name.partition("*")
        if not (role and equals and name) or (times and not weight.replace(".", "", 1).isdecimal()):
            raise SettingError(
                f"--columns is {text!r}; expected pairs with commas between them, such as"
                " x=pixels,labels=class; of several teachers teacher_logits=large*2."
            )
        found.setdefault(role.strip(), {})[name.strip()] = float(weight) if times else 1.0
    weighted = {role for role, names in found.items() if set(names.values()) != {1.0}}
    return {role: names if role in weighted else list(names) for role, names in found.items()}


def features_of(text: str) -> int | None:
    """How many features, or None for the default of what is read."""
    if text in ("auto", "exact"):
        return None
    if not text.isdecimal():
        raise SettingError(f"--features is {text!r}; expected a whole number, auto or exact.")
    return int(text)


def training_of(epochs: str, **given: Any) -> lab.Training:
    """Of a warm start."""
    if epochs == "auto":
        return lab.Training(**given)
    if not epochs.isdecimal() or int(epochs) < 1:
        raise SettingError(
            f"--warm-epochs is {epochs!r}; expected a whole number of 1 or more, or auto."
        )
    return lab.Training(int(epochs), **given)


def epochs_of(text: str) -> float:
    """How long a student will be trained."""
    if text != "inf" and (not text.isdecimal() or int(text) < 1):
        raise SettingError(f"--epochs is {text!r}; expected a whole number of 1 or more, or inf.")
    return float(text)


def bytes_of(text: str | None) -> float | None:
    """A memory limit such as 12GB, 500MB or 2e9."""
    if text is None:
        return None
    number, factor = text.upper().removesuffix("B"), 1.0
    for suffix, of in (("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if number.endswith(suffix):
            number, factor = number.removesuffix(suffix), of
    try:
        return float(number) * factor
    except ValueError:
        raise SettingError(f"--memory is {text!r}; expected bytes, such as 12GB.") from None


@contextmanager
def bars(quiet: bool) -> Iterator[Reports]:
    """Draw the library's progress as bars on stderr, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as drawn:

        @contextmanager
        def progress(name: str, total: float) -> Iterator[Advance]:
            if total == 0:
                if not drawn.disable:
                    drawn.console.print(name, highlight=False)
                yield lambda steps: None
                return
            bar = drawn.add_task(name, total=total)
            yield lambda steps: drawn.advance(bar, steps)
            drawn.remove_task(bar)

        yield progress
