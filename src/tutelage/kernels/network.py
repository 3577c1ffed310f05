"""A network of torch, cut into layers whose per-sample gradients can be had."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.exceptions import StudentError

Inputs = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Call:
    """One call of a layer on a batch: what went in, and what came out before anything could overwrite it."""

    inputs: tuple[Tensor, ...]
    output: Tensor


@dataclass(frozen=True)
class Network:
    """A private copy of a user's network in evaluation mode, and its layers.

    Attributes
    ----------
    module : torch.nn.Module
        Dropout is off, batch norm uses its running averages; the user's own module is left as it is.
    layers : dict of str to Module
        Every module that holds trainable parameters of its own, without those in `loose`.
    loose : dict of str to Parameter
        Parameters that no single layer call explains: shared between layers, or used by a module that
        also holds others. Their gradients are taken sample by sample.
    """

    module: nn.Module
    layers: dict[str, nn.Module] = field(default_factory=dict)
    loose: dict[str, nn.Parameter] = field(default_factory=dict)

    @classmethod
    def of(cls, module: nn.Module) -> "Network":
        """Copy the network and find its layers."""
        try:
            own = copy.deepcopy(module).eval()
        except RuntimeError as error:
            raise StudentError(
                f"The network cannot be copied ({error}). If it uses torch.nn.utils.weight_norm or spectral_norm, use those of "
                "torch.nn.utils.parametrizations."
            ) from error
        if not any(p.requires_grad for p in own.parameters()):
            raise StudentError("The network has no parameters that can be trained, so its kernel is zero everywhere.")
        owners: dict[int, list[str]] = {}
        for name, part in own.named_modules(remove_duplicate=False):
            for parameter in _direct(part).values():
                owners.setdefault(id(parameter), []).append(name)
        layers: dict[str, nn.Module] = {}
        loose: dict[str, nn.Parameter] = {}
        for name, part in own.named_modules():
            direct = _direct(part)
            if not direct:
                continue
            lone = not any(True for _ in part.children()) and all(len(owners[id(p)]) == 1 for p in direct.values())
            if lone:
                layers[name] = part
            else:
                held = {id(p) for p in loose.values()}
                loose |= {f"{name}.{key}".lstrip("."): p for key, p in direct.items() if id(p) not in held}
        return cls(own, layers, loose)

    @property
    def dtype(self) -> torch.dtype:
        """Of its parameters."""
        return next(self.module.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.module.parameters()).device

    def __call__(self, x: Inputs) -> Tensor:
        """Logits, (n, C); C = 1 for one logit."""
        x = self._ready(x)
        out = self.module(**x) if isinstance(x, dict) else self.module(x)
        out = getattr(out, "logits", out)
        if isinstance(out, Tensor) and length(x) == 1 and out.ndim < 2:
            out = out.reshape(1, -1)  # a squeezed single sample
        if not isinstance(out, Tensor) or out.ndim not in (1, 2) or len(out) != length(x):
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise StudentError(
                f"The network gave {shape} for {length(x)} samples; expected logits of shape (n,) or (n, C)."
            )
        return out.reshape(len(out), -1)

    def record(self, x: Inputs) -> tuple[Tensor, dict[str, list[Call]]]:
        """Logits of a batch, and every layer's calls."""
        calls: dict[str, list[Call]] = {name: [] for name in self.layers}
        with self._recording(calls, length(x)), torch.enable_grad():
            return self(x), calls

    def loosened(self, name: str) -> "Network":
        """The same network with one layer's parameters among the loose ones."""
        rest = {other: layer for other, layer in self.layers.items() if other != name}
        freed = {f"{name}.{key}".lstrip("."): p for key, p in _direct(self.layers[name]).items()}
        return Network(self.module, rest, self.loose | freed)

    @contextmanager
    def _recording(self, calls: dict[str, list[Call]], n: int) -> Iterator[None]:
        def keep(name: str) -> Any:
            def hook(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
                inputs = tuple(i.detach() for i in (*given, *named.values()) if isinstance(i, Tensor))
                if not isinstance(output, Tensor) or len(output) not in (1, n) or not inputs:
                    raise NotALayerError(name)
                if len(output) < n:  # shared by the samples, as positions are: each gets its own
                    output = output.expand(n, *output.shape[1:])
                    inputs = tuple(i.expand(n, *i.shape[1:]) if len(i) == 1 else i for i in inputs)
                calls[name].append(Call(inputs, output))
                return output.clone()  # what follows may work in place

            return hook

        handles = [layer.register_forward_hook(keep(name), with_kwargs=True) for name, layer in self.layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _ready(self, x: Inputs) -> Inputs:
        if isinstance(x, dict):
            return {name: self._ready(part) for name, part in x.items()}  # type: ignore[misc]
        kind = self.dtype if x.is_floating_point() else x.dtype
        return x.to(self.device, kind, copy=True)  # the network may write into it


class NotALayerError(Exception):
    """A module with parameters whose calls do not give one tensor with a row per sample."""


def length(x: Inputs) -> int:
    """Number of samples."""
    return len(next(iter(x.values()))) if isinstance(x, dict) else len(x)


def rows(x: Inputs, part: slice) -> Inputs:
    """Some of the samples."""
    return {name: tensor[part] for name, tensor in x.items()} if isinstance(x, dict) else x[part]


def _direct(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters(recurse=False) if p.requires_grad}
