"""The command line: arguments, progress bars, exit codes; no mathematics."""

from tutelage.cli import (  # noqa: F401, I001 (they add their commands, in this order)
    planning,
    explaining,
    trained,
    writing,
    auditing,
)
from tutelage.cli.app import INTERRUPTED, run

__all__ = ["INTERRUPTED", "run"]
