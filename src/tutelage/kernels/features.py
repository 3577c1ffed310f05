"""The tangent features of a network, layer by layer: the gradients whose inner products are its kernel."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.exceptions import NumericsError, StudentError
from tutelage.kernels.gradients import parameter_gradients, prepared, rule_of
from tutelage.kernels.network import Call, Inputs, Network, NotALayerError, length, rows

_BATCH = 256  # samples that go through the network at once
_TRIED = 6  # samples that layers are tried on
_PANEL = 1024  # rows of a kernel that are added to at once
LOOSE = "shared parameters"  # stands for the parameters that no layer explains


@dataclass(frozen=True)
class Layer:
    """A layer and what its features take: numbers per sample, once and for each output."""

    name: str
    dense: bool
    once: int
    per_output: int


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
        """Add the inner products to Θ of shape (n1, n2), summed over outputs; or only below the diagonal.

        A dense layer's gradient is the outer product of its input and of the gradient at its output, so
        that its kernel is the elementwise product of two Gram matrices.
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
        found = torch.einsum("iap,ibp->iab", self.right, self.right) if full else self.right.square().sum((1, 2))
        if self.left is None:
            return found
        length = self.left.square().sum(1)
        return found * (length[:, None, None] if full else length)


def layered(network: Network, x: Inputs, *others: Inputs) -> tuple[Network, list[Layer]]:
    """Try the network on a few samples, to see which of its modules are layers and how large their features are.

    A module whose calls do not explain the gradient of its parameters (they are used elsewhere, too, it is of a
    kind of its own, or its first axis is not the samples') has them among the loose ones, which are always right.
    That a module passes here does not mean that it is trusted: `collect` checks every batch.

    Raises
    ------
    StudentError
        If the network's logits for one sample depend on others.
    """
    trial = _trial(x, *others)
    together = check_independent(network, trial)
    mixed = _weights(together.shape[1], together)
    while True:
        try:
            logits, calls = network.record(trial)
            found = [_layer(name, layer, calls[name]) for name, layer in network.layers.items()]
            _Batch.of(network, trial, logits, calls, found, [mixed]).checked()
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
    parts = [rows(part, torch.randperm(length(part), generator=generator)[:_TRIED]) for part in (x, *others)]
    try:
        if isinstance(x, dict):
            joined: Inputs = {name: torch.cat([part[name] for part in parts]) for name in x}  # type: ignore[index]
        else:
            joined = torch.cat(parts)  # type: ignore[arg-type]
    except RuntimeError:  # padded to another length
        return parts[0]
    return rows(joined, torch.randperm(length(joined), generator=generator)[:_TRIED])


def check_independent(network: Network, trial: Inputs) -> Tensor:
    """Give the logits of a few samples, or raise a `StudentError` where those of one depend on the others."""
    with torch.no_grad():
        together = network(trial)
        _check_finite(together, "logits")
        for i in range(length(trial)):
            _check_alone(network, trial, together, i)
    return together


