"""The layers of an infinitely wide network, in NTK parameterisation with fan-in scaling.

Each is a description; what it does to covariances is in `program.py` and `compiled.py` for images,
in `vectors.py` for vectors. Padding is PyTorch's: `same` puts (kernel_size - 1) // 2 zeros before
and the rest after, whatever the stride. (XLA's SAME, which neural-tangents uses, pads less at a
stride above 1 and puts the odd zero after; at stride 1 both are one.)
"""

from dataclasses import dataclass
from math import inf
from typing import Any

from tutelage.exceptions import StudentError
from tutelage.kernels.activations import Activation

PADDINGS = ("same", "valid", "circular")


@dataclass(frozen=True)
class Dense:
    """A fully-connected layer: K → σ_w² K + σ_b², Θ → its new K + σ_w² Θ.

    Examples
    --------
    Alone, it gives the kernel of a linear model:

    >>> import torch
    >>> from tutelage.kernels import Sequential
    >>> linear, x = Sequential(Dense(1.0, bias_var=0.0)), torch.tensor([[3.0, 1.0], [1.0, -1.0]])
    >>> linear(x).round(decimals=4)
    tensor([[5., 1.],
            [1., 1.]])
    """

    weight_var: float = 2.0
    bias_var: float = 0.1

    def __post_init__(self) -> None:
        _check_variances("dense layer", self.weight_var, self.bias_var)


@dataclass(frozen=True)
class Conv:
    """A two-dimensional convolution: as `Dense`, of the mean over the window, which zeros of the
    padding count in.

    Parameters
    ----------
    kernel_size, stride : int
    padding : {"same", "valid", "circular"}
        `circular` is `Conv2d(padding_mode="circular", padding=(kernel_size - 1) // 2)`.
    weight_var, bias_var : float
        σ_w² and σ_b².

    Examples
    --------
    With circular padding it does not matter where in an image something stands:

    >>> import torch
    >>> from tutelage.kernels import Relu, Sequential
    >>> network = Sequential(Conv(3, padding="circular"), Relu(), GlobalAvgPool(), Dense())
    >>> x = torch.arange(48.0).reshape(1, 3, 4, 4)
    >>> torch.allclose(network(x), network(x, x.roll(1, dims=3)))
    True
    """

    kernel_size: int = 3
    stride: int = 1
    padding: str = "same"
    weight_var: float = 2.0
    bias_var: float = 0.1

    def __post_init__(self) -> None:
        _check_variances("convolution", self.weight_var, self.bias_var)
        if self.padding not in PADDINGS:
            raise StudentError(
                f"A convolution's padding is one of {', '.join(PADDINGS)}; it was {self.padding!r}."
            )
        if not (_whole(self.kernel_size) and _whole(self.stride)):
            raise StudentError(
                "A convolution's kernel_size and stride are whole numbers of 1 or more; they were"
                f" {self.kernel_size!r} and {self.stride!r}."
            )

    @property
    def left(self) -> int:
        """Pixels of padding before the image."""
        return 0 if self.padding == "valid" else (self.kernel_size - 1) // 2

    @property
    def both(self) -> int:
        """Pixels of padding before and after."""
        return 0 if self.padding == "valid" else self.kernel_size - 1


@dataclass(frozen=True)
class AvgPool:
    """The mean over windows of pixels, side by side; as PyTorch's, it leaves out pixels that fill
    no window.

    Examples
    --------
    Where in a window a pixel stands does not matter:

    >>> import torch
    >>> from tutelage.kernels import Relu, Sequential
    >>> network = Sequential(Conv(1), Relu(), AvgPool(2), Flatten(), Dense())
    >>> x = torch.arange(12.0).reshape(1, 3, 2, 2)
    >>> torch.allclose(network(x), network(x, x.flip(3)))
    True
    """

    window: int = 2

    def __post_init__(self) -> None:
        if not _whole(self.window):
            raise StudentError(
                f"A pooling window is a whole number of 1 or more; it was {self.window!r}."
            )


@dataclass(frozen=True)
class GlobalAvgPool:
    """The mean over all pixels. It costs the square of the pixels for each pair of images.

    Examples
    --------
    Where in the image a pixel stands does not matter:

    >>> import torch
    >>> from tutelage.kernels import Relu, Sequential
    >>> network = Sequential(Conv(1), Relu(), GlobalAvgPool(), Dense())
    >>> x = torch.arange(48.0).reshape(1, 3, 4, 4)
    >>> torch.allclose(network(x), network(x, x.mT))
    True
    """


