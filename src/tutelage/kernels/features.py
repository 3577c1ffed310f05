"""The tangent features of a network, layer by layer: the gradients whose inner products are its
kernel.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.data.inputs import Inputs, joined, length, rows
from tutelage.exceptions import StudentError
from tutelage.kernels.batch import LOOSE, Batch, Layer, check_finite, tolerance, weights_of_chance
from tutelage.kernels.gradients import rule_of
from tutelage.kernels.network import Call, Network, NotALayerError

_BATCH = 256  # samples that go through the network at once
_TRIED = 6  # samples that layers are tried on
_PANEL = 1024  # rows of a kernel that are added to at once


@dataclass(frozen=True)
class Features:
    """The features of one layer: `right`, or its Kronecker product with `left` for a dense layer.

    Attributes
    ----------
    left : Tensor of shape (n, inputs), optional
        What went into a dense layer, with a 1 for its bias.
    right : Tensor of shape (n, outputs, q)
    """

    left: Tensor | None
    right: Tensor

    def add_to(self, kernel: Tensor, other: "Features", *, lower: bool) -> None:
        """Add the inner products to Θ of shape (n1, n2), summed over outputs; or only below the
        diagonal.

        A dense layer's gradient is the outer product of its input and of the gradient at its
        output, so that its kernel is the elementwise product of two Gram matrices.
        """
        right, other_right = self.right.flatten(1), other.right.flatten(1)
        for start in range(0, len(kernel), _PANEL):
            part = slice(start, start + _PANEL)
            columns = slice(0, start + _PANEL) if lower else slice(None)
            if self.left is None or other.left is None:
                kernel[part, columns].addmm_(right[part], other_right[columns].mT)
            else:
                inputs = self.left[part] @ other.left[columns].mT
                kernel[part, columns].addcmul_(inputs, right[part] @ other_right[columns].mT)

    def add_blocks_to(self, kernel: Tensor, other: "Features") -> None:
        """Add all blocks of outputs to Θ of shape (n1, n2, C, C)."""
        blocks = torch.einsum("iap,jbp->ijab", self.right, other.right)
        if self.left is not None and other.left is not None:
            blocks *= (self.left @ other.left.mT)[:, :, None, None]
        kernel += blocks

    def diagonal(self, *, full: bool) -> Tensor:
        """Each sample with itself: (n,), or (n, C, C) with all blocks."""
        found = (
            torch.einsum("iap,ibp->iab", self.right, self.right)
            if full
            else self.right.square().sum((1, 2))
        )
        if self.left is None:
            return found
        length = self.left.square().sum(1)
        return found * (length[:, None, None] if full else length)


def layered(network: Network, x: Inputs, *others: Inputs) -> tuple[Network, list[Layer]]:
    """Try the network on a few samples, to see which of its modules are layers and how large their
    features are.

    Where the calls of a module do not explain the gradient of its parameters, these are among the
    loose ones, which are always right. That is so where they are used elsewhere, too, where the
    module is of a kind of its own, or where its first axis is not the samples'. That a module
    passes here does not mean that it is trusted: `collect` checks every batch.

    Raises
    ------
    StudentError
        If the network's logits for one sample depend on others.
    """
    trial = _trial(x, *others)
    together = check_independent(network, trial)
    mixed = weights_of_chance(together.shape[1], together)
    while True:
        try:
            logits, calls = network.record(trial)
            found = [_layer(name, layer, calls[name]) for name, layer in network.layers.items()]
            Batch.of(network, trial, logits, calls, found, [mixed]).checked()
            break
        except NotALayerError as error:
            network = network.loosened(error.names)
    return network, [*found, loose(network)] if network.loose else found


def loose(network: Network) -> Layer:
    """What stands for the parameters that no layer explains."""
    return Layer(LOOSE, False, 0, sum(p.numel() for p in network.loose.values()))


def _trial(x: Inputs, *others: Inputs) -> Inputs:
    """A few samples of all inputs, in an order of chance."""
    generator = torch.Generator().manual_seed(0)
    parts = [
        rows(part, torch.randperm(length(part), generator=generator)[:_TRIED])
        for part in (x, *others)
    ]
    try:
        together = joined(parts)
    except RuntimeError:  # padded to another length
        return parts[0]
    return rows(together, torch.randperm(length(together), generator=generator)[:_TRIED])


def check_independent(network: Network, trial: Inputs) -> Tensor:
    """Give the logits of a few samples, or raise a `StudentError` where those of one depend on the
    others.
    """
    with torch.enable_grad():  # what a module computes and keeps has to have a gradient later
        together = network(trial).detach()
    check_finite(together, "logits")
    for i in range(length(trial)):
        _check_alone(network, trial, together, i)
    return together


def _check_alone(network: Network, batch: Inputs, together: Tensor, i: int) -> None:
    """That a sample's logits are the same without the others of its batch."""
    alone = None
    with (
        torch.enable_grad(),
        suppress(StudentError),
    ):  # batch statistics do without no others at all
        alone = network(rows(batch, slice(i, i + 1)))[0].detach()
    allowed, together = tolerance(together.dtype), together.detach()
    scale = float(together.abs().max())
    if alone is None or not torch.allclose(
        together[i], alone, rtol=allowed, atol=allowed * scale, equal_nan=True
    ):
        raise StudentError(
            "The network's logits for a sample depend on the others of its batch, or on chance,"
            " even in evaluation mode; its kernel is that of single samples. Look for batch"
            " statistics (track_running_stats=False) or dropout that is always on."
        )


