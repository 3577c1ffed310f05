"""An infinitely wide network, layer by layer, as a kernel."""

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.exceptions import StudentError
from tutelage.kernels import vectors
from tutelage.kernels.activations import Activation
from tutelage.kernels.layers import (
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Normalise,
    Residual,
    check_gaussian,
    check_layers,
)  # fmt: skip
from tutelage.kernels.program import Program, program
from tutelage.progress import Progress, silent

# Images, and vectors, of the short run that tells how long the work will take.
_SIDE, _IMAGES, _SAMPLES = 32, 16, 256


@dataclass(frozen=True)
class Cost:
    """What a kernel will cost on this machine.

    Attributes
    ----------
    pairs : int
        Pairs of inputs.
    seconds : float
        From a short run on this machine.
    bytes : int
        Of the result and of what is held beside it.

    Examples
    --------
    >>> from tutelage.kernels import mlp
    >>> cost = mlp(depth=1).cost((10,), n=1000)
    >>> cost.pairs, cost.bytes >= 8 * 1000**2
    (500500, True)
    >>> str(Cost(pairs=500_500, seconds=2.0, bytes=1_500_000_000))
    '500,500 pairs, about 2 s, 1.5 GB'
    """

    pairs: int
    seconds: float
    bytes: int

    def __str__(self) -> str:
        minutes = f"{self.seconds / 60:.0f} min" if self.seconds >= 90 else f"{self.seconds:.0f} s"
        return f"{self.pairs:,} pairs, about {minutes}, {self.bytes / 1e9:.1f} GB"


