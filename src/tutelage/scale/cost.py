"""What work will cost on this machine, and what the machine has."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

SPARE = 0.8  # of the memory that is free, for a path to be taken
_SYSTEM = Path("/sys/fs/cgroup")
_GROUPS = [  # of both versions: the limit, the file that tells what is held, and the name it has there
    (_SYSTEM / "memory.max", _SYSTEM / "memory.stat", "anon"),
    (_SYSTEM / "memory/memory.limit_in_bytes", _SYSTEM / "memory/memory.stat", "rss"),
]
_TRIAL = 1536  # of the product that tells how fast this machine multiplies


@dataclass(frozen=True)
class Cost:
    """What a plan or a stream will cost.

    Attributes
    ----------
    path : str
        `dense`, `dask` or `stream`.
    seconds : float, optional
    bytes : int
        Of memory at the peak, beside the task.
    disk : int
        Bytes of tiles in files.
    """

    path: str
    seconds: float | None
    bytes: int
    disk: int

    def __str__(self) -> str:
        seconds = self.seconds or 0.0
        spent = f", about {seconds / 60:.0f} min" if seconds >= 90 else f", about {seconds:.0f} s"
        files = f", {size(self.disk)} of files" if self.disk else ""
        return f"{self.path} path{'' if self.seconds is None else spent}, {size(self.bytes)} of memory{files}"


def size(number: float) -> str:
    """Bytes, for people."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def free_memory() -> float:
    """Bytes that a process may still take: what the machine has, or what its control group leaves."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = Path("/proc/meminfo")  # of Linux; elsewhere what no process has touched
    if available.exists():
        line = next(line for line in available.read_text().splitlines() if line.startswith("MemAvailable"))
        pages = int(line.split()[1]) * 1024
    return float(min([pages, *_left_of_limits()]))


def _left_of_limits() -> Iterator[int]:
    """Of what control groups allow, what is not held yet; files that were read can be given back, and do not count."""
    for limit, stat, held in _GROUPS:
        if limit.exists() and (text := limit.read_text().strip()) != "max":
            counts = dict(line.split() for line in stat.read_text().splitlines())
            yield int(text) - int(counts[held])


def flops_per_second(dtype: torch.dtype) -> float:
    """Measure a product on this machine."""
    a = torch.ones(_TRIAL, _TRIAL, dtype=dtype)
    for _ in range(2):
        started = time.perf_counter()
        a @ a
    return 2 * _TRIAL**3 / (time.perf_counter() - started)
