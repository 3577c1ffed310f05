"""One factorisation gives every student (docs/theory.md §3).

`factor` once, then `solve` for any targets: each row of the solution U = L⁻¹ Z belongs to one
sample of the ordering, and sums over its first n rows are the student of the first n samples.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.exceptions import NumericsError
from tutelage.progress import Progress, silent
from tutelage.theory.stage import Walk

_BLOCK = 384  # not a power of two: rows that far apart would share cache sets
_CACHED = 1 << 18  # numbers whose products stay near a core's cache
_FIRST_JITTER, _LAST_JITTER = 1e-10, 1e-2
_REDUNDANT = 10.0


@dataclass(frozen=True)
class Factor:
    """The Cholesky factor of Θ + λI.

    Attributes
    ----------
    lower : Tensor of shape (N, N)
        L, in its lower triangle. What stands above the diagonal is not part of the factor.
    jitter : float
        λ, the same absolute number for every n.
    relative_jitter : float
        λ over the mean of Θ's diagonal.
    """

    lower: Tensor
    jitter: float
    relative_jitter: float

    def __len__(self) -> int:
        return len(self.lower)

    def leading(self, n: int) -> "Factor":
        """The factor of the first n samples."""
        return Factor(self.lower[:n, :n], self.jitter, self.relative_jitter)

    @property
    def diagonal(self) -> Float[Tensor, " N"]:
        """Of L."""
        return self.lower.diagonal()

    @property
    def redundant(self) -> int:
        """Samples whose features those before them span, up to the jitter: only it tells them
        apart.
        """
        return redundant(self.diagonal, self.jitter)

    def forward(self, rhs: Float[Tensor, "N columns"]) -> Float[Tensor, "N columns"]:
        """L⁻¹ of the right-hand side, in place."""
        return _forward(self.lower, rhs)

    def backward(self, rhs: Float[Tensor, "N columns"]) -> Float[Tensor, "N columns"]:
        """L⁻ᵀ of the right-hand side, in place."""
        for start in reversed(range(0, len(self.lower), _BLOCK)):
            rows, rest = slice(start, start + _BLOCK), slice(start + _BLOCK, None)
            rhs[rows].addmm_(self.lower[rest, rows].mT, rhs[rest], alpha=-1)
            rhs[rows] = torch.linalg.solve_triangular(
                self.lower[rows, rows].mT, rhs[rows], upper=True
            )
        return rhs

    def columns(self, start: int, stop: int) -> Iterator[tuple[slice, Float[Tensor, "N width"]]]:
        """Some columns of L, in as many pieces as is convenient; what is above the diagonal is not
        set.
        """
        yield slice(start, stop), self.lower[:, start:stop]

    def inverse_diagonal(self, progress: Progress) -> Float[Tensor, " N"]:
        """Of (L Lᵀ)⁻¹, a block of columns of L⁻¹ at a time."""
        result = self.lower.new_empty(len(self))
        with progress("leave-one-out", len(self)) as advance:
            for start in range(0, len(self), _BLOCK):
                rows = slice(start, min(start + _BLOCK, len(self)))
                columns = self.lower.new_zeros(len(self) - start, rows.stop - start)
                columns.diagonal().fill_(1)
                _forward(self.lower[start:, start:], columns)  # zero above `start`
                result[rows] = columns.square_().sum(0)
                advance(rows.stop - start)
        return result


@runtime_checkable
class Factored(Protocol):
    """What the theory needs of a factor, dense here or in tiles in `tutelage.solve`; see
    `Factor`.
    """

    @property
    def jitter(self) -> float:
        """λ."""

    @property
    def relative_jitter(self) -> float:
        """λ over the mean of Θ's diagonal."""

    @property
    def diagonal(self) -> Float[Tensor, " N"]:
        """Of L."""

    @property
    def redundant(self) -> int:
        """Samples that only the jitter tells from those before them."""

    def __len__(self) -> int:
        """N."""

    def leading(self, n: int) -> "Factored":
        """The factor of the first n samples."""

    def forward(self, rhs: Float[Tensor, "N columns"]) -> Float[Tensor, "N columns"]:
        """L⁻¹ of the right-hand side, which may be overwritten."""

    def backward(self, rhs: Float[Tensor, "N columns"]) -> Float[Tensor, "N columns"]:
        """L⁻ᵀ of the right-hand side, which may be overwritten."""

    def columns(self, start: int, stop: int) -> Iterator[tuple[slice, Float[Tensor, "N width"]]]:
        """Some columns of L, in pieces; what is above the diagonal may be anything finite."""

    def inverse_diagonal(self, progress: Progress) -> Float[Tensor, " N"]:
        """Of (L Lᵀ)⁻¹."""