@dataclass(frozen=True, init=False)
class Sequential:
    """Layers in a row, infinitely wide; the kernel of that student (NTK), and its covariance at
    initialisation (NNGP).

    In NTK parameterisation, with fan-in scaling. For a pair of inputs every layer takes the
    covariance Σ of its units and the tangent Θ on:

        weights:     Σ → σ_w² ⟨Σ⟩ + σ_b²,    Θ → Σ_new + σ_w² ⟨Θ⟩
        activation:  Σ → E[a(u) a(v)],       Θ → Θ E[a'(u) a'(v)],   (u, v) ~ N(0, Σ)
        pooling, sums: Σ and Θ alike

    where ⟨·⟩ is the mean over a convolution's window.

    Parameters
    ----------
    *layers : layers
        Of `tutelage.kernels`: `Dense`, `Conv`, activations, `AvgPool`, `GlobalAvgPool`, `Flatten`,
        `Residual`, `Normalise`. The last ones give a vector.
    spec : str, optional
        What results call the student.

    Raises
    ------
    StudentError
        If no closed form holds for the layers in this order; or, when it is called, if they do not
        fit the inputs.

    References
    ----------
    Jacot, Gabriel and Hongler, *Neural Tangent Kernel*, NeurIPS 2018; Lee et al., *Wide Neural
    Networks of Any Depth Evolve as Linear Models*, NeurIPS 2019; Arora et al., *On exact
    computation with an infinitely wide neural net*, NeurIPS 2019; Novak et al., *Bayesian deep
    convolutional networks with many channels are Gaussian processes*, ICLR 2019.

    Examples
    --------
    >>> import torch
    >>> from tutelage.kernels import Relu
    >>> network = Sequential(Conv(3), Relu(), Conv(3, stride=2), Relu(), GlobalAvgPool(), Dense())
    >>> network(torch.ones(2, 3, 8, 8, dtype=torch.float64)).shape
    torch.Size([2, 2])
    """

    layers: tuple[Layer, ...]
    name: str | None

    def __init__(self, *layers: Layer, spec: str | None = None) -> None:
        object.__setattr__(self, "layers", check_layers(layers))
        object.__setattr__(self, "name", spec)
        ends_gaussian = check_gaussian(self.layers)
        if not any(_has_weights(layer) for layer in self.layers) or not ends_gaussian:
            raise StudentError(
                "A network ends with the layer that gives its outputs; put a Dense() at the end."
            )

    @property
    def spec(self) -> str:
        """The student as a SPEC, in full, if it has one."""
        return self.name or f"Sequential({', '.join(map(repr, self.layers))})"

    def __call__(
        self, x1: Float[Tensor, "n1 ..."], x2: Float[Tensor, "n2 ..."] | None = None
    ) -> Float[Tensor, "n1 n2"]:
        """Θ(x1, x2), block by block; of Θ(x1, x1) only the lower half is computed."""
        return self._pairs(x1, x2)

    def nngp(
        self, x1: Float[Tensor, "n1 ..."], x2: Float[Tensor, "n2 ..."] | None = None
    ) -> Float[Tensor, "n1 n2"]:
        """Σ(x1, x2): the covariance of outputs at initialisation."""
        return self._pairs(x1, x2, ntk=False)

    def gram(
        self, x: Float[Tensor, "n ..."], *, progress: Progress = silent
    ) -> Float[Tensor, "n n"]:
        """Θ(x, x), told of as it goes."""
        return self._pairs(x, None, progress)

    def cross(
        self,
        x1: Float[Tensor, "n1 ..."],
        x2: Float[Tensor, "n2 ..."],
        *,
        progress: Progress = silent,
    ) -> Float[Tensor, "n1 n2"]:
        """Θ(x1, x2), told of as it goes."""
        return self._pairs(x1, x2, progress)

    @torch.no_grad()
    def diag(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Θ(x, x) of each input."""
        inputs, network = self._prepared(x)
        if isinstance(network, Program):
            return _images().diagonals(network, inputs).to(x.device)
        return vectors.diagonals(network, inputs)

    def cost(
        self,
        input_shape: tuple[int, ...],
        n: int,
        others: int | None = None,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Cost:
        """Say what Θ of n inputs with themselves, or with so many others, will cost on this
        machine.

        Parameters
        ----------
        input_shape : tuple of int
            Of one input: (features,), or (channels, height, width).
        n : int
        others : int, optional
        dtype : torch.dtype

        Returns
        -------
        Cost

        Raises
        ------
        StudentError
            If the inputs do not fit the layers.

        Examples
        --------
        >>> from tutelage.kernels import Relu
        >>> Sequential(Conv(3), Relu(), GlobalAvgPool(), Dense()).cost((3, 8, 8), 100).pairs
        5050
        """
        pairs = n * (n + 1) // 2 if others is None else n * others
        result = n * (n if others is None else others) * dtype.itemsize
        inputs, network = self._prepared(torch.ones(1, *input_shape, dtype=dtype))
        if isinstance(network, Program):
            per_unit = _seconds_per_unit(
                tuple(_activations(self.layers)[:1]), inputs.shape[1], dtype
            )
            return Cost(
                pairs, pairs * network.work * per_unit, result + _images().beside(network, inputs)
            )
        few = min(n, _SAMPLES)
        per_pair = _seconds(self, torch.ones(few, *input_shape, dtype=dtype)) / (
            few * (few + 1) / 2
        )
        return Cost(pairs, pairs * per_pair, result + 8 * vectors.BLOCK**2 * dtype.itemsize)

    @torch.no_grad()
    def _pairs(
        self, x1: Tensor, x2: Tensor | None, progress: Progress = silent, *, ntk: bool = True
    ) -> Tensor:
        left, network = self._prepared(x1)
        right = None if x2 is None else self._prepared(x2)[0]
        n, others = len(left), len(left if right is None else right)
        name, total = "kernel", n * others if right is not None else n * (n + 1) / 2
        if progress is not silent and isinstance(network, Program):
            other = None if right is None else others
            name = f"kernel: {self.cost(tuple(x1.shape[1:]), n, other, dtype=x1.dtype)}"
        with progress(name, total) as advance:
            if isinstance(network, Program):
                return _images().pairs(network, left, right, advance, ntk=ntk).to(x1.device)
            return vectors.pairs(network, left, right, advance, ntk=ntk)

    def _prepared(self, x: Tensor) -> tuple[Tensor, Program | tuple[Layer, ...]]:
        """Inputs and network, for images or for vectors."""
        first = next((layer for layer in self.layers if not isinstance(layer, Normalise)), None)
        dense = isinstance(first, Flatten) or not _takes_images(self.layers)
        inputs: Tensor = x.flatten(1) if dense else _images().check(x)
        network = (
            vectors.dense_layers(self.layers)
            if dense
            else program(self.layers, inputs.shape[2], inputs.shape[3])
        )
        return _normalised(inputs) if isinstance(self.layers[0], Normalise) else inputs, network


def _normalised(x: Tensor) -> Tensor:
    scale = (
        torch.linalg.vector_norm(x.flatten(1), dim=1)
        .div(math.sqrt(x[0].numel()))
        .clamp_min(torch.finfo(x.dtype).tiny)
    )
    return x / scale.reshape(-1, *[1] * (x.ndim - 1))


def _takes_images(layers: tuple[Layer, ...]) -> bool:
    return any(
        not isinstance(layer, Dense | Activation | Normalise | Residual)
        or (isinstance(layer, Residual) and _takes_images((*layer.branch, *layer.shortcut)))
        for layer in layers
    )


def _has_weights(layer: Layer) -> bool:
    return isinstance(layer, Dense | Conv) or (
        isinstance(layer, Residual) and any(map(_has_weights, layer.branch))
    )


def _activations(layers: tuple[Layer, ...]) -> list[Activation]:
    found: list[Activation] = []
    for layer in layers:
        if isinstance(layer, Activation):
            found.append(layer)
        elif isinstance(layer, Residual):
            found += _activations((*layer.branch, *layer.shortcut))
    return found


def _images() -> ModuleType:
    """The compiler takes a third of a second to load, which a student for vectors need not wait
    for.
    """
    from tutelage.kernels import images

    return images


@lru_cache
def _seconds_per_unit(
    activation: tuple[Activation, ...], channels: int, dtype: torch.dtype
) -> float:
    """Of the work of a pair of images; timed once, as a plan asks more than once."""
    small = Sequential(Conv(), *activation, Conv(), *activation, GlobalAvgPool(), Dense())
    seconds = _seconds(small, torch.ones(_IMAGES, channels, _SIDE, _SIDE, dtype=dtype))
    return seconds / (_IMAGES**2 * program(small.layers, _SIDE, _SIDE).work)


def _seconds(kernel: Sequential, x: Tensor) -> float:
    """Time a call, after another one."""
    for _ in range(2):
        started = time.perf_counter()
        kernel(x, x.clone())
    return time.perf_counter() - started
