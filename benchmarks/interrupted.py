"""Plans that are interrupted, killed or run out of disk at random moments, and are started again.

python benchmarks/interrupted.py [--runs 20]          five minutes; a full disk needs the right to
mount a tmpfs

After each run whatever stands under a final name is whole; started again, each ends with the files
of a run that was left alone.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import tutelage as tu

COMMAND = "import sys; from _tutelage_entry import main; main()"
NAMES = ("plan.json", "curves.nc", "report.html")


def main() -> None:
    """Print how many runs ended as they should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder / "task.npz")
        started = time.perf_counter()
        first = run(folder, folder / "whole")
        assert first.returncode == 0, first.stderr
        seconds = time.perf_counter() - started
        expected, draws = document(folder / "whole"), random.Random(0)
        for sent in (signal.SIGINT, signal.SIGKILL):
            fates = []
            for k in range(runs):
                out = folder / f"{sent.name}-{k}"
                fates.append(stopped(folder, out, sent, draws.uniform(0.3, 1.02) * seconds))
                check(folder, out, expected)
            print(
                f"{sent.name}: {runs} of {runs} runs left nothing half-written and ended alike;"
                f" exit codes {sorted(set(fates))}"
            )
        print(full_disks(folder, expected, draws, runs))


def save(path: Path) -> None:
    """A small task."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    z = 2 * x[:, :3] + rng.normal(size=(400, 3))
    y = x[:, :3].argmax(1)
    tu.Task(x[:250], z[:250], y[:250], x[250:], z[250:], y[250:]).save(path)


def run(folder: Path, out: Path) -> subprocess.CompletedProcess:
    """A plan by the command line."""
    return subprocess.run(command(folder, out), capture_output=True, text=True, check=False)


def command(folder: Path, out: Path) -> list[str]:
    """Of a plan."""
    return [
        sys.executable,
        "-c",
        COMMAND,
        "plan",
        str(folder / "task.npz"),
        "--out",
        str(out),
        "--quiet",
    ]


def stopped(folder: Path, out: Path, sent: signal.Signals, after: float) -> int:
    """Send a signal after so many seconds; give the exit code."""
    with subprocess.Popen(
        command(folder, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(after)
        process.send_signal(sent)
        said = process.stderr.read()
        code = process.wait()
    assert "Traceback" not in said, said
    # Python takes no signals any more once it leaves, its work done.
    done = code == -signal.SIGINT and all((out / name).exists() for name in NAMES)
    assert code in (0, 130, -signal.SIGKILL) or done, (code, said)
    return code


def check(folder: Path, out: Path, expected: dict) -> None:
    """What is there is whole; and a second run leaves what one run leaves."""
    whole(out)
    done = run(folder, out)
    assert done.returncode == 0, done.stderr
    whole(out)
    assert document(out) == expected
    assert sorted(p.name for p in out.iterdir()) == sorted(NAMES), sorted(out.iterdir())


def whole(out: Path) -> None:
    """Every file under a final name can be read to its end."""
    if (out / "plan.json").exists():
        document(out)
    if (out / "curves.nc").exists():
        tu.load_curves(out / "curves.nc")
    if (out / "report.html").exists():
        assert (out / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def document(out: Path) -> dict:
    """plan.json without what differs from run to run."""
    found = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key != "seconds"}


def full_disks(folder: Path, expected: dict, draws: random.Random, runs: int) -> str:
    """Disks of random sizes, each enlarged before the second run."""
    disk, codes = folder / "disk", []
    disk.mkdir()
    needed = sum((folder / "whole" / name).stat().st_size for name in NAMES)
    for _ in range(runs):
        size = max(4096, int(draws.uniform(0, 1.1) * needed))
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)],
            check=False,
            capture_output=True,
        )
        if mounted.returncode:
            return "full disk: not tried, as nothing can be mounted here"
        try:
            done = run(folder, disk / "plan")
            codes.append(done.returncode)
            assert done.returncode in (0, 2), done.stderr
            assert done.returncode == 0 or "the disk is full" in done.stderr, done.stderr
            whole(disk / "plan")
            subprocess.run(["mount", "-o", f"remount,size={4 * needed}", str(disk)], check=True)
            check(folder, disk / "plan", expected)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    fates = sorted(set(codes))
    return (
        f"full disk: {runs} of {runs} runs said so or ended, left nothing half-written and ended"
        f" alike; exit codes {fates}"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
