"""Features beside the dense solution of the kernel that they stand for, Θ = ΦΦᵀ + rI."""

from dataclasses import dataclass

import pytest
import torch

from tutelage._stream import Held
from tutelage.data.part import Part
from tutelage.grid import Grid
from tutelage.solve.features import Reader, Seen, Solved, added, in_double, trace
from tutelage.theory import sweep
from tutelage.theory.copies import Copies
from tutelage.theory.factor import factor, inverse_diagonal, solve, walk
from tutelage.theory.imperfect_teacher import reference_logits

N, M, D, TAIL = 90, 30, 12, 0.7
SIZES = [20, 50, 90]


@dataclass(frozen=True)
class Linear:
    """φ(x) = x, and a tail of r that is all of it."""

    def __len__(self):
        return D

    def __call__(self, x):
        return x

    def prior(self, x):
        return x.square().sum(1) + TAIL

    def left(self, x, features):
        return self.prior(x) - features.square().sum(1)


def part(n, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    x, z = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (D, classes))
    z = z + x[:, :classes]
    y = (z[:, 0] > 0).long() if classes == 1 else z.argmax(1)
    return Part(x, 3 * torch.stack([z, z / 2], 1), y)


@pytest.fixture(params=[1, 3], ids=["one logit", "three classes"])
def both(request):
    """Solved in features at every size, and the students by a factor."""
    pool, test = part(N, request.param, 0), part(M, request.param, 1)
    grid = Grid.of([0.3, 1.0], [1.0, 4.0], 2, SIZES, N)
    reader = Reader(Held(pool, torch.arange(N)), Linear(), None, grid, None, frozenset())
    solved, sums = [], None
    for begin, n in zip([0, *SIZES[:-1]], SIZES, strict=True):
        middle = (begin + n) // 2
        for start, stop in ((begin, middle), (middle, n)):
            of_part = reader.sums(start, stop)
            sums = in_double(of_part) if sums is None else added(of_part, sums)
        solved.append(Solved.of(sums, TAIL, n, torch.float64))
    theta = pool.x @ pool.x.mT + TAIL * torch.eye(N, dtype=torch.float64)
    factored = factor(theta)
    assert factored.relative_jitter == 1e-10
    z = reader.targets(pool, torch.float64)
    targets = sweep.Targets(
        z.effective,
        z.teacher,
        reference_logits(pool.labels, request.param),
        pool.decisions,
        pool.labels,
        Copies.none(N),
    )
    students = sweep.Students.of(factored, targets, SIZES)
    return solved, students, reader, pool, test


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_predictions_and_power_are_the_dense_ones(both):
    solved, students, _, pool, test = both
    between = solve(students.factored, pool.x @ test.x.mT)
    prior = Linear().prior(test.x)
    dense = walk(students.factored, students.solution.flatten(1), between, prior, SIZES)
    seen = Seen.of(Linear(), test.x)
    for own, (_, mean, variance) in zip(solved, dense.sizes, strict=True):
        close(own.logits(seen).flatten(1), mean)
        close(own.variance(seen), variance)


def test_norms_gram_matrices_and_angles_are_the_dense_ones(both):
    solved, students, *_ = both
    expected = sweep.of_ordering(students)
    for k, (own, stage) in enumerate(zip(solved, students.stages, strict=True)):
        close(trace(own.gram), stage.squared_norm)
        close(solved[-1].gram - own.gram, stage.missing)
        for name, values in vars(own.cosines()).items():
            close(values, expected[f"cos_{name}"][..., k])


def test_left_out_samples_are_the_dense_ones(both):
    solved, students, reader, pool, _ = both
    left_out = sweep.LeftOut.of(students, inverse_diagonal(students.factored))
    z = reader.targets(pool, torch.float64).effective
    close(solved[-1].left_out(pool.x, z), left_out.logits)