def redundant(diagonal: Float[Tensor, " N"], jitter: float) -> int:
    """Count the pivots that the jitter alone keeps from zero."""
    return int((diagonal.square() <= _REDUNDANT * jitter).sum())


def factor(
    kernel: Float[Tensor, "N N"], *, overwrite: bool = False, progress: Progress = silent
) -> Factor:
    """Factor Θ + λI = L Lᵀ with the smallest jitter λ that succeeds.

    Parameters
    ----------
    kernel : Tensor of shape (N, N)
        Θ of the pool in its ordering, symmetric.
    overwrite : bool
        Factor in place: `kernel` then holds L below and on its diagonal, and no second matrix is
        made.
    progress : Progress
        Told of the samples factored.

    Returns
    -------
    Factor
        With λ = ε · mean diag Θ, ε from 1e-10 upward in decades.

    Raises
    ------
    NumericsError
        If the kernel is not finite, or even ε = 1e-2 does not make it positive definite.

    Examples
    --------
    >>> import torch
    >>> factored = factor(torch.tensor([[4.0, 2.0], [2.0, 5.0]], dtype=torch.float64))
    >>> solve(factored, torch.tensor([[2.0], [5.0]], dtype=torch.float64)).T.round(decimals=6)
    tensor([[1., 2.]], dtype=torch.float64)
    """
    diagonal, lower = kernel.diagonal().clone(), kernel if overwrite else kernel.clone()
    for relative, jitter in jitters(diagonal):
        lower.diagonal().copy_(diagonal + jitter)
        if jitter > 0 and _cholesky_in_place(lower, progress):
            return Factor(lower, jitter, relative)
        _restore_lower(lower)
    raise AssertionError  # jitters ends with an error of its own


def jitters(diagonal: Float[Tensor, " N"]) -> Iterator[tuple[float, float]]:
    """Try ε from 1e-10 upward in decades: ε and λ = ε · mean diag Θ, until one of them is taken.

    Raises
    ------
    NumericsError
        If the diagonal is not finite, or none was taken.
    """
    if not bool(torch.isfinite(diagonal).all()):
        raise NumericsError(
            "The kernel holds values that are NaN or infinite; look at the student's weights and"
            " inputs."
        )
    mean, relative = float(diagonal.mean()), _FIRST_JITTER
    while relative <= _LAST_JITTER:
        yield relative, relative * mean
        relative *= 10
    raise NumericsError(
        f"The kernel of {len(diagonal)} samples is not positive definite, even with"
        f" {_LAST_JITTER:g} of its mean diagonal ({mean:g}) added. Look for inputs that are all"
        " alike, or use float64."
    )


def reordered(kernel: Float[Tensor, "N N"], order: Int[Tensor, " N"]) -> Float[Tensor, "N N"]:
    """Give Θ with its samples in another order, without a second temporary of its size."""
    result = torch.empty_like(kernel)
    for start in range(0, len(kernel), _BLOCK):
        rows = slice(start, start + _BLOCK)
        torch.index_select(kernel[order[rows]], 1, order, out=result[rows])
    return result


def solve(
    factor: Factored, targets: Float[Tensor, "N columns"], *, overwrite: bool = False
) -> Float[Tensor, "N columns"]:
    """Give U = L⁻¹ Z, each setting and class a column: the standardised one-step-ahead residuals.

    Parameters
    ----------
    factor : Factor
        Of N samples.
    targets : Tensor of shape (N, columns)
        Effective logits, or the kernel between pool and test inputs (then the result is V).
    overwrite : bool
        Solve in place of `targets`.

    Returns
    -------
    Tensor of shape (N, columns)
    """
    return factor.forward(
        targets if overwrite else targets.clone(memory_format=torch.contiguous_format)
    )


def coefficients(
    factor: Factored, solution: Float[Tensor, "N columns"]
) -> Float[Tensor, "N columns"]:
    """Give Θ⁻¹Z = L⁻ᵀ U, the weight of each sample in the student of the whole pool, (3.1)."""
    return factor.backward(solution.clone())


