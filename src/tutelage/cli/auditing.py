"""The audit command: what a loss function really weighs."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from torch import nn

from tutelage.cli.app import app
from tutelage.cli.options import to_stdout
from tutelage.exceptions import SettingError
from tutelage.lazy import named
from tutelage.train.audit import audit


@app.command("audit", rich_help_panel="Students and teachers")
def audit_command(
    loss: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:LOSS",
            help=(
                "A function of student logits, teacher logits and labels, or a torch module that is"
                " called so; in the current folder or installed."
            ),
        ),
    ],
    classes: Annotated[
        int, typer.Option(metavar="C", min=1, help="That logits have; 1 for one binary logit.")
    ] = 10,
    t_power: Annotated[
        int, typer.Option(metavar="0|2", help="Power of T that the soft ratio is told for.")
    ] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Tell the soft ratio, temperature and scale that a loss function really has."""
    expected = "module:function, found in the current folder or installed"
    if ":" not in loss:
        raise SettingError(f"The loss is {loss!r}; expected {expected}.")
    found = named(loss, f"The loss {loss!r}", expected, SettingError)
    if isinstance(found, type) and issubclass(found, nn.Module):
        try:
            found = found()
        except TypeError as error:
            raise SettingError(
                f"{loss} is a class that cannot be made without arguments ({error}). Make one in"
                " the module, kd = MyLoss(…), and name that."
            ) from error
    made = audit(found, classes=classes, t_power=t_power)
    text = (
        json.dumps(asdict(made), indent=1)
        if as_json
        else f"{loss}, for {classes} classes: {made.words}"
    )
    to_stdout(text + "\n")
