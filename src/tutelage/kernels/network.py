"""A network of torch, cut into layers whose per-sample gradients can be had."""

import copy
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data.inputs import Inputs, length
from tutelage.exceptions import StudentError, nearest

_INDICES = re.compile(
    "indices|index tensor|scalar types?:? Long|tensors used as indices", re.IGNORECASE
)


@dataclass(frozen=True)
class Call:
    """One call of a layer on a batch: what went in, and what came out before anything could
    overwrite it.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor


@dataclass(frozen=True)
class Network:
    """A private copy of a user's network in evaluation mode, and its layers.

    Attributes
    ----------
    module : torch.nn.Module
        Dropout is off, batch norm uses its running averages; the user's own module is left as it
        is. Half precision is made float32, as gradients overflow in it.
    layers : dict of str to Module
        Every module that holds trainable parameters of its own, without those in `loose`.
    loose : dict of str to Tensor
        Parameters that no single layer call explains: shared between layers, computed before each
        call, or used by a module that also holds others. Their gradients are taken sample by
        sample.
    """

    module: nn.Module
    layers: dict[str, nn.Module] = field(default_factory=dict)
    loose: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, module: nn.Module) -> "Network":
        """Copy the network and find its layers."""
        own = (
            own_copy(module).train().eval()
        )  # by way of training mode, in which modules forget what they have computed and kept
        if not any(p.requires_grad for p in own.parameters()):
            raise StudentError(
                "The network has no parameters that can be trained, so its kernel is zero"
                " everywhere."
            )
        if any(p.is_meta for p in own.parameters()):
            raise StudentError(
                "The network has no weights yet (its device is meta); load or initialise them"
                " first."
            )
        owners: dict[int, list[str]] = {}
        for name, part in own.named_modules(remove_duplicate=False):
            for parameter in _direct(part).values():
                owners.setdefault(id(parameter), []).append(name)
        layers: dict[str, nn.Module] = {}
        loose: dict[str, Tensor] = {}
        for name, part in own.named_modules():
            direct = _direct(part)
            if not direct:
                continue
            if _can_be_watched(part) and all(len(owners[id(p)]) == 1 for p in direct.values()):
                layers[name] = part
            else:
                held = {id(p) for p in loose.values()}
                loose |= {
                    f"{name}.{key}".lstrip("."): p for key, p in direct.items() if id(p) not in held
                }
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
        """Logits, (n, C); C = 1 for one logit.

        Raises
        ------
        StudentError
            If the network fails, or does not give logits.
        """
        out = called(self.module, self.ready(x))
        if isinstance(out, Tensor) and length(x) == 1 and out.ndim < 2:
            out = out.reshape(1, -1)  # a squeezed single sample
        if not isinstance(out, Tensor) or out.ndim not in (1, 2) or len(out) != length(x):
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise StudentError(
                f"The network gave {shape} for {length(x)} samples; expected logits of shape (n,)"
                " or (n, C)."
            )
        return out.reshape(len(out), -1)

    def record(self, x: Inputs) -> tuple[Tensor, dict[str, list[Call]]]:
        """Logits of a batch, and every layer's calls.

        Raises
        ------
        NotALayerError
            If some layers' calls do not give a row for each sample.
        """
        calls: dict[str, list[Call]] = {name: [] for name in self.layers}
        shared: set[str] = set()
        with self._recording(calls, length(x), shared), torch.enable_grad():
            try:
                return self(x), calls
            except StudentError as error:
                if not shared:
                    raise
                raise NotALayerError(
                    shared
                ) from error  # the network needs the row that was given to every sample

    def loosened(self, names: Iterable[str]) -> "Network":
        """The same network with some layers' parameters among the loose ones."""
        names = set(names)
        rest = {name: layer for name, layer in self.layers.items() if name not in names}
        freed = {
            f"{name}.{key}".lstrip("."): p
            for name in sorted(names)
            for key, p in _direct(self.layers[name]).items()
        }
        return Network(self.module, rest, self.loose | freed)

    @contextmanager
    def _recording(self, calls: dict[str, list[Call]], n: int, shared: set[str]) -> Iterator[None]:
        def keep(name: str) -> Any:
            def hook(
                _: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any
            ) -> Any:
                inputs = tuple(
                    i.detach() for i in (*given, *named.values()) if isinstance(i, Tensor)
                )
                if (
                    not isinstance(output, Tensor)
                    or not output.ndim
                    or len(output) not in (1, n)
                    or not inputs
                ):
                    raise NotALayerError([name])
                if len(output) < n:  # shared by the samples, as positions are: each gets its own
                    shared.add(name)
                    output = output.expand(n, *output.shape[1:])
                    inputs = tuple(i.expand(n, *i.shape[1:]) if len(i) == 1 else i for i in inputs)
                calls[name].append(Call(inputs, output))
                return output.clone()  # what follows may work in place

            return hook

        handles = [
            layer.register_forward_hook(keep(name), with_kwargs=True)
            for name, layer in self.layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def ready(self, x: Inputs) -> Inputs:
        """A copy of inputs where the weights are, floating-point ones in their dtype."""
        if isinstance(x, dict):
            return {name: self.ready(part) for name, part in x.items()}  # type: ignore[misc]
        kind = self.dtype if x.is_floating_point() else x.dtype
        return x.to(self.device, kind, copy=True)  # the network may write into it


class NotALayerError(Exception):
    """Modules whose calls do not explain, sample by sample, the gradients of their parameters."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = sorted(names)


def called(module: nn.Module, x: Inputs) -> Any:
    """Give what a module says are logits.

    Raises
    ------
    StudentError
        If it fails.
    """
    try:
        return logits_of(module(**x) if isinstance(x, dict) else module(x))
    except (NotALayerError, StudentError, MemoryError):
        raise
    except Exception as error:
        if "memory" in str(error):  # torch's own want of it
            raise
        raise StudentError(_failure(error, x, module)) from error


def logits_of(out: Any) -> Any:
    """Give the logits of what a network returned: a tensor, the `logits` of an object or a dict, or
    the first of a tuple.
    """
    if isinstance(out, Mapping) and "logits" in out:
        return out["logits"]
    found = getattr(out, "logits", out)
    return found[0] if isinstance(found, tuple | list) and found else found


def unwrapped(module: nn.Module) -> nn.Module:
    """Give the network inside those of `torch.compile`, `DataParallel` and the like."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def own_copy(module: nn.Module) -> nn.Module:
    """Give a copy to work with: unwrapped, in float32 at least, gradients of embeddings as whole
    tables.

    Raises
    ------
    StudentError
        If it cannot be copied.
    """
    own = copied(unwrapped(module))
    for part in own.modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            part.sparse = False
    floating = [t.dtype for t in (*own.parameters(), *own.buffers()) if t.is_floating_point()]
    return own.float() if any(dtype.itemsize < 4 for dtype in floating) else own


def copied(module: nn.Module) -> nn.Module:
    """Copy a network, also one whose weights are computed from others before each call (weight
    norm, pruning).
    """
    held = (value for part in module.modules() for value in vars(part).values())
    computed = {id(value): value.detach().clone() for value in _tensors(held) if not value.is_leaf}
    try:
        own: nn.Module = copy.deepcopy(module, computed)
    except Exception as error:
        raise StudentError(
            f"The network cannot be copied ({type(error).__name__}: {error}). Give one that"
            " copy.deepcopy can copy: without open files, locks, or tensors that were computed and"
            " kept."
        ) from error
    for parameter in own.parameters():
        if not parameter.is_leaf:  # a compiled script's copy
            parameter.detach_().requires_grad_()
    return own


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value.values())
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _can_be_watched(part: nn.Module) -> bool:
    """Whether a module's calls can tell what its own parameters did."""
    scripted = isinstance(part, torch.jit.ScriptModule)
    # What hooks compute before a call (old weight norm, pruning) or change after it, the rules do
    # not see.
    hooked = bool(part._forward_pre_hooks or part._forward_hooks)
    return not scripted and not hooked and not any(True for _ in part.children())


