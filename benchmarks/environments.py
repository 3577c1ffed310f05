"""Environments of their own for the libraries that benchmarks compare with."""

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path


def environment(name: str, pins: Sequence[str]) -> Path:
    """Give the Python of an environment under benchmarks/envs; the first time it is made and
    filled.
    """
    folder = Path(__file__).parent / "envs" / name
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *pins], check=True)
    return python