def collect(
    network: Network,
    x: Inputs,
    layers: Sequence[Layer],
    heads: Tensor,
    projected: int | None,
    seed: int,
    room: float,
    factors: Sequence[tuple[Tensor | None, Tensor | None]],
) -> list[Features]:
    """Give the features of some layers for some combinations of the logits, heads (k, C), a batch
    of samples at a time; `room` numbers fit in a batch. Of each layer, inputs and gradients are
    multiplied by its factors.
    """
    n, like = length(x), next(network.module.parameters()).detach()
    sizes = [
        layer.per_output if layer.dense or projected is None else min(layer.per_output, projected)
        for layer in layers
    ]
    rights = [like.new_empty(n, len(heads), size) for size in sizes]
    lefts = [like.new_empty(n, layer.once) if layer.dense else None for layer in layers]
    sketches = [_Sketch.of(layer, size, seed) for layer, size in zip(layers, sizes, strict=True)]
    step = max(1, min(_BATCH, int(room / (4 * sum(layer.per_output for layer in layers) + 1))))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        given = rows(x, part)
        logits, calls = network.record(given)
        _check_alone(network, given, logits, start % len(logits))
        batch = Batch.of(network, given, logits, calls, layers, list(heads))
        for layer, left, (times, _) in zip(layers, lefts, factors, strict=True):
            if left is not None:
                left[part] = _scaled(batch.lefts[layer.name], times)
        for k, found in enumerate(batch.rows()):
            for right, sketch, row, (_, times) in zip(
                rights, sketches, found, factors, strict=True
            ):
                right[part, k] = sketch(_scaled(row, times))
        batch.checked()
    return [Features(left, right) for left, right in zip(lefts, rights, strict=True)]


def _scaled(features: Tensor, factor: Tensor | None) -> Tensor:
    return features if factor is None else features * factor


def _layer(name: str, module: nn.Module, calls: list[Call]) -> Layer:
    trainable = {key: p for key, p in module.named_parameters() if p.requires_grad}
    if rule_of(module) is nn.Linear and len(calls) == 1 and calls[0].inputs[0].ndim == 2:
        assert isinstance(module, nn.Linear)
        inputs = (module.in_features if "weight" in trainable else 0) + ("bias" in trainable)
        return Layer(name, True, inputs, module.out_features)
    return Layer(name, False, 0, sum(p.numel() for p in trainable.values()))


@dataclass(frozen=True)
class _Sketch:
    """A sparse Johnson-Lindenstrauss map: every parameter goes to one bucket, with a sign.

    Inner products are kept on average, with a standard error of about √(2/D) of the lengths'
    product. Weinberger et al., *Feature hashing*, ICML 2009; Kane and Nelson, *Sparser
    Johnson-Lindenstrauss transforms*, JACM 2014.
    """

    buckets: Tensor | None
    signs: Tensor | None
    size: int

    @classmethod
    def of(cls, layer: Layer, size: int, seed: int) -> "_Sketch":
        if layer.dense or size == layer.per_output:
            return cls(None, None, size)
        # The layer's name goes into the seed, so that it does not matter which layers share a pass.
        generator = torch.Generator().manual_seed(seed * 1_000_003 + sum(map(ord, layer.name)))
        buckets = torch.randint(size, (layer.per_output,), generator=generator)
        signs = 2.0 * torch.randint(2, (layer.per_output,), generator=generator) - 1
        return cls(buckets, signs, size)

    def __call__(self, gradients: Tensor) -> Tensor:
        if self.buckets is None or self.signs is None:
            return gradients
        result = gradients.new_zeros(len(gradients), self.size)
        return result.index_add_(
            1, self.buckets.to(gradients.device), gradients * self.signs.to(gradients)
        )
