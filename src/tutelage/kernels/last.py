"""A network of which the last layers alone move: features of all layers may cost too much."""

import torch
from torch import nn

from tutelage.data.inputs import Inputs, rows
from tutelage.kernels.batch import LOOSE
from tutelage.kernels.features import layered
from tutelage.kernels.network import Network, copied


def last_layers(module: nn.Module, x: Inputs, numbers: int) -> nn.Module:
    """Give a copy of a network in which all but the last layers are frozen.

    Its kernel, `empirical`, is the part of the network's that comes from its last layers.

    Parameters
    ----------
    module : torch.nn.Module
    x : Inputs
        On which it is seen in what order layers are called.
    numbers : int
        That the gradients of the last layers have at most for each sample; the very last one moves
        in any case.

    Returns
    -------
    torch.nn.Module

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(3, 500), nn.ReLU(), nn.Linear(500, 2))
    >>> moving = last_layers(network, torch.randn(8, 3), 600)
    >>> [name for name, p in moving.named_parameters() if p.requires_grad]
    ['2.weight', '2.bias']
    """
    own = copied(module)
    network, layers = layered(Network.of(own), x)
    sizes = {o.name: o.once + o.per_output for o in layers if o.name != LOOSE}
    kept: set[str] = set()
    for name in reversed(_called(network, x)):
        numbers -= 0 if name in kept else sizes[name]
        if numbers < 0 and kept:
            break
        kept.add(name)
    if kept:
        for name, parameter in own.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name.rpartition(".")[0] in kept)
    return own


def _called(network: Network, x: Inputs) -> list[str]:
    """The layers in the order in which they are called."""
    found: list[str] = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: found.append(name))
        for name, layer in network.layers.items()
    ]
    with torch.no_grad():
        network(rows(x, slice(0, 2)))
    for handle in handles:
        handle.remove()
    return found
