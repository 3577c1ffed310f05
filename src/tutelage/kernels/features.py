"""The tangent features of a network, layer by layer: the gradients whose inner products are its kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.exceptions import StudentError
from tutelage.kernels.gradients import parameter_gradients, prepared
from tutelage.kernels.network import Call, Inputs, Network, NotALayerError, length, rows

_BATCH = 256  # samples that go through the network at once
_TRIED = 3  # samples that layers are tried on
_PANEL = 1024  # rows of a kernel that are added to at once
LOOSE = "<loose>"  # stands for the parameters that no layer explains


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


def layered(network: Network, x: Inputs) -> tuple[Network, list[Layer]]:
    """Try the network on a few samples, to see which of its modules are layers and how large their features are.

    A module whose calls do not explain the gradient of its parameters (they are used elsewhere, too, it is of a
    kind of its own, or its first axis is not the samples') has them among the loose ones, which are always right.

    Raises
    ------
    StudentError
        If the network's logits for one sample depend on others.
    """
    trial = rows(x, slice(0, _TRIED))
    _check_independent(network, trial)
    while True:
        try:
            logits, calls = network.record(trial)
        except NotALayerError as error:
            network = network.loosened(str(error))
            continue
        wrong = [name for name, layer in network.layers.items() if not _explained(layer, calls[name], logits)]
        if not wrong:
            break
        for name in wrong:
            network = network.loosened(name)
    found = [_layer(name, layer, calls[name]) for name, layer in network.layers.items()]
    if network.loose:
        found.append(Layer(LOOSE, False, 0, sum(p.numel() for p in network.loose.values())))
    return network, found


def _check_independent(network: Network, trial: Inputs) -> None:
    with torch.no_grad():
        together = network(trial)
        alone = torch.cat([network(rows(trial, slice(i, i + 1))) for i in range(length(trial))])
    tolerance = _tolerance(together.dtype)
    if not torch.allclose(together, alone, rtol=tolerance, atol=tolerance * float(together.abs().max())):
        raise StudentError(
            "The network's logits for a sample depend on the others of its batch, or on chance, even in evaluation mode; its kernel "
            "is that of single samples. Look for batch statistics (track_running_stats=False) or dropout that is always on."
        )


def _explained(layer: nn.Module, calls: list[Call], logits: Tensor) -> bool:
    """Whether the rows of a layer's calls add up, sample by sample with weights of chance, to autograd's gradient."""
    if not calls:
        return False
    generator = torch.Generator().manual_seed(0)
    parameters = [p for p in layer.parameters() if p.requires_grad]
    by_output = torch.rand(logits.shape[1], generator=generator).to(logits) + 0.5
    by_sample = torch.rand(len(logits), generator=generator).to(logits) + 0.5
    combined = logits @ by_output
    real = torch.autograd.grad(combined @ by_sample, parameters, retain_graph=True, materialize_grads=True)
    [gradients] = _at_outputs(combined, [calls])
    try:
        found = _summed(layer, [prepared(layer, call.inputs) for call in calls], gradients)
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        return False
    expected = torch.cat([g.flatten() for g in real])
    if found.shape != (len(logits), len(expected)):
        return False
    return bool(
        torch.linalg.norm(by_sample @ found - expected) <= _tolerance(found.dtype) * torch.linalg.norm(expected)
    )


def _tolerance(dtype: torch.dtype) -> float:
    return 10 * float(torch.finfo(dtype).eps) ** 0.5


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
        batch = rows(x, part)
        logits, calls = network.record(batch)
        for layer, left in zip(layers, lefts, strict=True):
            if left is not None:
                left[part] = _augmented(network.layers[layer.name], calls[layer.name][0].inputs[0])
        seen = {
            layer.name: [prepared(network.layers[layer.name], call.inputs) for call in calls[layer.name]]
            for layer in layers
            if not layer.dense and layer.name != LOOSE
        }
        for k, output in enumerate(outputs):
            gradients = _at_outputs(logits[:, output], [calls.get(layer.name, []) for layer in layers])
            for layer, right, sketch, given in zip(layers, rights, sketches, gradients, strict=True):
                if layer.dense:
                    right[part, k] = given[0]
                elif layer.name == LOOSE:
                    right[part, k] = sketch(_sample_by_sample(network, batch, output))
                else:
                    right[part, k] = sketch(_summed(network.layers[layer.name], seen[layer.name], given))
    return [Features(left, right) for left, right in zip(lefts, rights, strict=True)]


def _layer(name: str, module: nn.Module, calls: list[Call]) -> Layer:
    trainable = {key: p for key, p in module.named_parameters() if p.requires_grad}
    if isinstance(module, nn.Linear) and len(calls) == 1 and calls[0].inputs[0].ndim == 2:
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
    flat = [call.output for of_layer in calls for call in of_layer]
    reached = [output for output in flat if output.requires_grad]
    found = iter(torch.autograd.grad(logit.sum(), reached, retain_graph=True, allow_unused=True) if reached else ())
    given = [next(found) if output.requires_grad else None for output in flat]
    filled = iter([torch.zeros_like(o) if g is None else g for o, g in zip(flat, given, strict=True)])
    return [[next(filled) for _ in of_layer] for of_layer in calls]


def _summed(layer: nn.Module, calls: list[Sequence[Tensor]], gradients: list[Tensor]) -> Tensor:
    """A layer's gradients as rows, (n, q), summed over its calls."""
    total: Tensor | float = 0.0
    for inputs, gradient in zip(calls, gradients, strict=True):
        found = parameter_gradients(layer, inputs, gradient)
        total = total + torch.cat([g.flatten(1) for g in found.values()], 1)
    return total  # type: ignore[return-value]


def _sample_by_sample(network: Network, batch: Inputs, output: int) -> Tensor:
    found = []
    for i in range(length(batch)):
        with torch.enable_grad():
            logit = network(rows(batch, slice(i, i + 1)))[0, output]
            gradients = torch.autograd.grad(logit, list(network.loose.values()), materialize_grads=True)
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