def check_names(module: nn.Module, x: Mapping[str, Tensor]) -> None:
    """See that named inputs are what a network's `forward` takes.

    Raises
    ------
    StudentError
        If one is not known to it, or one that it needs is missing.
    """
    parameters = inspect.signature(unwrapped(module).forward).parameters.values()
    kinds = {p.kind for p in parameters}
    single = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    known = [p.name for p in single]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in x:
            if name not in known:
                raise StudentError(
                    f"The task has an input {name}, which the network's forward does not take; it"
                    f" takes {', '.join(known)}{nearest(name, known)}."
                )
    for parameter in single:
        if parameter.default is parameter.empty and parameter.name not in x:
            raise StudentError(
                f"The network's forward needs {parameter.name}, and the task has no input of that"
                f" name (x_train.{parameter.name}); it has {', '.join(x)}."
            )


def _failure(error: Exception, x: Inputs, module: nn.Module) -> str:
    shapes = (
        ", ".join(f"{name} {tuple(part.shape)}" for name, part in x.items())
        if isinstance(x, dict)
        else tuple(x.shape)
    )
    text = str(error).strip().splitlines()
    said = (
        f"The network fails on inputs of shape {shapes} with {type(error).__name__}:"
        f" {text[0] if text else 'no message'}."
    )
    parts = x if isinstance(x, dict) else {"x_train": x}
    if isinstance(error, IndexError | RuntimeError):
        told = _of_token_ids(error, parts, module)
        if told is not None:
            return f"{said} {told}"
    if not isinstance(x, Tensor):
        return f"{said} Lengths and masks of named inputs have to go together."
    images = (
        ", images channels-first; how a task's are stored its image_layout says"
        if x.ndim in (4, 5)
        else ""
    )
    kind = "floating-point" if x.is_floating_point() else "whole-number"
    return f"{said} It gets {kind} inputs{images}."


def _of_token_ids(error: Exception, parts: Mapping[str, Tensor], module: nn.Module) -> str | None:
    """What is wrong with token ids, if that is why a network fails."""
    if _INDICES.search(str(error)):
        if "x_train" in parts and parts["x_train"].is_floating_point():
            return (
                "It takes token ids, and gets floating-point numbers, which are standardised by"
                " default. Give --no-standardise (standardise=False), and let its forward begin"
                " with x = x.long(); or give the ids by the name of forward's argument, such as"
                " x_train.input_ids, as whole numbers."
            )
        wrong = [name for name, part in parts.items() if part.is_floating_point()]
        return (
            "It takes token ids, whole numbers, and of its inputs these hold floating-point"
            f" numbers: {', '.join(wrong)}."
        )
    tables = [m.num_embeddings for m in module.modules() if isinstance(m, nn.Embedding)]
    if "out of range" not in str(error) or not tables:
        return None
    whole = {name: part for name, part in parts.items() if not part.is_floating_point()}
    if not whole:
        return None
    for name, part in whole.items():
        if int(part.min()) < 0:
            return f"{name} holds {int(part.min())}; expected token ids of 0 or more."
    name, largest = max(((n, int(p.max())) for n, p in whole.items()), key=lambda found: found[1])
    return (
        f"The largest value of {name} is {largest}, and the network's tables of embeddings have"
        f" {', '.join(str(size) for size in sorted(set(tables)))} rows, for token ids from 0 on."
    )


def _direct(module: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in module.named_parameters(recurse=False) if p.requires_grad}
