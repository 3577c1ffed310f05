"""The wide fully-connected student in closed form."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.exceptions import StudentError
from tutelage.kernels.activations import activation

_DEEPEST = 1000
_BLOCK = 512  # rows and columns of a block: a few buffers of this size stay in a core's cache


@dataclass(frozen=True)
class DenseKernel:
    """Neural tangent kernel of an infinitely wide fully-connected student; see `mlp`."""

    depth: int
    activation: str
    weight_var: float
    bias_var: float

    def __post_init__(self) -> None:
        activation(self.activation)
        if not 0 <= self.depth <= _DEEPEST:
            raise StudentError(
                f"An MLP's depth counts its hidden layers, so it lies in 0 … {_DEEPEST}; it was {self.depth}."
            )
        if not (0 < self.weight_var < inf and 0 <= self.bias_var < inf):
            raise StudentError(
                f"An MLP's weight_var is positive and its bias_var at least 0, both finite; they were {self.weight_var:g} "
                f"and {self.bias_var:g}."
            )

    @property
    def spec(self) -> str:
        """The student as a SPEC, in full."""
        return (
            f"mlp:depth={self.depth},activation={self.activation},weight_var={self.weight_var:g},"
            f"bias_var={self.bias_var:g},width=inf"
        )

    @torch.no_grad()
    def __call__(
        self, x1: Float[Tensor, "n1 ..."], x2: Float[Tensor, "n2 ..."] | None = None
    ) -> Float[Tensor, "n1 n2"]:
        """Θ(x1, x2), block by block; of Θ(x1, x1) only the lower half is computed."""
        rows = x1.flatten(1)
        columns = rows if x2 is None else x2.flatten(1)
        kernel = torch.empty(len(rows), len(columns), dtype=rows.dtype, device=rows.device)
        row_variances = self._variances(rows)
        column_variances = row_variances if x2 is None else self._variances(columns)
        for i, j in _blocks(len(rows), len(columns), symmetric=x2 is None):
            covariance = self._affine(rows[i] @ columns[j].mT, rows.shape[1])
            block = self._propagate(
                covariance, [q[i, None] for q in row_variances], [q[None, j] for q in column_variances]
            )
            kernel[i, j] = block
            if x2 is None:
                kernel[j, i] = block.mT if i != j else block.tril() + block.tril(-1).mT
        if x2 is None:
            kernel.diagonal().copy_(self._diag(row_variances))
        return kernel

    @torch.no_grad()
    def diag(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Θ(x, x) of each input."""
        return self._diag(self._variances(x.flatten(1)))

    def _diag(self, variances: list[Tensor]) -> Tensor:
        return self._propagate(variances[0].clone(), variances, variances)

    def _affine(self, covariance: Tensor, fan_in: int = 1) -> Tensor:
        bias = covariance.new_tensor(self.bias_var)
        return torch.add(bias, covariance, alpha=self.weight_var / fan_in, out=covariance)

    def _variances(self, rows: Tensor) -> list[Tensor]:
        """The variance of each input's pre-activations, layer by layer."""
        dual = activation(self.activation)
        variances = [self._affine(torch.linalg.vector_norm(rows, dim=1).square(), rows.shape[1])]
        for _ in range(self.depth):
            q = variances[-1]
            variances.append(self._affine(dual(q.clone(), q, q)[0]))
        return variances

    def _propagate(self, covariance: Tensor, q1: list[Tensor], q2: list[Tensor]) -> Tensor:
        dual = activation(self.activation)
        tangent = covariance.clone()
        for layer in range(self.depth):
            value, derivative = dual(covariance, q1[layer], q2[layer])
            covariance = self._affine(value)
            torch.addcmul(covariance, tangent, derivative, value=self.weight_var, out=tangent)
        return tangent


def mlp(depth: int = 3, activation: str = "relu", weight_var: float = 2.0, bias_var: float = 0.1) -> DenseKernel:
    """Give the kernel of an infinitely wide fully-connected student, in closed form.

    In NTK parameterisation, with fan-in scaling, in the limit of infinite width:

        Σ⁰ = σ_w² xᵀx'/d + σ_b²,   Σˡ = σ_w² E[a(u) a(v)] + σ_b²,
        Θ⁰ = Σ⁰,                   Θˡ = Σˡ + σ_w² E[a'(u) a'(v)] Θˡ⁻¹,   (u, v) ~ N(0, Σˡ⁻¹).

    Parameters
    ----------
    depth : int
        Number of hidden layers; the readout comes on top. 0 is a linear student.
    activation : {"relu", "erf", "gelu", "identity"}
    weight_var, bias_var : float
        σ_w² and σ_b².

    Returns
    -------
    DenseKernel
        Callable on inputs (n, ...), which it flattens; float32 or float64 as they are.

    Raises
    ------
    StudentError
        If an argument lies outside its range.

    References
    ----------
    Jacot, Gabriel and Hongler, *Neural Tangent Kernel*, NeurIPS 2018; Lee et al., *Wide Neural
    Networks of Any Depth Evolve as Linear Models*, NeurIPS 2019.

    Examples
    --------
    >>> import torch
    >>> kernel = mlp(depth=1, bias_var=0.0)
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> kernel(x).round(decimals=4)
    tensor([[2.0000, 0.3183],
            [0.3183, 2.0000]], dtype=torch.float64)
    """
    return DenseKernel(int(depth), activation, float(weight_var), float(bias_var))


def _blocks(n_rows: int, n_columns: int, *, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    for start in range(0, n_rows, _BLOCK):
        rows = slice(start, min(start + _BLOCK, n_rows))
        for other in range(0, rows.stop if symmetric else n_columns, _BLOCK):
            yield rows, slice(other, min(other + _BLOCK, n_columns))
