"""Progress as an event: the library announces work, whoever called decides what to draw.

A `Progress` is a callable ``progress(name, total)`` that returns a context manager, which in
turn gives a callable ``advance(steps)``. The library's own default draws nothing.

Examples
--------
>>> with silent("kernel", 100) as advance:
...     advance(10)
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[float], None]
Progress = Callable[[str, float], AbstractContextManager[Advance]]


def remark(progress: Progress, sentence: str) -> None:
    """Tell something that is no work: what the work will cost, for example. Its total is 0."""
    with progress(sentence, 0):
        pass


@contextmanager
def silent(name: str, total: float) -> Iterator[Advance]:
    """Report nothing."""
    yield lambda steps: None
