"""The command line: arguments, progress bars, exit codes; no mathematics."""

from tutelage.cli import auditing, planning, trained, writing  # noqa: F401 (they add their commands)
from tutelage.cli.app import INTERRUPTED, run

__all__ = ["INTERRUPTED", "run"]