Solver = Callable[[int], Callable[[Tensor], Tensor]]
"""From n to what gives Θ_n⁻¹ Z of a Z with n rows."""


def solver(factor: Factored) -> Solver:
    """Give the solves with the leading blocks of what was factored."""

    def leading(n: int) -> Callable[[Tensor], Tensor]:
        first = factor.leading(n)
        return lambda rhs: coefficients(first, solve(first, rhs))

    return leading


def inverse_diagonal(factor: Factored, *, progress: Progress = silent) -> Float[Tensor, " N"]:
    """Give diag Θ⁻¹, all that leave-one-out needs of the inverse."""
    return factor.inverse_diagonal(progress)


def one_step_ahead(
    factor: Factored, solution: Float[Tensor, "N columns"], targets: Float[Tensor, "N columns"]
) -> Float[Tensor, "N columns"]:
    """Predict each sample from those before it in the ordering, (3.5)."""
    return torch.addcmul(targets, factor.diagonal[:, None], solution, value=-1)


def leave_one_out(
    coefficients: Float[Tensor, "N columns"],
    inverse_diagonal: Float[Tensor, " N"],
    targets: Float[Tensor, "N columns"],
) -> Float[Tensor, "N columns"]:
    """Predict each sample from all the others, (3.6)."""
    return torch.addcdiv(targets, coefficients, inverse_diagonal[:, None], value=-1)


def squared_norms(
    solution: Float[Tensor, "N *columns"], sizes: list[int]
) -> Float[Tensor, "sizes *columns"]:
    """Give ‖Δŵ_n‖² of every column at every size: (sizes, columns), (3.2)."""
    return inner_products(solution, solution, sizes)


