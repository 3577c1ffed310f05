"""The logits command: what a teacher says of each row of a table."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from torch import nn

from tutelage import lab
from tutelage.cli.app import app
from tutelage.cli.options import Device, Quiet, bars, columns_of
from tutelage.data.columns import Columns
from tutelage.data.tables import is_table, tables_at
from tutelage.devices import found_device
from tutelage.exceptions import SettingError, TaskError
from tutelage.lazy import named
from tutelage.outputs import check_writable
from tutelage.train._hub import classifier_in


@app.command("logits", rich_help_panel="Students and teachers")
def logits_command(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE", help="A parquet file, or a folder of them or from save_to_disk."
        ),
    ],
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            metavar="hf:FOLDER|MODULE:NETWORK",
            help=(
                "A trained classifier of transformers; or a network, or a function that gives one,"
                " in the current folder or installed."
            ),
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Gets parquet files that plan reads.")
    ] = Path("with-teacher"),
    columns: Annotated[
        str | None, typer.Option(metavar="x=…", help="Which columns are the teacher's inputs.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="B", min=1)] = 64,
    dtype: Annotated[str, typer.Option(metavar="float16|float32", help="Of logits.")] = "float32",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write a table again with a teacher's logits beside each row; killed, it goes on when started
    again.
    """
    path, given = Path(table), columns_of(columns)
    if not is_table(path):
        raise TaskError(
            f"{path} is no table; expected a parquet file, or a folder of them or from"
            " save_to_disk."
        )
    found = Columns.of(tables_at(path)["train"], given, taught=False)
    network = _network(teacher, text="input_ids" in found.x).to(found_device(device))
    check_writable(out)
    with bars(quiet) as progress:
        lab.write_logits(
            network, path, out, columns=given, batch_size=batch_size, dtype=dtype,
            progress=progress,
        )  # fmt: skip
    if not quiet:
        Console(highlight=False).print(f"Table: {out.resolve()}", soft_wrap=True)


def _network(teacher: str, *, text: bool) -> nn.Module:
    kind, _, folder = teacher.partition(":")
    if kind == "hf" and folder:
        return classifier_in(folder, text=text)
    expected = "hf:FOLDER, or package.module:network in the current folder or installed"
    if not folder:
        raise SettingError(f"The teacher is {teacher!r}; expected {expected}.")
    found: Any = named(teacher, f"The teacher {teacher!r}", expected, SettingError)
    made = found if isinstance(found, nn.Module) else found()
    if not isinstance(made, nn.Module):
        raise SettingError(
            f"The teacher {teacher!r} gave {type(made).__name__}; expected a torch.nn.Module."
        )
    return made
