"""The solution in features: one pass over samples that no kernel matrix could hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from tutelage.data.part import Part, decide
from tutelage.progress import remark, silent
from tutelage.solve.features import (
    Reader,
    Samples,
    Seen,
    Solved,
    Sums,
    added,
    digests,
    in_double,
    trace,
)
from tutelage.solve.landmarks import Landmarks
from tutelage.solve.scale import cluster
from tutelage.solve.solution import LeftOut, Problem
from tutelage.students import Start
from tutelage.theory.copies import Copies
from tutelage.theory.finite_time import Path
from tutelage.theory.imperfect_teacher import Angles
from tutelage.theory.stage import HeldOut, Stage, Tensors, Walk

CHUNK = 8192
RIDGES = (1.0, 0.1, 0.01)  # of what the features leave of the kernel's diagonal
# What features cannot give (see `tutelage.variables`), at no size or at n > D only.
_LACKING = {
    "risk_bound": False,
    "power_bound": False,
    "certified_fraction": False,
    "error_prequential": False,
    "data_inefficiency": True,
    "data_inefficiency_se": True,
}


@dataclass(frozen=True)
class Stream:
    """A pool of any size.

    Attributes
    ----------
    samples : Samples
    apart : Part
        Outside of the pool and the test part: what tells the ridge and the scale s².
    features : int
        D.
    copied : bool Tensor of shape (N,)
        Which samples have copies in the pool.
    scheduler : str, optional
        Address of a Dask cluster.
    left_out : bool
        Whether to go over the samples again, to leave each one out.
    """

    samples: Samples
    apart: Part
    features: int
    copied: Tensor
    scheduler: str | None = None
    left_out: bool = True


class InFeatures:
    """Sums in D features, solved at every size, (3.8) and (3.9).

    The ridge is r, what the features leave of the kernel's diagonal on average, or a tenth or
    hundredth of it: whichever predicts samples best that are kept apart for this. (With a smaller
    one D features would interpolate at n = D, and be at their worst there.)

    Parameters
    ----------
    problem : Problem
    stream : Stream

    Attributes
    ----------
    in_test_too : int
        Samples of the pool that are held out, too.
    start : Start
        That was solved for.
    """

    one_start = True

    def __init__(self, problem: Problem, stream: Stream) -> None:
        self._problem, self._stream, self.in_test_too = problem, stream, 0
        self.start: Start

    def solutions(self, number: int, start: Start) -> Iterator[tuple[int, "_InOnePass"]]:
        """See `Solver`."""
        problem, stream, self.start = self._problem, self._stream, start
        assert problem.test is not None
        first = stream.samples.part(0, stream.features)
        landmarks = Landmarks.of(start.kernel, first.x, problem.dtype, problem.device)
        known = frozenset(digests(problem.test.x))
        reader = Reader(stream.samples, landmarks, start.logits, problem.grid, problem.fill, known)
        solution = _InOnePass(problem, stream, start, reader)
        self.in_test_too = solution.copied
        yield 0, solution

    def copies(self) -> Copies:
        """See `Solver`."""
        return Copies.none(self._problem.n)


@dataclass(frozen=True)
class _Size:
    """What is kept of the students of n samples: all but what is as large as D²."""

    n: int
    ridge: float  # over r
    on_test: Tensor
    variance: Tensor
    gram: Tensor
    scale: Tensor
    angles: Angles


class _InOnePass:
    """See `Solution`."""

    redundant = 0

    def __init__(self, problem: Problem, stream: Stream, start: Start, reader: Reader) -> None:
        self._problem, self._stream, self._start, self._reader = problem, stream, start, reader
        assert problem.test is not None
        self._test = Seen.of(reader.features, problem.test.x)
        self._apart = Seen.of(reader.features, stream.apart.x)
        self._missed = reader.targets(stream.apart, torch.float64).effective
        self._sizes: list[_Size] = []
        with _summed(problem, stream, reader) as summed:
            for n, sums in summed(problem.grid.sizes):
                tail = float(sums.left) / n  # r, 0 of samples that are all landmarks
                tried = [Solved.of(sums, tail * share, n, problem.dtype) for share in RIDGES]
                self._sizes.append(self._size(n, tried))
        # With a small ridge, leave-one-out is inaccurate for landmarks: each has a feature of its
        # own.
        self._whole, self.copied = tried[0], int(sums.copied)
        self.jitter = tail, tail * problem.n / float(sums.prior)
        whole = self._sizes[-1].gram
        self.stages = [Stage(s.n, trace(s.gram), s.scale, whole - s.gram) for s in self._sizes]
        beyond = torch.tensor([s.n > stream.features for s in self._sizes])
        always = torch.ones_like(beyond)
        known = stream.apart.labels is not None
        self.lacking = {
            name: beyond if some else always
            for name, some in _LACKING.items()
            if known or name != "error_prequential"
        }

    def _size(self, n: int, tried: list[Solved]) -> _Size:
        """At the ridge that predicts the samples best that are kept apart."""
        errors = [
            float((self._missed - solved.logits(self._apart)).square().mean()) for solved in tried
        ]
        best = errors.index(min(errors))
        chosen, own = tried[best], tried[0]  # norms and angles are those of the tail itself, (3.9)
        return _Size(
            n,
            RIDGES[best],
            chosen.logits(self._test).flatten(1),
            chosen.variance(self._test),
            own.gram,
            chosen.scale(self._apart, self._missed),
            own.cosines(),
        )

    def alone(self) -> Tensors:
        """See `Solution`."""
        norms = torch.stack([stage.squared_norm for stage in self.stages], -1)
        ridges = torch.tensor([s.ridge for s in self._sizes], dtype=torch.float64)
        found = {"squared_norm": norms, "ridge": ridges.expand_as(norms)}
        if self._stream.apart.labels is not None:
            for name in vars(self._sizes[0].angles):
                of_sizes = [getattr(s.angles, name) for s in self._sizes]
                found[f"cos_{name}"] = torch.stack(of_sizes, -1)
        return found

    def walk(self, held_out: HeldOut) -> Walk:
        """See `Solution`."""
        sizes = ((s.n, s.on_test, s.variance) for s in self._sizes)
        return Walk(self._sizes[-1].on_test, sizes, self._interpolate)

    def unseen(self) -> list[Tensors]:
        """See `Solution`; the test part tells."""
        return []

    def left_out(self) -> LeftOut:
        """See `Solution`."""
        stream, reader, decided = self._stream, self._reader, []
        n, seen = self._problem.n if stream.left_out else 0, self._start.seen
        with (self._problem.progress if n else silent)("leave-one-out", n) as advance:
            for part in self._parts(n):
                targets = reader.targets(part, torch.float64).effective
                told = self._whole.left_out(reader.features(part.x), targets)
                z_0 = None if reader.z_0 is None else reader.z_0(part.x).double()
                decided.append(decide(told if z_0 is None else told + z_0[:, None, None]))
                advance(len(part))
        none = torch.empty(0, *self._whole.sums.own.shape[:2], dtype=torch.int64)
        order = torch.arange(n)
        # A copy that stays in the pool would tell of the sample that is left out.
        fresh = (order >= seen) & ~self._stream.copied[:n]
        return LeftOut(torch.cat([none, *decided]), order, fresh, {})

    def learned(self) -> Callable[[int], Tensor] | None:
        """See `Solution`; all features of the pool are kept for it."""
        problem, reader = self._problem, self._reader
        if not problem.is_timed(self._start):
            return None
        parts = list(self._parts(problem.n))
        self._pool = torch.cat([reader.features(part.x) for part in parts])
        teacher = torch.cat([part.teacher for part in parts if part.teacher is not None]).double()
        known = [part.labels for part in parts if part.labels is not None]
        z_0 = teacher.new_zeros(len(teacher), teacher.shape[2])
        if reader.z_0 is not None:
            z_0 = torch.cat([reader.z_0(part.x).double() for part in parts])
        tail = self._whole.ridge
        path = Path.of(
            lambda kappa, dtype: partial(_inverse, self._pool, tail + kappa, dtype),
            self._pool.square().sum(1).double() + tail,
            problem.grid.losses(teacher, torch.cat(known) if known else None),
            z_0,
            self._start.time_per_sample,
        )
        return path.learned

    def _parts(self, n: int) -> Iterator[Part]:
        for begin in range(0, n, CHUNK):
            yield self._stream.samples.part(begin, min(begin + CHUNK, n))

    def _interpolate(self, n: int, learned: Tensor) -> Tensor:
        lower, phi = _lower(self._pool[:n], self._whole.ridge)
        return self._test.features @ torch.cholesky_solve(phi.mT @ learned.double(), lower)


def _lower(phi: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """The factor of Φ̃ᵀΦ̃ + ridge I, and Φ̃, in float64."""
    phi = phi.double()
    gram = phi.mT @ phi
    gram.diagonal().add_(ridge)
    return torch.linalg.cholesky(gram), phi


def _inverse(phi: Tensor, ridge: float, dtype: torch.dtype, n: int) -> Callable[[Tensor], Tensor]:
    """(Φ̃Φ̃ᵀ + ridge I)⁻¹ of n samples, by the D × D matrix of Woodbury's identity."""
    lower, leading = (v.to(dtype) for v in _lower(phi[:n], ridge))
    return lambda rhs: (rhs - leading @ torch.cholesky_solve(leading.mT @ rhs, lower)) / ridge


