"""How long `import tutelage` takes beside `import torch, xarray`, in CPU seconds of one thread.

    python benchmarks/import_time.py

Processes take turns; the least time of each side counts. The first use of a name loads what it
needs, so that the time of `from tutelage import plan` is printed, too.
"""

import os
import subprocess
import sys

ROUNDS = 7
CASES = {
    "import torch, xarray": "import torch, xarray",
    "import tutelage": "import tutelage",
    "from tutelage import plan": "from tutelage import plan",
    "the command line": "import tutelage.cli",
}
TIMED = "import time; before = time.process_time(); {}; print(time.process_time() - before)"


def seconds(code: str) -> float:
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TIMED.format(code)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
    return float(done.stdout)


def main() -> None:
    found = {name: float("inf") for name in CASES}
    for _ in range(ROUNDS):
        for name, code in CASES.items():
            found[name] = min(found[name], seconds(code))
    base = found["import torch, xarray"]
    for name, least in found.items():
        print(f"{name}: {least:.2f} s ({least / base:.2f} x)")


if __name__ == "__main__":
    main()