def inner_products(
    left: Float[Tensor, "N *columns"], right: Float[Tensor, "N *#columns"], sizes: list[int]
) -> Float[Tensor, "sizes *columns"]:
    """Give Δŵ_n^a · Δŵ_n^b of paired columns at every size: (sizes, columns), (3.2)."""
    step = max(1, _CACHED // max(1, left[0].numel()))

    def of_part(part: slice) -> Tensor:
        blocks = (
            slice(start, min(start + step, part.stop))
            for start in range(part.start, part.stop, step)
        )
        sums = ((left[rows] * right[rows]).sum(0) for rows in blocks)
        return sum(sums, start=next(sums))

    return _cumulative(of_part, sizes)


def gram_matrices(
    solution: Float[Tensor, "N *settings C"], sizes: list[int]
) -> Float[Tensor, "sizes *settings C C"]:
    """Give the Gram matrices of the weights over the last axis: (n, ..., C) -> (sizes, ..., C, C),
    (3.2).
    """
    return _cumulative(
        lambda part: torch.einsum("i...c,i...k->...ck", solution[part], solution[part]), sizes
    )


def _cumulative(of_part: Callable[[slice], Tensor], sizes: list[int]) -> Tensor:
    """Sums over the first n rows, from those over the rows from each size to the next."""
    found: list[Tensor] = []
    for start, n in pairwise((0, *sizes)):
        part = of_part(slice(start, n))
        found.append(part if start == 0 else found[-1] + part)
    return torch.stack(found)


def predictions(
    solution: Float[Tensor, "N columns"],
    test_solution: Float[Tensor, "N M"],
    prior: Float[Tensor, " M"],
    sizes: list[int],
) -> Iterator[tuple[int, Float[Tensor, "M columns"], Float[Tensor, " M"]]]:
    """Walk through the sizes with each student's predictions and power function.

    Parameters
    ----------
    solution : Tensor of shape (N, columns)
        U = L⁻¹ Z.
    test_solution : Tensor of shape (N, M)
        V = L⁻¹ K(pool, test).
    prior : Tensor of shape (M,)
        Θ(x, x) of the test inputs.
    sizes : list of int
        Ascending.

    Yields
    ------
    n : int
    predictions : Tensor of shape (M, columns)
        f̂_n, (3.3); the same memory each time.
    variance : Tensor of shape (M,)
        σ_n², (3.4), kept at or above 0.
    """
    mean, variance, start = (
        solution.new_zeros(test_solution.shape[1], solution.shape[1]),
        prior.clone(),
        0,
    )
    for n in sizes:
        mean.addmm_(test_solution[start:n].mT, solution[start:n])
        variance -= test_solution[start:n].square().sum(0)
        yield n, mean, variance.clamp_min(0)
        start = n


def walk(
    factor: Factored,
    solution: Float[Tensor, "N columns"],
    test_solution: Float[Tensor, "N M"],
    prior: Float[Tensor, " M"],
    sizes: list[int],
) -> Walk:
    """Give the walk of `predictions`, from V."""

    def interpolate(n: int, learned: Tensor) -> Tensor:
        on_pool = learned.to(test_solution.dtype)
        return test_solution[:n].mT @ solve(factor.leading(n), on_pool, overwrite=True)

    last = test_solution.mT @ solution
    return Walk(last, predictions(solution, test_solution, prior, sizes), interpolate)


def walk_in_parts(
    factor: Factored,
    solution: Float[Tensor, "N columns"],
    parts: Callable[[], Iterable[Float[Tensor, "N m"]]],
    prior: Float[Tensor, " M"],
    sizes: list[int],
) -> Walk:
    """Give the same from parts of K(pool, test), so that V is never there as a whole; the last size
    has to be N.
    """
    means = solution.new_empty(len(sizes), len(prior), solution.shape[1])
    variances, start = prior.new_empty(len(sizes), len(prior)), 0
    for part in parts():
        rows = slice(start, start := start + part.shape[1])
        test_solution = solve(factor, part, overwrite=True)
        for k, (_, mean, variance) in enumerate(
            predictions(solution, test_solution, prior[rows], sizes)
        ):
            means[k, rows], variances[k, rows] = mean, variance

    def interpolate(n: int, learned: Tensor) -> Tensor:
        leading = factor.leading(n)
        weights = coefficients(leading, solve(leading, learned.to(solution.dtype)))
        return torch.cat([part[:n].mT @ weights for part in parts()])

    return Walk(means[-1], zip(sizes, means, variances, strict=True), interpolate)


def pool_predictions(
    factor: Factored,
    solution: Float[Tensor, "N columns"],
    prior: Float[Tensor, " N"],
    sizes: list[int],
) -> Iterator[tuple[int, Float[Tensor, "N columns"], Float[Tensor, " N"]]]:
    """Walk as `predictions` does, on the pool itself: row i of its V is column i of L. Only samples
    from n on are predicted.
    """
    mean, variance, start = torch.zeros_like(solution), prior.clone(), 0
    for n in sizes:
        for columns, lower in factor.columns(start, n):
            mean.addmm_(lower, solution[columns])
            variance -= lower.square().sum(1)
        yield n, mean, variance.clamp_min(0)
        start = n


def _forward(lower: Tensor, rhs: Tensor) -> Tensor:
    for start in range(0, len(lower), _BLOCK):
        rows = slice(start, start + _BLOCK)
        rhs[rows].addmm_(lower[rows, :start], rhs[:start], alpha=-1)
        rhs[rows] = torch.linalg.solve_triangular(lower[rows, rows], rhs[rows], upper=False)
    return rhs


def _cholesky_in_place(a: Tensor, progress: Progress) -> bool:
    """Left-looking blocked Cholesky of the lower triangle; above the diagonal nothing is
    touched.
    """
    n = len(a)
    with progress("factor", n) as advance:
        for start in range(0, n, _BLOCK):
            rows = slice(start, min(start + _BLOCK, n))
            below = slice(rows.stop, n)
            block = a[rows, rows].tril()
            block -= a[rows, :start] @ a[rows, :start].mT
            block, failed = torch.linalg.cholesky_ex(block)
            if bool(failed) or not bool(torch.isfinite(block.diagonal()).all()):
                return False
            a[rows, rows] = block + a[rows, rows].triu(1)
            a[below, rows].addmm_(a[below, :start], a[rows, :start].mT, alpha=-1)
            a[below, rows] = torch.linalg.solve_triangular(
                block.mT, a[below, rows], upper=True, left=False
            )
            advance(rows.stop - start)
    return True


def _restore_lower(a: Tensor) -> None:
    """Copy the untouched upper triangle back over a failed factor."""
    for start in range(0, len(a), _BLOCK):
        rows, below = slice(start, start + _BLOCK), slice(start + _BLOCK, None)
        a[below, rows] = a[rows, below].mT
        a[rows, rows] = a[rows, rows].triu() + a[rows, rows].triu(1).mT
