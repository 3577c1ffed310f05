"""The features of a network that AdamW trains: gradients over the fourth root of their second
moments, (8.3).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tutelage.kernels.batch import LOOSE, Layer
from tutelage.kernels.network import Network

Moments = Mapping[str, Tensor]
"""Of each parameter, by name, its gradients' mean square."""

_LEAST = 1e-3  # of a tensor's mean: where gradients were 0, the next one is not


def factors(network: Network, layer: Layer, moments: Moments) -> tuple[Tensor | None, Tensor]:
    """What a layer's inputs, if it is dense, and its gradients are multiplied by.

    A dense layer's second moments are taken as a product of one for each output and one for each
    input, as by Adafactor (Shazeer and Stern 2018), so that its kernel stays one of two Gram
    matrices.

    Parameters
    ----------
    network : Network
    layer : Layer
    moments : mapping of str to Tensor

    Returns
    -------
    Tensor of shape (once,) or None
    Tensor of shape (per_output,)
    """
    if layer.name == LOOSE:
        return None, torch.cat([_root(moments[name]).flatten() for name in network.loose])
    own = {
        name: moments[f"{layer.name}.{name}" if layer.name else name]
        for name, p in network.layers[layer.name].named_parameters()
        if p.requires_grad
    }
    if not layer.dense:
        return None, torch.cat([_root(m).flatten() for m in own.values()])
    columns = [
        m if m.ndim == 2 else m[:, None]
        for m in (own.get("weight"), own.get("bias"))
        if m is not None
    ]
    both = torch.cat(columns, 1)
    whole = both.sum().sqrt()
    return _root(both.sum(0) / whole), _root(both.sum(1) / whole)


def _root(moment: Tensor) -> Tensor:
    mean = moment.mean().clamp(min=torch.finfo(moment.dtype).tiny)
    return moment.clamp(min=_LEAST * mean) ** -0.25
