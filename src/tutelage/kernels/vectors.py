"""Covariances of pairs of vectors through dense layers, on any device of torch."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.exceptions import StudentError
from tutelage.kernels.activations import Activation
from tutelage.kernels.layers import Dense, Flatten, Layer, Normalise, Residual
from tutelage.progress import Advance

BLOCK = 512  # rows and columns of a block: a few buffers of this size stay in a core's cache


def dense_layers(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Leave out what only shapes vectors, and refuse what needs images.

    Raises
    ------
    StudentError
        If a layer takes images.
    """
    for layer in layers:
        for inner in (*layer.branch, *layer.shortcut) if isinstance(layer, Residual) else (layer,):
            if not isinstance(inner, Dense | Activation | Residual | Flatten | Normalise):
                raise StudentError(
                    f"A {type(inner).__name__} layer takes images, and the inputs are vectors here;"
                    " give images (samples, channels, height, width), or a student for vectors,"
                    " such as mlp or resmlp."
                )
    return tuple(layer for layer in layers if not isinstance(layer, Flatten | Normalise))


def variances(layers: tuple[Layer, ...], x: Float[Tensor, "n d"]) -> list[Tensor]:
    """Give the variance of each input at every activation, in the order that they are met in."""
    found: list[Tensor] = []
    _propagate(layers, _squares(x), None, found, None)
    return found


def pairs(
    layers: tuple[Layer, ...],
    x1: Float[Tensor, "n1 d"],
    x2: Float[Tensor, "n2 d"] | None,
    advance: Advance,
    *,
    ntk: bool,
) -> Float[Tensor, "n1 n2"]:
    """Give NTK or NNGP of all pairs; without x2 of x1 with itself, of which the lower half is
    computed.
    """
    columns = x1 if x2 is None else x2
    kernel = torch.empty(len(x1), len(columns), dtype=x1.dtype, device=x1.device)
    own = variances(layers, x1)
    others = own if x2 is None else variances(layers, x2)
    for i, j in blocks(len(x1), len(columns), BLOCK, symmetric=x2 is None):
        covariance = (x1[i] @ columns[j].mT).div_(x1.shape[1])
        block = _of(
            ntk,
            _propagate(
                layers, covariance, None, (q[i, None] for q in own), (q[None, j] for q in others)
            ),
        )
        kernel[i, j] = block
        if x2 is None:
            kernel[j, i] = block.mT if i != j else block.tril() + block.tril(-1).mT
        height, across = i.stop - i.start, j.stop - j.start
        advance(height * (height + 1) / 2 if x2 is None and i == j else height * across)
    if x2 is None:
        kernel.diagonal().copy_(_diagonals(layers, own, x1, ntk=ntk))
    return kernel


def diagonals(layers: tuple[Layer, ...], x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Give Θ of each input with itself."""
    return _diagonals(layers, variances(layers, x), x, ntk=True)


def _diagonals(layers: tuple[Layer, ...], q: list[Tensor], x: Tensor, *, ntk: bool) -> Tensor:
    return _of(ntk, _propagate(layers, _squares(x), None, iter(q), iter(q)))


def _squares(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1).square() / x.shape[1]


def _of(ntk: bool, found: tuple[Tensor, Tensor | None]) -> Tensor:
    k, t = found
    if not ntk:
        return k
    assert t is not None
    return t


def _propagate(
    layers: tuple[Layer, ...],
    k: Tensor,
    t: Tensor | None,
    q1: Iterator[Tensor] | list[Tensor],
    q2: Iterator[Tensor] | None,
) -> tuple[Tensor, Tensor | None]:
    """Without q2, k are variances themselves, which are kept in the list q1."""
    slope: Tensor | None = (
        None  # E[φ'φ'], until it is multiplied with t, which a Dense does in one go
    )
    for layer in layers:
        if isinstance(layer, Dense):
            bias = k.new_tensor(layer.bias_var)
            k = torch.add(bias, k, alpha=layer.weight_var, out=k)
            if t is None:
                t = k.clone()
            elif slope is None:
                t = torch.add(k, t, alpha=layer.weight_var, out=t)
            else:
                t, slope = torch.addcmul(k, t, slope, value=layer.weight_var, out=t), None
        elif isinstance(layer, Activation):
            if isinstance(q1, list):
                q1.append(k)
                k, slope = layer.dual(k.clone(), k, k)
            else:
                assert q2 is not None
                k, slope = layer.dual(k, next(q1), next(q2))
        else:
            assert isinstance(layer, Residual)
            t, slope = t if t is None or slope is None else t.mul_(slope), None
            kept_k, kept_t = k.clone(), None if t is None else t.clone()
            k, t = _propagate(layer.branch, k, t, q1, q2)
            kept_k, kept_t = _propagate(layer.shortcut, kept_k, kept_t, q1, q2)
            k = k + kept_k
            t = t if kept_t is None else kept_t if t is None else t + kept_t
    return k, t if t is None or slope is None else t.mul_(slope)


def blocks(
    n_rows: int, n_columns: int, size: int, *, symmetric: bool
) -> Iterator[tuple[slice, slice]]:
    """Cut a matrix, or the lower half of one, into blocks."""
    for start in range(0, n_rows, size):
        rows = slice(start, min(start + size, n_rows))
        for other in range(0, rows.stop if symmetric else n_columns, size):
            yield rows, slice(other, min(other + size, n_columns))