Summed = Callable[[list[int]], Iterator[tuple[int, Sums]]]


@contextmanager
def _summed(problem: Problem, stream: Stream, reader: Reader) -> Iterator[Summed]:
    """Sums at ascending sizes, on this machine or on a cluster."""
    with (
        cluster(stream.scheduler) as client,
        problem.progress(f"stream of {problem.n:,} samples", problem.n) as advance,
    ):
        if client is not None and client.dashboard_link:
            remark(problem.progress, f"Dask's dashboard: {client.dashboard_link}")
        # Once: scattered anew it would have the same name, and could be let go of as the old one
        # is.
        there = None if client is None else client.scatter([reader], broadcast=True)[0]

        def of(chunks: list[tuple[int, int]]) -> Iterator[Sums]:
            if client is None:
                for begin, end in chunks:
                    yield reader.sums(begin, end)
                    advance(end - begin)
                return
            futures = [client.submit(Reader.sums, there, *chunk, pure=False) for chunk in chunks]
            while len(futures) > 1:
                pairs = [futures[k : k + 2] for k in range(0, len(futures), 2)]
                # Before more chunks: so that workers hold few sums, however many samples there are.
                futures = [
                    client.submit(added, *p, pure=False, priority=1) if len(p) == 2 else p[0]
                    for p in pairs
                ]
            yield futures[0].result()
            advance(chunks[-1][1] - chunks[0][0])

        def summed(sizes: list[int]) -> Iterator[tuple[int, Sums]]:
            whole: Sums | None = None
            for begin, n in pairwise((0, *sizes)):
                cuts = range(begin, n, CHUNK)
                for part in of([(at, min(at + CHUNK, n)) for at in cuts]):
                    whole = in_double(part) if whole is None else added(part, whole)
                assert whole is not None
                yield n, whole

        yield summed
