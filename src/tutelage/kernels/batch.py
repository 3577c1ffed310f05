"""The gradients of a network's layers on one batch, and the check that autograd finds the same."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data.inputs import Inputs, length, rows
from tutelage.exceptions import NumericsError
from tutelage.kernels.gradients import parameter_gradients, prepared
from tutelage.kernels.network import Call, Network, NotALayerError

LOOSE = "shared parameters"  # stands for the parameters that no layer explains


@dataclass(frozen=True)
class Layer:
    """A layer and what its features take: numbers per sample, once and for each output."""

    name: str
    dense: bool
    once: int
    per_output: int


@dataclass
class Batch:
    """The gradients of some layers on one batch, and a check that autograd finds the same.

    Samples and heads are given random weights. A layer's rows are right if they add up, with these
    weights, to its parameters' gradient of the logits with the same weights. So one more backward
    pass shows a row that is another sample's, as in a network that reorders or mixes the batch, or
    that lacks what the layer does elsewhere.

    Attributes
    ----------
    heads : list of Tensor of shape (C,)
        Which combinations of the logits are differentiated.
    lefts : dict of str to Tensor of shape (n, inputs)
        What went into the dense layers, with a 1 for their biases.
    """

    network: Network
    batch: Inputs
    logits: Tensor
    calls: dict[str, list[Call]]
    layers: Sequence[Layer]
    heads: list[Tensor]
    lefts: dict[str, Tensor]
    sample_weights: Tensor
    head_weights: list[float]
    sums: dict[str, Tensor] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        network: Network,
        batch: Inputs,
        logits: Tensor,
        calls: dict[str, list[Call]],
        layers: Sequence[Layer],
        heads: list[Tensor],
    ) -> "Batch":
        """Of a batch whose calls were recorded, or a `NotALayerError` where some layers were called
        in another way than when tried.
        """
        wrong = [
            layer.name
            for layer in layers
            if layer.name != LOOSE and not _fits(layer, calls[layer.name])
        ]
        if wrong:
            raise NotALayerError(wrong)
        check_finite(logits, "logits")
        lefts = {
            o.name: _augmented(network.layers[o.name], calls[o.name][0].inputs[0])
            for o in layers
            if o.dense
        }
        samples = weights_of_chance(len(logits), logits.detach())
        by_head = weights_of_chance(len(heads), logits.detach(), seed=1)
        return cls(network, batch, logits, calls, layers, heads, lefts, samples, by_head.tolist())

    def rows(self) -> Iterator[list[Tensor]]:
        """For each head every layer's gradients, (n, q); of a dense layer those at its output."""
        watched = [layer for layer in self.layers if layer.name != LOOSE]
        seen = {o.name: self._prepared(o) for o in watched if not o.dense}
        for head, weight in zip(self.heads, self.head_weights, strict=True):
            given = iter(
                _at_outputs(self.logits @ head, [self.calls[layer.name] for layer in watched])
            )
            found = []
            for layer in self.layers:
                if layer.name == LOOSE:
                    row = _sample_by_sample(self.network, self.batch, head)
                else:
                    at_output = next(given)
                    row = (
                        at_output[0]
                        if layer.dense
                        else self._ruled(layer, seen[layer.name], at_output)
                    )
                    self._add(layer, row, weight)
                check_finite(row, f"gradients of {layer.name or 'its only layer'}")
                found.append(row)
            yield found

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
        watched = [layer for layer in self.layers if layer.name != LOOSE]
        modules = [self.network.layers[layer.name] for layer in watched]
        parameters = [[p for p in module.parameters() if p.requires_grad] for module in modules]
        head = torch.stack(self.heads, 1) @ torch.tensor(self.head_weights).to(self.logits)
        flat = iter(
            _gradients(
                self.sample_weights @ self.logits @ head, [p for own in parameters for p in own]
            )
        )
        allowed, wrong = tolerance(self.logits.dtype), []
        for layer, own in zip(watched, parameters, strict=True):
            expected, found = (
                torch.cat([next(flat).flatten() for _ in own]),
                self._in_parameters(layer),
            )
            scale = max(self.scales[layer.name], float(torch.linalg.norm(expected)))
            same_shape = found.shape == expected.shape
            if not same_shape or not float(torch.linalg.norm(found - expected)) <= allowed * scale:
                wrong.append(layer.name)
        if wrong:
            raise NotALayerError(wrong)

    def _prepared(self, layer: Layer) -> list[Sequence[Tensor]]:
        module = self.network.layers[layer.name]
        return [
            _tried(layer.name, prepared, module, call.inputs) for call in self.calls[layer.name]
        ]

    def _ruled(self, layer: Layer, seen: list[Sequence[Tensor]], gradients: list[Tensor]) -> Tensor:
        row: Tensor = _tried(layer.name, _summed, self.network.layers[layer.name], seen, gradients)
        if row.shape != (len(self.logits), layer.per_output):
            raise NotALayerError([layer.name])
        return row

    def _add(self, layer: Layer, row: Tensor, weight: float) -> None:
        """To the weighted sums of rows; of a dense layer over heads only. The first head tells how
        long rows are.
        """
        summed = weight * row if layer.dense else weight * (self.sample_weights @ row)
        if layer.name in self.sums:
            self.sums[layer.name].add_(summed)
            return
        self.sums[layer.name] = summed
        lengths = torch.linalg.vector_norm(row, dim=1).square()
        if layer.dense:
            lengths *= self.lefts[layer.name].square().sum(1)
        self.scales[layer.name] = (
            float((self.sample_weights.square() @ lengths).sqrt()) * len(self.heads) ** 0.5
        )

    def _in_parameters(self, layer: Layer) -> Tensor:
        """The sums in the order of the layer's parameters."""
        if not layer.dense:
            return self.sums[layer.name]
        summed = (self.sums[layer.name] * self.sample_weights[:, None]).mT @ self.lefts[layer.name]
        names = [
            n for n, p in self.network.layers[layer.name].named_parameters() if p.requires_grad
        ]
        weight = summed[:, :-1] if "bias" in names else summed
        parts = {"weight": weight.flatten(), "bias": summed[:, -1]}
        return torch.cat([parts[name] for name in names])


