"""A plan beside another process that keeps all cores busy, against the same plan alone.

python benchmarks/busy.py [--rounds 5]          three minutes

The other process multiplies matrices on all cores. Where they are shared fairly, a plan takes twice
as long beside it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tutelage as tu
from tutelage.lab.quick import quick_task

BUSY = "import torch\na = torch.ones(1500, 1500)\nwhile True: a @ a"
COMMAND = "import sys; from _tutelage_entry import main; main()"


def main() -> None:
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.npz"
        digits = quick_task("digits")
        logits = [digits.teacher_logits(part)[2] for part in ("train", "test")]
        tu.Task(
            digits.x_train, logits[0], digits.y_train, digits.x_test, logits[1], digits.y_test
        ).save(path)
        network = ["--student", "mlp:width=64,depth=2", "--epochs", "10", "--warm-starts", "1"]
        for title, student in (("closed form", []), ("network", network)):
            alone, beside = [], []
            for _ in range(rounds):
                alone.append(planned(path, student))
                with busy():
                    beside.append(planned(path, student))
            print(
                f"{title}: {min(alone):.1f} s alone, {min(beside):.1f} to {max(beside):.1f} s"
                f" beside a process on all {os.cpu_count()} cores:"
                f" {min(beside) / min(alone):.1f} to {max(beside) / min(alone):.1f} times"
            )


def planned(path: Path, student: list[str]) -> float:
    """Seconds of a plan by the command line."""
    started = time.perf_counter()
    arguments = ["plan", str(path), *student, "--out", str(path.parent / "plan"), "--quiet"]
    subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True)
    return time.perf_counter() - started


@contextmanager
def busy() -> Iterator[None]:
    """Another process on all cores."""
    other = subprocess.Popen([sys.executable, "-c", BUSY])
    time.sleep(4)
    try:
        yield
    finally:
        other.kill()
        other.wait()


if __name__ == "__main__":
    main()