def _check_alone(network: Network, batch: Inputs, together: Tensor, i: int) -> None:
    """That a sample's logits are the same without the others of its batch."""
    alone = None
    with torch.no_grad(), suppress(StudentError):  # batch statistics do without no others at all
        alone = network(rows(batch, slice(i, i + 1)))[0]
    tolerance, together = _tolerance(together.dtype), together.detach()
    scale = float(together.abs().max())
    if alone is None or not torch.allclose(together[i], alone, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
        raise StudentError(
            "The network's logits for a sample depend on the others of its batch, or on chance, even in evaluation mode; its kernel "
            "is that of single samples. Look for batch statistics (track_running_stats=False) or dropout that is always on."
        )


def _weights(n: int, like: Tensor, seed: int = 0) -> Tensor:
    """Weights of chance, none of them near 0."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed)).to(like) + 0.5


def _tolerance(dtype: torch.dtype) -> float:
    return 10 * float(torch.finfo(dtype).eps) ** 0.5


@dataclass
class _Batch:
    """The gradients of some layers on one batch, and a check that autograd finds the same.

    A layer's rows are right if they add up, with weights of chance on samples and on heads, to its parameters'
    gradient of the logits with the same weights: one more backward pass shows a row that is another sample's, of
    a batch that the network has reordered or mixed, or lacks what the layer does elsewhere.

    Attributes
    ----------
    heads : list of Tensor of shape (C,)
        Which combinations of the logits are differentiated.
    """

    network: Network
    batch: Inputs
    logits: Tensor
    calls: dict[str, list[Call]]
    layers: Sequence[Layer]
    heads: list[Tensor]
    sample_weights: Tensor
    head_weights: list[float]
    sums: dict[str, Tensor] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        network: Network,
        batch: Inputs,
        logits: Tensor,
        calls: dict[str, list[Call]],
        layers: Sequence[Layer],
        heads: list[Tensor],
    ) -> "_Batch":
        wrong = [layer.name for layer in layers if layer.name != LOOSE and not _fits(layer, calls[layer.name])]
        if wrong:
            raise NotALayerError(wrong)
        _check_finite(logits, "logits")
        samples, by_head = _weights(len(logits), logits.detach()), _weights(len(heads), logits.detach(), seed=1)
        return cls(network, batch, logits, calls, layers, heads, samples, by_head.tolist())

    def rows(self) -> Iterator[list[Tensor]]:
        """For each head every layer's gradients, (n, q); of a dense layer those at its output."""
        watched = [layer for layer in self.layers if layer.name != LOOSE]
        seen = {o.name: self._prepared(o) for o in watched if not o.dense}
        for head, weight in zip(self.heads, self.head_weights, strict=True):
            given = iter(_at_outputs(self.logits @ head, [self.calls[layer.name] for layer in watched]))
            found = []
            for layer in self.layers:
                if layer.name == LOOSE:
                    row = _sample_by_sample(self.network, self.batch, head)
                else:
                    at_output = next(given)
                    row = at_output[0] if layer.dense else self._ruled(layer, seen[layer.name], at_output)
                    self._add(layer, row, weight)
                _check_finite(row, f"gradients of {layer.name or 'its only layer'}")
                found.append(row)
            yield found

    def left(self, layer: Layer) -> Tensor:
        """What went into a dense layer, with a 1 for its bias."""
        return _augmented(self.network.layers[layer.name], self.calls[layer.name][0].inputs[0])

    def checked(self) -> None:
        """Go through all rows that are still to come, and compare their sums with autograd's.

        Raises
        ------
        NotALayerError
            If some layers' differ.
        """
        if not self.sums:
            for _ in self.rows():
                pass
        modules = [self.network.layers[name] for name in self.sums]
        parameters = [[p for p in module.parameters() if p.requires_grad] for module in modules]
        head = torch.stack(self.heads, 1) @ torch.tensor(self.head_weights).to(self.logits)
        flat = iter(_gradients(self.sample_weights @ self.logits @ head, [p for own in parameters for p in own]))
        tolerance, wrong = _tolerance(self.logits.dtype), []
        for layer in (layer for layer in self.layers if layer.name != LOOSE):
            name = layer.name
            expected = torch.cat([next(flat).flatten() for _ in parameters[list(self.sums).index(name)]])
            found = self._in_parameters(layer)
            scale = max(self.squares[name] ** 0.5, float(torch.linalg.norm(expected)))
            same_shape = found.shape == expected.shape
            if not same_shape or not float(torch.linalg.norm(found - expected)) <= tolerance * scale:
                wrong.append(name)
        if wrong:
            raise NotALayerError(wrong)

    def _prepared(self, layer: Layer) -> list[Sequence[Tensor]]:
        module = self.network.layers[layer.name]
        return [_tried(layer.name, prepared, module, call.inputs) for call in self.calls[layer.name]]

    def _ruled(self, layer: Layer, seen: list[Sequence[Tensor]], gradients: list[Tensor]) -> Tensor:
        row: Tensor = _tried(layer.name, _summed, self.network.layers[layer.name], seen, gradients)
        if row.shape != (len(self.logits), layer.per_output):
            raise NotALayerError([layer.name])
        return row

    def _add(self, layer: Layer, row: Tensor, weight: float) -> None:
        """To the weighted sums of rows, and to the sum of their squared lengths."""
        lengths = row.square().sum(1)
        if layer.dense:
            left, mine = self.left(layer), row * (weight * self.sample_weights)[:, None]
            lengths, summed = lengths * left.square().sum(1), mine.mT @ left
        else:
            summed = weight * (self.sample_weights @ row)
        self.sums[layer.name] = self.sums.get(layer.name, 0.0) + summed
        self.squares[layer.name] = self.squares.get(layer.name, 0.0) + weight**2 * float(
            self.sample_weights.square() @ lengths
        )

    def _in_parameters(self, layer: Layer) -> Tensor:
        """The sums in the order of the layer's parameters."""
        summed = self.sums[layer.name]
        if not layer.dense:
            return summed
        names = [n for n, p in self.network.layers[layer.name].named_parameters() if p.requires_grad]
        weight = summed[:, :-1] if "bias" in names else summed
        parts = {"weight": weight.flatten(), "bias": summed[:, -1]}
        return torch.cat([parts[name] for name in names])


def _check_finite(values: Tensor, what: str) -> None:
    if not bool(torch.isfinite(values.detach().sum())) and not bool(torch.isfinite(values.detach()).all()):
        raise NumericsError(
            f"The network's {what} are not all finite numbers. Look at the scale of the inputs and of the network's weights, or use "
            "float64."
        )


def _tried(name: str, rule: Callable[..., Any], *arguments: Any) -> Any:
    """A rule's result; that the rule does not fit makes its module no layer."""
    try:
        return rule(*arguments)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, KeyError, IndexError, AttributeError) as error:
        if "memory" in str(error):
            raise
        raise NotALayerError([name]) from error


