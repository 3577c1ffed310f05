"""The console script's way in: small, so that Ctrl-C while the libraries load ends as it does
later.
"""

import io
import os
import sys


def main() -> None:
    """Run the command line, and leave with its exit code."""
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a terminal that knows no Greek gets question marks, not a traceback
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Threads that wait for each other sleep: spinning, they take the time of the one that is waited
    # for where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from tutelage.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing half-written was left.\n")
        code = 130
    sys.exit(code)