def check_finite(values: Tensor, what: str) -> None:
    """Raise a `NumericsError` where not all values are finite numbers."""
    if not bool(torch.isfinite(values.detach().sum())) and not bool(
        torch.isfinite(values.detach()).all()
    ):
        raise NumericsError(
            f"The network's {what} are not all finite numbers. Look at the scale of the inputs and"
            " of the network's weights, or use float64."
        )


def _tried(name: str, rule: Callable[..., Any], *arguments: Any) -> Any:
    """A rule's result; that the rule does not fit makes its module no layer."""
    try:
        return rule(*arguments)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        NotImplementedError,
        KeyError,
        IndexError,
        AttributeError,
    ) as error:
        if "memory" in str(error):
            raise
        raise NotALayerError([name]) from error


def _fits(layer: Layer, calls: list[Call]) -> bool:
    """Whether a layer is called in this batch as it was when it was tried."""
    return bool(calls) and (not layer.dense or (len(calls) == 1 and calls[0].inputs[0].ndim == 2))


def weights_of_chance(n: int, like: Tensor, seed: int = 0) -> Tensor:
    """Weights of chance, none of them near 0."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed)).to(like) + 0.5


def tolerance(dtype: torch.dtype) -> float:
    """Give how far two ways to compute the same may lie apart, relative to their size."""
    return 10 * float(torch.finfo(dtype).eps) ** 0.5


def _augmented(layer: nn.Module, inputs: Tensor) -> Tensor:
    parts = [inputs] if layer.weight.requires_grad else []
    if layer.bias is not None and layer.bias.requires_grad:
        parts.append(inputs.new_ones(len(inputs), 1))
    return torch.cat(parts, 1)


def _at_outputs(logit: Tensor, calls: list[list[Call]]) -> list[list[Tensor]]:
    """The gradient of one logit at the output of every call; samples do not mix, so that their sum
    will do.
    """
    found = iter(_gradients(logit.sum(), [call.output for of_layer in calls for call in of_layer]))
    return [[next(found) for _ in of_layer] for of_layer in calls]


def _gradients(value: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    """As `torch.autograd.grad`: dense, and 0 where nothing depends on it."""
    reached = [tensor for tensor in of if tensor.requires_grad]
    found = iter(
        torch.autograd.grad(value, reached, retain_graph=True, allow_unused=True) if reached else ()
    )
    given = [next(found) if tensor.requires_grad else None for tensor in of]
    whole = [torch.zeros_like(t) if g is None else g for t, g in zip(of, given, strict=True)]
    return [g.to_dense() if g.is_sparse else g for g in whole]


def _summed(layer: nn.Module, calls: list[Sequence[Tensor]], gradients: list[Tensor]) -> Tensor:
    """A layer's gradients as rows, (n, q), summed over its calls."""
    rows = (
        [g.flatten(1) for g in parameter_gradients(layer, inputs, gradient).values()]
        for inputs, gradient in zip(calls, gradients, strict=True)
    )
    # Rows may be large: what is one tensor is not copied.
    return reduce(torch.add, (own[0] if len(own) == 1 else torch.cat(own, 1) for own in rows))


def _sample_by_sample(network: Network, batch: Inputs, head: Tensor) -> Tensor:
    found = []
    for i in range(length(batch)):
        with torch.enable_grad():
            logit = network(rows(batch, slice(i, i + 1)))[0] @ head
            gradients = _gradients(logit, list(network.loose.values()))
        found.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(found)