@dataclass(frozen=True)
class Flatten:
    """All pixels of all channels as one vector.

    Examples
    --------
    Images go to a fully-connected network as vectors:

    >>> import torch
    >>> from tutelage.kernels import Relu, Sequential
    >>> images, layers = torch.ones(2, 3, 4, 4), (Dense(), Relu(), Dense())
    >>> torch.equal(Sequential(Flatten(), *layers)(images), Sequential(*layers)(images.flatten(1)))
    True
    """


@dataclass(frozen=True)
class Normalise:
    """Each input, divided by the root of its mean square; a zero input stays zero. Only at the
    beginning.

    Examples
    --------
    The scale of an input does not matter:

    >>> import torch
    >>> from tutelage.kernels import Relu, Sequential
    >>> x = torch.tensor([[3.0, 4.0]])
    >>> network = Sequential(Normalise(), Dense(), Relu(), Dense())
    >>> torch.allclose(network(x), network(x, 10 * x))
    True
    """


@dataclass(frozen=True, init=False)
class Residual:
    """x + branch(x), or shortcut(x) + branch(x).

    Parameters
    ----------
    *branch : layers
        One of branch and shortcut ends with a `Dense` or `Conv`, whose fresh weights make the two
        uncorrelated.
    shortcut : sequence of layers
        By default x itself.

    Examples
    --------
    >>> import torch
    >>> from tutelage.kernels import Relu, Sequential
    >>> block = Residual(Relu(), Dense(), shortcut=(Dense(),))
    >>> Sequential(Dense(), block, Relu(), Dense())(torch.eye(3)).shape
    torch.Size([3, 3])
    """

    branch: tuple["Layer", ...]
    shortcut: tuple["Layer", ...]

    def __init__(self, *branch: "Layer", shortcut: "tuple[Layer, ...]" = ()) -> None:
        object.__setattr__(self, "branch", check_layers(branch))
        object.__setattr__(self, "shortcut", check_layers(shortcut))
        if not (_ends_fresh(self.branch) or _ends_fresh(self.shortcut)):
            raise StudentError(
                "In a residual sum, branch or shortcut must end with a Dense or Conv, so that the"
                " two are uncorrelated."
            )
        for layer in (*self.branch, *self.shortcut):
            if isinstance(layer, AvgPool | GlobalAvgPool | Flatten | Normalise):
                raise StudentError(
                    f"A {type(layer).__name__} cannot stand inside a residual sum; put it outside."
                )


Layer = Dense | Conv | AvgPool | GlobalAvgPool | Flatten | Normalise | Residual | Activation
"""What a `Sequential` is made of, for annotations.

Examples
--------
>>> import torch
>>> from tutelage.kernels import Dense, Layer, Relu, Sequential
>>> def block(depth: int) -> list[Layer]:
...     return [Dense(), Relu()] * depth
>>> Sequential(*block(2), Dense())(torch.eye(3)).shape
torch.Size([3, 3])
"""


def check_layers(layers: tuple[Any, ...]) -> tuple[Layer, ...]:
    """Give the layers back, or say which of them is none."""
    for layer in layers:
        if not isinstance(layer, Layer):
            called = "()" if isinstance(layer, type) and issubclass(layer, Layer) else ""
            advice = f"write {layer.__name__}{called}" if called else "see tutelage.kernels"
            raise StudentError(f"{layer!r} is no layer; {advice}.")
    return tuple(layers)


def check_gaussian(
    layers: tuple[Layer, ...], *, gaussian: bool = False, first: bool = True
) -> bool:
    """See that what activations follow is Gaussian, and whether the last layer's output is.

    Raises
    ------
    StudentError
        If the closed form does not hold for this order of layers.
    """
    for layer in layers:
        if isinstance(layer, Dense | Conv):
            gaussian = True
        elif isinstance(layer, Activation):
            if not gaussian:
                raise StudentError(
                    f"{type(layer).__name__} follows what is not Gaussian, such as inputs, another"
                    " activation or a Flatten; put a Dense or Conv before it."
                )
            gaussian = False
        elif isinstance(layer, Flatten):
            gaussian = False
        elif isinstance(layer, Normalise) and not first:
            raise StudentError("Normalise is for inputs: it can only be the first layer.")
        elif isinstance(layer, Residual):
            ends = [
                check_gaussian(part, gaussian=gaussian, first=False)
                for part in (layer.branch, layer.shortcut)
            ]
            gaussian = all(ends)
        first = False
    return gaussian


def _ends_fresh(layers: tuple[Layer, ...]) -> bool:
    return bool(layers) and isinstance(layers[-1], Dense | Conv)


def _check_variances(what: str, weight_var: float, bias_var: float) -> None:
    if not (0 < weight_var < inf and 0 <= bias_var < inf):
        raise StudentError(
            f"A {what}'s weight_var is positive and its bias_var at least 0, both finite; they were"
            f" {weight_var:g} and {bias_var:g}."
        )


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
