"""What work will cost on this machine, and what the machine has."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tutelage.theory.effective_logits import effective_logits
from tutelage.theory.transfer_risk import expected_transfer_risk

SPARE = 0.8  # of the memory that is free, for a path to be taken
_OWN_GROUPS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_VERSIONS = {
    "": ("", "memory.max", "anon"),
    "memory": ("memory", "memory.limit_in_bytes", "total_rss"),
}
_NUMBERS = 1 << 16  # of the trial that tells what a column costs
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
        return (
            f"{self.path} path{'' if self.seconds is None else spent}, {size(self.bytes)} of"
            f" memory{files}"
        )


def size(number: float) -> str:
    """Bytes, for people."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def free_memory() -> float:
    """Bytes that a process may still take: what the machine has, or what its control group
    leaves.
    """
    return min([_of_machine(), *_left_of_limits()])


def _of_machine() -> float:
    known = Path("/proc/meminfo")
    if known.exists():
        line = next(
            line for line in known.read_text().splitlines() if line.startswith("MemAvailable")
        )
        return int(line.split()[1]) * 1024.0
    try:  # not Linux: all that there is
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError):
        return float("inf")


def _left_of_limits() -> Iterator[float]:
    """Of what control groups allow, what they do not hold yet; files that were read can be given
    back, and do not count.
    """
    lines = _OWN_GROUPS.read_text().splitlines() if _OWN_GROUPS.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers in _VERSIONS:
            within, limit, held = _VERSIONS[controllers]
            folder = _GROUPS / within
            groups = (
                folder.joinpath(*Path(path).parts[1:k]) for k in range(1, len(Path(path).parts) + 1)
            )
            yield from (left for group in groups if (left := _left(group, limit, held)) is not None)


def _left(group: Path, limit: str, held: str) -> float | None:
    try:
        text, lines = (
            (group / limit).read_text().strip(),
            (group / "memory.stat").read_text().splitlines(),
        )
    except OSError:
        return None  # it has no limit, or is not to be seen from within a container
    return None if text == "max" else float(text) - int(dict(line.split() for line in lines)[held])


def flops_per_second(dtype: torch.dtype) -> float:
    """Measure a product on this machine."""
    a = torch.ones(_TRIAL, _TRIAL, dtype=dtype)
    for _ in range(2):
        started = time.perf_counter()
        a @ a
    return 2 * _TRIAL**3 / (time.perf_counter() - started)


def seconds_per_number(classes: int, dtype: torch.dtype) -> tuple[float, float]:
    """Measure the effective logits of a setting and the expected risk, for each sample and
    class.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(
        max(4, _NUMBERS // classes), classes, dtype=torch.float64, generator=generator
    )
    teacher, labels = (
        (logits[:, 0] if classes == 1 else logits),
        torch.zeros(len(logits), dtype=torch.int64),
    )
    student, scale = logits.to(dtype), torch.ones(classes, dtype=dtype)
    seconds = []
    for run in (
        lambda: effective_logits(teacher, labels, soft_ratio=0.5, temperature=2.0),
        lambda: expected_transfer_risk(student, scale, student[:, 0].square()),
    ):
        for _ in range(2):
            started = time.perf_counter()
            run()
        seconds.append((time.perf_counter() - started) / logits.numel())
    return seconds[0], seconds[1]
