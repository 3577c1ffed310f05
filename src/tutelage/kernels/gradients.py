"""Per-sample gradients of one layer, from what went in and the gradient of what came out.

In evaluation mode samples do not see each other, so that one backward pass over a batch gives the
gradient at a layer's output for every sample; what is left is a rule per kind of layer.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear


def rule_of(layer: nn.Module) -> type[nn.Module]:
    """Which kind's rule a layer goes by: its own, or that of any module.

    A subclass may compute anything, with parameters of its own (adapters, gains), and so goes by
    the general rule.
    """
    kind = type(layer)
    if (
        kind is NonDynamicallyQuantizableLinear
    ):  # what torch's attention projects with: a dense layer by another name
        return nn.Linear
    return kind if kind in _GRADIENTS else nn.Module


def prepared(layer: nn.Module, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """What of a layer's inputs its gradients need, the same for every output of the network."""
    return _PREPARED.get(rule_of(layer), _as_they_are)(layer, inputs)


def parameter_gradients(
    layer: nn.Module, inputs: Sequence[Tensor], gradient: Tensor
) -> dict[str, Tensor]:
    """Give the gradient of each parameter for each sample, (n, ...).

    Parameters
    ----------
    layer : torch.nn.Module
        Any module; the known kinds have quicker rules.
    inputs : sequence of Tensor
        What its `forward` was called on, `prepared`; the first axis is the samples'.
    gradient : Tensor
        At its output.

    Returns
    -------
    dict of str to Tensor
        By parameter name, the trainable ones only.
    """
    return _GRADIENTS[rule_of(layer)](layer, inputs, gradient)


def _as_they_are(layer: nn.Module, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    return inputs


def _any_module(layer: nn.Module, inputs: Sequence[Tensor], gradient: Tensor) -> dict[str, Tensor]:
    parameters = {name: p for name, p in layer.named_parameters() if p.requires_grad}

    def one(gradient_of_one: Tensor, *inputs_of_one: Tensor) -> dict[str, Tensor]:
        def forward(values: dict[str, Tensor]) -> Tensor:
            found: Tensor = torch.func.functional_call(
                layer, values, tuple(x[None] for x in inputs_of_one)
            )
            return found

        _, pull_back, *_ = torch.func.vjp(forward, {n: p.detach() for n, p in parameters.items()})
        found: dict[str, Tensor] = pull_back(gradient_of_one[None])[0]
        return found

    with (
        warnings.catch_warnings()
    ):  # torch says that it loops over samples where it has no better way
        warnings.filterwarnings("ignore", "There is a performance drop")
        result: dict[str, Tensor] = torch.func.vmap(one)(gradient, *inputs)
    return result


def _linear(layer: nn.Linear, inputs: Sequence[Tensor], gradient: Tensor) -> dict[str, Tensor]:
    steps, out = inputs[0].flatten(1, -2) if inputs[0].ndim > 2 else inputs[0][:, None], gradient
    out = out.flatten(1, -2) if out.ndim > 2 else out[:, None]
    return _trainable(layer, lambda: torch.einsum("nto,nti->noi", out, steps), lambda: out.sum(1))


def _patches(layer: nn.Conv2d, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """The patches that the filters see, (n, groups, patch, places)."""
    x, padding = inputs[0], layer.padding
    if layer.padding_mode != "zeros" or isinstance(padding, str):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x, padding = functional.pad(x, _padding(layer), mode=mode), (0, 0)
    patches = functional.unfold(x, layer.kernel_size, layer.dilation, padding, layer.stride)
    return (patches.reshape(len(x), layer.groups, -1, patches.shape[-1]),)


def _convolution(layer: nn.Conv2d, inputs: Sequence[Tensor], gradient: Tensor) -> dict[str, Tensor]:
    def weight() -> Tensor:
        patches = inputs[0]
        out = gradient.flatten(2).reshape(*patches.shape[:2], -1, patches.shape[-1])
        return (out @ patches.mT).reshape(len(out), *layer.weight.shape)

    return _trainable(layer, weight, lambda: gradient.flatten(2).sum(-1))


def _normalised(layer: nn.LayerNorm, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Normalised, before weight and bias."""
    return (functional.layer_norm(inputs[0], layer.normalized_shape, eps=layer.eps),)


def _layer_norm(
    layer: nn.LayerNorm, inputs: Sequence[Tensor], gradient: Tensor
) -> dict[str, Tensor]:
    axes = tuple(range(1, gradient.ndim - len(layer.normalized_shape)))

    def summed(x: Tensor) -> Tensor:
        return x.sum(axes) if axes else x

    return _trainable(layer, lambda: summed(inputs[0] * gradient), lambda: summed(gradient))


def _embedding(
    layer: nn.Embedding, inputs: Sequence[Tensor], gradient: Tensor
) -> dict[str, Tensor]:
    tokens = inputs[0].reshape(len(inputs[0]), -1)
    out = gradient.reshape(*tokens.shape, -1)
    if layer.padding_idx is not None:
        out = out * (tokens != layer.padding_idx)[..., None]
    table = out.new_zeros(len(tokens) * layer.num_embeddings, out.shape[-1])
    place = tokens + layer.num_embeddings * torch.arange(len(tokens), device=tokens.device)[:, None]
    table.index_add_(0, place.reshape(-1), out.reshape(-1, out.shape[-1]))
    return {"weight": table.reshape(len(tokens), layer.num_embeddings, -1)}


def _padding(layer: nn.Conv2d) -> list[int]:
    return list(layer._reversed_padding_repeated_twice)


def _trainable(
    layer: nn.Module, weight: Callable[[], Tensor], bias: Callable[[], Tensor]
) -> dict[str, Tensor]:
    rules = {"weight": weight, "bias": bias}
    return {n: rules[n]() for n, p in layer.named_parameters() if p.requires_grad}


_PREPARED: dict[type[nn.Module], Callable[[Any, Sequence[Tensor]], Sequence[Tensor]]] = {
    nn.Conv2d: _patches,
    nn.LayerNorm: _normalised,
}
_GRADIENTS: dict[type[nn.Module], Callable[[Any, Sequence[Tensor], Tensor], dict[str, Tensor]]] = {
    nn.Module: _any_module,
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.LayerNorm: _layer_norm,
    nn.Embedding: _embedding,
}