def _fits(layer: Layer, calls: list[Call]) -> bool:
    """Whether a layer is called in this batch as it was when it was tried."""
    return bool(calls) and (not layer.dense or (len(calls) == 1 and calls[0].inputs[0].ndim == 2))


def collect(
    network: Network,
    x: Inputs,
    layers: Sequence[Layer],
    outputs: Sequence[int],
    projected: int | None,
    seed: int,
    room: float,
) -> list[Features]:
    """Give the features of some layers for some outputs, a batch of samples at a time; `room` numbers fit in a batch."""
    n, like = length(x), next(network.module.parameters()).detach()
    sizes = [
        layer.per_output if layer.dense or projected is None else min(layer.per_output, projected) for layer in layers
    ]
    rights = [like.new_empty(n, len(outputs), size) for size in sizes]
    lefts = [like.new_empty(n, layer.once) if layer.dense else None for layer in layers]
    sketches = [_Sketch.of(layer, size, seed) for layer, size in zip(layers, sizes, strict=True)]
    step = max(1, min(_BATCH, int(room / (4 * sum(layer.per_output for layer in layers) + 1))))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        given = rows(x, part)
        logits, calls = network.record(given)
        _check_alone(network, given, logits, start % len(logits))
        batch = _Batch.of(network, given, logits, calls, layers, _unit_vectors(logits, outputs))
        for layer, left in zip(layers, lefts, strict=True):
            if left is not None:
                left[part] = batch.left(layer)
        for k, found in enumerate(batch.rows()):
            for right, sketch, row in zip(rights, sketches, found, strict=True):
                right[part, k] = sketch(row)
        batch.checked()
    return [Features(left, right) for left, right in zip(lefts, rights, strict=True)]


def _unit_vectors(logits: Tensor, outputs: Sequence[int]) -> list[Tensor]:
    return list(torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)[list(outputs)])


def _layer(name: str, module: nn.Module, calls: list[Call]) -> Layer:
    trainable = {key: p for key, p in module.named_parameters() if p.requires_grad}
    if rule_of(module) is nn.Linear and len(calls) == 1 and calls[0].inputs[0].ndim == 2:
        assert isinstance(module, nn.Linear)
        inputs = (module.in_features if "weight" in trainable else 0) + ("bias" in trainable)
        return Layer(name, True, inputs, module.out_features)
    return Layer(name, False, 0, sum(p.numel() for p in trainable.values()))


def _augmented(layer: nn.Module, inputs: Tensor) -> Tensor:
    parts = [inputs] if layer.weight.requires_grad else []
    if layer.bias is not None and layer.bias.requires_grad:
        parts.append(inputs.new_ones(len(inputs), 1))
    return torch.cat(parts, 1)


def _at_outputs(logit: Tensor, calls: list[list[Call]]) -> list[list[Tensor]]:
    """The gradient of one logit at the output of every call; samples do not mix, so that their sum will do."""
    found = iter(_gradients(logit.sum(), [call.output for of_layer in calls for call in of_layer]))
    return [[next(found) for _ in of_layer] for of_layer in calls]


def _gradients(value: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    """As `torch.autograd.grad`: dense, and 0 where nothing depends on it."""
    reached = [tensor for tensor in of if tensor.requires_grad]
    found = iter(torch.autograd.grad(value, reached, retain_graph=True, allow_unused=True) if reached else ())
    given = [next(found) if tensor.requires_grad else None for tensor in of]
    whole = [torch.zeros_like(t) if g is None else g for t, g in zip(of, given, strict=True)]
    return [g.to_dense() if g.is_sparse else g for g in whole]


def _summed(layer: nn.Module, calls: list[Sequence[Tensor]], gradients: list[Tensor]) -> Tensor:
    """A layer's gradients as rows, (n, q), summed over its calls."""
    total: Tensor | float = 0.0
    for inputs, gradient in zip(calls, gradients, strict=True):
        found = parameter_gradients(layer, inputs, gradient)
        total = total + torch.cat([g.flatten(1) for g in found.values()], 1)
    return total  # type: ignore[return-value]


def _sample_by_sample(network: Network, batch: Inputs, head: Tensor) -> Tensor:
    found = []
    for i in range(length(batch)):
        with torch.enable_grad():
            logit = network(rows(batch, slice(i, i + 1)))[0] @ head
            gradients = _gradients(logit, list(network.loose.values()))
        found.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(found)


@dataclass(frozen=True)
class _Sketch:
    """A sparse Johnson-Lindenstrauss map: every parameter goes to one bucket, with a sign.

    Inner products are kept on average, with a standard error of about √(2/D) of the lengths' product.
    Weinberger et al., *Feature hashing*, ICML 2009; Kane and Nelson, *Sparser Johnson-Lindenstrauss
    transforms*, JACM 2014.
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
        return result.index_add_(1, self.buckets.to(gradients.device), gradients * self.signs.to(gradients))
