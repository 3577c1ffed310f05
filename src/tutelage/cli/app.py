"""The program: its exit codes, and what it says when something is wrong."""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from tutelage.exceptions import TutelageError
from tutelage.version import __version__

app = typer.Typer(invoke_without_command=True, pretty_exceptions_enable=False)

INTERRUPTED = "Interrupted; nothing half-written was left."
_FIRST = """\
tutelage says which soft ratio, temperature and checkpoint a distillation should use.

  tutelage demo                     make a plan for handwritten digits, to see what comes out
  tutelage plan task.npz            make a plan for your own task
  tutelage explain tutelage-plan    say in ten sentences what a plan found

tutelage --help lists all commands, and tutelage plan --help the options of one."""
_THEIRS = {
    "--alpha": "--soft-ratio", "--kd-weight": "--soft-ratio", "--tau": "--temperature",
    "--lr": "--learning-rate", "--optimizer": "--optimiser", "--model": "--student",
}  # fmt: skip
_NO_MEMORY = (
    "The memory does not suffice for this plan; use fewer samples, settings or classes, or --dtype"
    " float32."
)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; give its exit code: 0 done, 1 our defect, 2 bad input, 130
    interrupted.
    """
    try:
        code = int(app(list(arguments), prog_name="tutelage", standalone_mode=False) or 0)
        return (
            _complain(INTERRUPTED, code) if code == 130 else code
        )  # typer turns Ctrl-C into a code, and says nothing
    except TutelageError as error:
        return _complain(str(error), 2)
    except TyperException as error:
        sentence = _ours(error.format_message().rstrip("."))
        command = _command(arguments)
        ended = sentence if sentence.endswith("?") else f"{sentence}."
        return _complain(f"{ended} See tutelage {command}--help.", 2) if sentence else 2
    except (KeyboardInterrupt, typer.Abort):
        return _complain(INTERRUPTED, 130)
    except MemoryError:
        return _complain(_NO_MEMORY, 2)
    except Exception as error:
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            return _complain(_NO_MEMORY, 2)
        traceback.print_exc()
        return _complain(
            "This is a defect of tutelage, not of your input; please report it with the lines"
            " above.",
            1,
        )


def _command(arguments: Sequence[str]) -> str:
    """The command that was given, if there is one of that name."""
    known = {
        command.name or getattr(command.callback, "__name__", "")
        for command in app.registered_commands
    }
    first = next(iter(arguments), "")
    return f"{first} " if first in known else ""


def _ours(sentence: str) -> str:
    """Name our option where another tool's was given."""
    for theirs, ours in _THEIRS.items():
        if f"No such option: {theirs}" in sentence:
            return f"No such option: {theirs}; it is called {ours} here"
    return sentence


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tutelage {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Say which soft ratio, temperature and checkpoint a distillation should use, and what error
    its student will have, for about one training of that student.
    """
    if context.invoked_subcommand is None:
        typer.echo(_FIRST)


def _complain(sentence: str, code: int) -> int:
    sys.stderr.write(sentence.rstrip() + "\n")
    return code
