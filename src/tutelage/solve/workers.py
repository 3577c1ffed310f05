"""Where Dask computes, and the order that it computes in."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tutelage.progress import Progress, silent

Graph = dict[Any, Any]

_MOST = 8  # tasks with columns of their own; the tiles of each give work to more


@dataclass(frozen=True)
class Workers:
    """Where Dask computes: the threads of this process, or a cluster.

    Attributes
    ----------
    client : distributed.Client, optional
    """

    client: Any = None

    @property
    def side_by_side(self) -> int:
        """Tasks at a time: where each uses all cores others would only wait; with OMP_NUM_THREADS=1
        they do not.
        """
        if self.client is None:
            return max(1, (os.cpu_count() or 1) // torch.get_num_threads())
        return max(1, sum(self.client.nthreads().values()))

    def columns(self, width: int) -> int:
        """Columns of a right-hand side that are solved for together, so many to a task; memory
        holds all of their rows.
        """
        return width * min(_MOST, self.side_by_side)

    def get(
        self,
        graph: Graph,
        keys: list[Any],
        progress: Progress = silent,
        name: str = "",
        total: float = 0,
    ) -> list[Any]:
        """Compute keys of a graph: arrays, or futures of a cluster, which keeps them. Of the total
        each is told of alike.
        """
        from dask.callbacks import Callback
        from dask.optimization import cull

        wanted, share = set(keys), total / max(1, len(keys))
        graph = _nested(cull(graph, keys)[0], wanted)
        with progress(name, total) as advance:
            if self.client is None:

                def told(key: Any, *_: Any) -> None:
                    if key in wanted:
                        advance(share)

                from dask.threaded import get

                with Callback(posttask=told):
                    found: list[Any] = list(get(graph, keys, num_workers=self.side_by_side))
                return found
            from distributed import as_completed

            futures = self.client.get(graph, keys, sync=False)
            for future in as_completed(futures, loop=self.client.loop):
                if future.status != "finished":
                    # raises what the worker raised; the rest is dropped with its futures
                    future.result()
                advance(share)
            return futures

    def arrays(self, values: list[Any]) -> list[np.ndarray]:
        """Bring them here."""
        return values if self.client is None else self.client.gather(values)


def _nested(graph: Graph, wanted: set[Any]) -> Graph:
    """Compute what one task alone needs within it: a tile of the kernel, products of tiles. None
    then waits for its turn in memory.
    """
    counts = Counter(key for task in graph.values() for key in _keys(task, graph))
    once = {key for key, count in counts.items() if count == 1 and key not in wanted}

    def within(task: Any) -> Any:
        if isinstance(task, list):
            return [within(part) for part in task]
        if not isinstance(task, tuple):
            return task
        if _is_key(task, graph):
            return within(graph[task]) if task in once else task
        found = tuple(within(part) for part in task)
        if found[0] is sum and all(
            isinstance(part, tuple) and part[0] is np.dot for part in found[1]
        ):
            return (_sum_of_products, [list(part[1:]) for part in found[1]])
        return found

    return {key: within(task) for key, task in graph.items() if key not in once}


def _sum_of_products(pairs: list[list[np.ndarray]]) -> np.ndarray:
    """One product at a time, as `sum` would only begin when all of them are there."""
    total = np.dot(*pairs[0])
    for left, right in pairs[1:]:
        total += np.dot(left, right)
    return total


def _keys(task: Any, graph: Graph) -> Iterator[Any]:
    if isinstance(task, tuple) and _is_key(task, graph):
        yield task
    elif isinstance(task, tuple | list):
        for part in task:
            yield from _keys(part, graph)


def _is_key(task: tuple[Any, ...], graph: Graph) -> bool:
    return bool(task) and isinstance(task[0], str) and task in graph
