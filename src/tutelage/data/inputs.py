"""What an input looks like: a tensor, or a dict of tensors, samples first."""

from collections.abc import Iterator, Mapping, Sized

import torch
from torch import Tensor

Inputs = Tensor | dict[str, Tensor]
"""One tensor, or one for each argument of a network's `forward`, by name; samples first."""


def length(x: Sized | Mapping[str, Sized]) -> int:
    """Number of samples."""
    return len(next(iter(x.values()))) if isinstance(x, Mapping) else len(x)


def rows(x: Inputs, part: slice | Tensor) -> Inputs:
    """Some of the samples."""
    return {name: tensor[part] for name, tensor in x.items()} if isinstance(x, dict) else x[part]


def split(x: Inputs, size: int) -> Iterator[Inputs]:
    """The samples in parts of so many."""
    return (rows(x, slice(start, start + size)) for start in range(0, length(x), size))


def joined(parts: list[Inputs]) -> Inputs:
    """Put parts together again."""
    named = [part for part in parts if isinstance(part, dict)]
    if named:
        return {name: torch.cat([part[name] for part in named]) for name in named[0]}
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def floating(x: Inputs, dtype: torch.dtype) -> Inputs:
    """The same with its floating-point tensors in a dtype; whole numbers stay what they are."""
    if isinstance(x, dict):
        return {name: floating(tensor, dtype) for name, tensor in x.items()}  # type: ignore[misc]
    return x.to(dtype) if x.is_floating_point() else x


def moved(x: Inputs, device: torch.device | str) -> Inputs:
    """The same on a device."""
    if isinstance(x, dict):
        return {name: tensor.to(device) for name, tensor in x.items()}
    return x.to(device)


Shape = tuple[int, ...] | dict[str, tuple[int, ...]]


def shape(x: Inputs) -> Shape:
    """Shape of one sample: a tuple, or one for each name."""
    if isinstance(x, dict):
        return {name: tuple(tensor.shape[1:]) for name, tensor in x.items()}
    return tuple(x.shape[1:])


def numbers(x: Inputs) -> int:
    """How many numbers one sample is."""
    tensors = x.values() if isinstance(x, dict) else [x]
    return sum(int(tensor[:1].numel()) for tensor in tensors)


def flat(x: Inputs) -> Tensor:
    """Each sample as one row of numbers, by which samples can be compared."""
    tensors = list(x.values()) if isinstance(x, dict) else [x]
    return torch.cat([tensor.reshape(len(tensor), -1) for tensor in tensors], 1)
