"""The kernel of a network of finite width, at the weights that it has."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tutelage.data.inputs import Inputs, length, rows
from tutelage.exceptions import StudentError
from tutelage.kernels.adam import Moments, factors
from tutelage.kernels.batch import Batch, Layer
from tutelage.kernels.features import Features, collect, layered, loose
from tutelage.kernels.network import Network, NotALayerError
from tutelage.progress import Progress, silent

GIB = 1 << 30
# What a module is asked to record while it is called, another thread must not disturb.
_ALONE = Lock()
_PANEL = 1024  # rows that are mirrored at once
_MOVED = 300.0  # operations in the time that it takes to write, check and copy a gradient's number
_KEPT = 4  # features of inputs and passes that are remembered

Outputs = Literal["mean", "full"] | int


@dataclass(frozen=True)
class EmpiricalKernel:
    """Neural tangent kernel of a finite network at given weights; see `empirical`.

    Examples
    --------
    A linear network's is that of its inputs and of the bias:

    >>> kernel, x = empirical(nn.Linear(3, 2)), torch.tensor([[1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    >>> kernel(x)
    tensor([[2., 2.],
            [2., 6.]])
    >>> kernel.diag(x)
    tensor([2., 6.])
    """

    network: Network
    outputs: Outputs = "mean"
    memory: int = 2 * GIB
    projected: int | None = None
    seed: int = 0
    probes: int | None = None
    remember: bool = False
    moments: Moments | None = field(default=None, compare=False, repr=False)
    kept: "dict[Any, tuple[Inputs, list[Features]]]" = field(
        init=False, default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not (
            self.outputs in ("mean", "full")
            or (isinstance(self.outputs, int) and self.outputs >= 0)
        ):
            raise StudentError(
                f"outputs is {self.outputs!r}; expected mean, full, or the number of one output,"
                " from 0."
            )
        if self.projected is not None and self.projected < 1:
            raise StudentError(
                f"projected is {self.projected}; expected a number of dimensions, 1 or more."
            )
        if self.probes is not None and (self.probes < 1 or self.outputs != "mean"):
            raise StudentError(
                f"probes is {self.probes} with outputs {self.outputs!r}; expected a number of"
                " directions, 1 or more, with outputs mean, which they estimate."
            )

    def __getstate__(self) -> dict[str, Any]:
        """What is remembered does not travel to other processes."""
        return vars(self) | {"kept": {}}

    def __call__(self, x1: Inputs, x2: Inputs | None = None) -> Tensor:
        """Θ(x1, x2); a dict of tensors holds one tensor for each argument of the network's
        `forward`.
        """
        return self.gram(x1) if x2 is None else self._like(x1, self._settled(_Work.block, x1, x2))

    def gram(self, x: Inputs, *, progress: Progress = silent) -> Tensor:
        """Θ(x, x), symmetric to the bit."""
        result = self._settled(partial(_Work.square, progress=progress), x)
        if self.outputs != "full":
            for start in range(0, len(result), _PANEL):
                part, rest = slice(start, start + _PANEL), slice(start + _PANEL, None)
                result[part, rest] = result[rest, part].mT
                result[part, part] = result[part, part].tril() + result[part, part].tril(-1).mT
        return self._like(x, result)

    def diag(self, x: Inputs) -> Tensor:
        """Θ(x, x) of each input; with full outputs its C × C block."""
        return self._like(x, self._settled(_Work.diagonal, x))

    def operations(self, x: Inputs) -> tuple[float, float, float]:
        """Floating-point operations that it takes: of the network for a sample, of features for a
        sample, and of the kernel for a pair of samples; counted, not measured.
        """
        trial = rows(x, slice(0, 2))
        work = _Work.of(self, trial)
        forward, heads = FlopCounterMode(display=False), FlopCounterMode(display=False)
        with forward:
            logits, calls = work.network.record(trial)
        batch = Batch.of(work.network, trial, logits, calls, work.layers, list(work.heads))
        with heads:
            for _ in batch.rows():
                pass
        counted = [m.get_total_flops() / length(trial) for m in (forward, heads)]
        numbers = {layer: work.numbers(layer, len(work.heads)) for layer in work.layers}
        moved = sum(count for layer, count in numbers.items() if not layer.dense)
        return counted[0], sum(counted) + _MOVED * moved, 2.0 * sum(numbers.values())

    def projection_error(self, x: Inputs) -> float:
        """How far the projected kernel lies from the exact one: relative Frobenius norm over these
        inputs.
        """
        exact = replace(self, projected=None)(x)
        return float(torch.linalg.norm(self(x) - exact) / torch.linalg.norm(exact))

    def _settled(self, compute: Callable[..., Tensor], *inputs: Inputs) -> Tensor:
        """Compute, and begin again without the modules that turn out in some batch to be no
        layers.
        """
        with _ALONE:
            work = _Work.of(self, *inputs)
            while True:
                try:
                    return compute(work, *inputs).mul_(work.scale)
                except NotALayerError as error:
                    work = work.loosened(error.names)

    def _like(self, x: Inputs, found: Tensor) -> Tensor:
        """Where floating inputs are, and in their dtype; not in half precision, whose range kernels
        leave.
        """
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return found
        return found.to(x.device, x.dtype if x.dtype.itemsize >= 4 else found.dtype)


@dataclass(frozen=True)
class _Work:
    """How a kernel is cut into parts that fit in memory."""

    kernel: EmpiricalKernel
    network: Network
    layers: list[Layer]
    heads: Tensor  # (outputs, C): combinations of logits that are differentiated
    scale: float

    @classmethod
    def of(cls, kernel: EmpiricalKernel, *inputs: Inputs) -> "_Work":
        with torch.enable_grad():
            classes = kernel.network(rows(inputs[0], slice(0, 2))).shape[1]
        chosen = [kernel.outputs] if isinstance(kernel.outputs, int) else list(range(classes))
        if chosen[-1] >= classes:
            raise StudentError(
                f"Output {chosen[-1]} was asked for; the network has {classes}, counted from 0."
            )
        network, layers = layered(kernel.network, *inputs)
        heads = torch.eye(classes, dtype=network.dtype, device=network.device)[chosen]
        if kernel.probes is not None and kernel.probes < classes - 1:
            heads = _directions(kernel.probes, heads, kernel.seed)
        scale = 1 / len(heads) if kernel.outputs == "mean" else 1.0
        return cls(kernel, network, layers, heads, scale)

    @property
    def outputs(self) -> list[int]:
        """Their numbers."""
        return list(range(len(self.heads)))

    def loosened(self, names: Iterable[str]) -> "_Work":
        """The same without some layers, whose gradients are taken sample by sample."""
        network = self.network.loosened(names)
        kept = [layer for layer in self.layers if layer.name in network.layers]
        return replace(self, network=network, layers=[*kept, loose(network)])

    def diagonal(self, x: Inputs) -> Tensor:
        """Of each sample with itself, (n,), or (n, C, C) with all blocks."""
        parts, full = [], self.kernel.outputs == "full"
        for span in self.spans(length(x)):
            passes = self.passes(len_of(span))
            blocks = [
                f.diagonal(full=full) for part in passes for f in self.features(rows(x, span), part)
            ]
            parts.append(torch.stack(blocks).sum(0))
        return torch.cat(parts)

    def square(self, x: Inputs, *, progress: Progress) -> Tensor:
        """Of samples with each other, (n, n), on and below the diagonal; or (n, n, C, C) with all
        blocks.
        """
        spans, full = self.spans(length(x)), self.kernel.outputs == "full"
        pairs = [(a, b) for a in spans for b in spans if full or b.start <= a.start]
        return self._in_pairs(x, x, pairs, progress, lower=not full)

    def block(self, x1: Inputs, x2: Inputs) -> Tensor:
        """Of samples with others, (n1, n2), or (n1, n2, C, C) with all blocks."""
        pairs = [(a, b) for a in self.spans(length(x1)) for b in self.spans(length(x2))]
        return self._in_pairs(x1, x2, pairs, silent, lower=False)

    def _in_pairs(
        self,
        x1: Inputs,
        x2: Inputs,
        pairs: list[tuple[slice, slice]],
        progress: Progress,
        *,
        lower: bool,
    ) -> Tensor:
        full, network = self.kernel.outputs == "full", self.network
        blocks = (len(self.outputs),) * 2 if full else ()
        result = torch.zeros(
            length(x1), length(x2), *blocks, dtype=network.dtype, device=network.device
        )
        with progress(
            "kernel of the network", sum(len_of(a) * len_of(b) for a, b in pairs)
        ) as advance:
            for a, b in pairs:
                same = lower and a == b
                passes = self.passes(len_of(a) + (0 if same else len_of(b)))
                for part in passes:
                    left = self.features(rows(x1, a), part)
                    right = left if same else self.features(rows(x2, b), part)
                    for f, g in zip(left, right, strict=True):
                        if full:
                            f.add_blocks_to(result[a, b], g)
                        else:
                            f.add_to(result[a, b], g, lower=same)
                    advance(len_of(a) * len_of(b) / len(passes))
        return result

    def numbers(self, layer: Layer, n_outputs: int) -> int:
        """Of a layer's features of a sample."""
        cap = self.kernel.projected
        size = layer.per_output if layer.dense or cap is None else min(layer.per_output, cap)
        return layer.once + n_outputs * size

    @property
    def _room(self) -> float:
        """Numbers that may be kept: half of the memory, as the other half goes to passing batches
        through.
        """
        return self.kernel.memory / 2 / torch.finfo(self.network.dtype).bits * 8

    def spans(self, n: int) -> list[slice]:
        """Samples whose features of the largest layer, two spans at a time, fit in memory."""
        n_outputs = len(self.outputs) if self.kernel.outputs == "full" else 1
        step = max(
            1, int(self._room / 2 / max(self.numbers(layer, n_outputs) for layer in self.layers))
        )
        return [slice(start, min(start + step, n)) for start in range(0, n, step)]

    def passes(self, n: int) -> list[tuple[list[Layer], list[int]]]:
        """Layers and outputs that are taken together for n samples."""
        found: list[tuple[list[Layer], list[int]]] = []
        together: list[Layer] = []
        for layer in self.layers:
            count = max(
                1,
                int((self._room / n - layer.once) // max(1, self.numbers(layer, 1) - layer.once)),
            )
            if count < len(self.outputs) and self.kernel.outputs != "full":
                found += [
                    ([layer], self.outputs[k : k + count])
                    for k in range(0, len(self.outputs), count)
                ]
                continue
            if (
                together
                and n * sum(self.numbers(o, len(self.outputs)) for o in [*together, layer])
                > self._room
            ):
                found.append((together, self.outputs))
                together = []
            together = [*together, layer]
        return [*found, (together, self.outputs)] if together else found

    def _factors(self, layers: Sequence[Layer]) -> list[tuple[Tensor | None, Tensor | None]]:
        moments, network = self.kernel.moments, self.network
        if moments is None:
            return [(None, None)] * len(layers)
        here = {name: m.to(network.device, network.dtype) for name, m in moments.items()}
        return [factors(network, layer, here) for layer in layers]

    def features(self, x: Inputs, part: tuple[list[Layer], list[int]]) -> list[Features]:
        """Of one pass; remembered where they are small and the inputs will not change."""
        (layers, outputs), kept = part, self.kernel.kept
        key = (*_address(x), *(layer.name for layer in layers), *outputs)
        if key in kept:
            return kept[key][1]
        found = collect(
            self.network,
            x,
            layers,
            self.heads[outputs],
            self.kernel.projected,
            self.kernel.seed,
            self._room,
            self._factors(layers),
        )
        size = length(x) * sum(self.numbers(layer, len(outputs)) for layer in layers)
        if self.kernel.remember and size <= self._room / 4 and len(kept) < _KEPT:
            kept[key] = (x, found)  # with the inputs, so that their address stays theirs
        return found


def _address(x: Inputs) -> tuple[Any, ...]:
    tensors = x.values() if isinstance(x, dict) else [x]
    return tuple(part for t in tensors for part in (t.data_ptr(), tuple(t.shape), t.stride()))


def _directions(count: int, like: Tensor, seed: int) -> Tensor:
    """Random directions of logits, at right angles to each other and to the one in which all move
    alike: in that one the loss has no gradient.
    """
    drawn = torch.randn(count, like.shape[1], generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr((drawn - drawn.mean(1, keepdim=True)).mT).Q.mT.to(like)


def empirical(
    network: nn.Module,
    *,
    outputs: Outputs = "mean",
    memory: int = 2 * GIB,
    projected: int | None = None,
    seed: int = 0,
    probes: int | None = None,
    remember: bool = False,
    moments: Moments | None = None,
) -> EmpiricalKernel:
    """Give the neural tangent kernel of a network of torch at the weights that it has now, (1.1).

    Exact: a dense layer on vectors costs two Gram matrices and no per-sample gradient;
    convolutions, embeddings, normalisations, attention and any other layer go by their per-sample
    gradients.

    Parameters
    ----------
    network : torch.nn.Module
        Random, pretrained or trained; it is copied, and put in evaluation mode (no dropout, batch
        norm with its running averages). Frozen parameters are not part of the kernel. Its output is
        (n,), (n, C), or has `logits`.
    outputs : {"mean", "full"} or int
        Which of the C × C output blocks: the mean of the C diagonal ones (one kernel for all
        classes, as in infinite width), that of one output, or all of them, shape (n1, n2, C, C),
        for small cases.
    memory : int
        Bytes that features may take beyond the kernel.
    projected : int, optional
        Map the gradients of each layer that is not dense to so many dimensions (a seeded sparse
        Johnson-Lindenstrauss map); `projection_error` measures what that costs.
    seed : int
        Of the projection, and of the probes.
    probes : int, optional
        Estimate the mean over outputs from so many random directions of the logits in place of all
        C (docs/theory.md §3.2): the cost falls as C does. All are taken where C - 1 are no more.
    remember : bool
        Keep small features of inputs that may be given again, which must not be changed meanwhile.
    moments : mapping of str to Tensor, optional
        Each parameter's mean square gradient, by name: the kernel is that of a network trained by
        AdamW, Σ ∂f ∂f' / √moment (docs/theory.md (8.3)).

    Returns
    -------
    EmpiricalKernel
        Callable on (x1, x2=None), with `.diag(x)`; inputs are tensors, or dicts of tensors with one
        for each argument of `forward`. In the dtype of floating inputs, computed in the network's
        own.

    Raises
    ------
    StudentError
        If the network cannot be trained, or does not give logits.

    Examples
    --------
    A linear network's kernel is the Gram matrix of its inputs, plus 1 for the bias:

    >>> import torch
    >>> empirical(torch.nn.Linear(2, 1))(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    tensor([[2., 2.],
            [2., 6.]])
    """
    return EmpiricalKernel(
        Network.of(network), outputs, memory, projected, seed, probes, remember, moments
    )


def len_of(span: slice) -> int:
    """Number of samples in a span."""
    return int(span.stop - span.start)
