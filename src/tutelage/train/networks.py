"""Small students of torch, by name."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.exceptions import StudentError

Factory = Callable[[Any, int], nn.Module]
"""From the shape of one input (images channels-first; of named inputs a dict of shapes) and the
number of outputs to a network.
"""


def mlp(
    width: int, depth: int = 3, activation: str = "relu", parametrisation: str = "standard"
) -> Factory:
    """Give a fully-connected network's factory: `depth` hidden layers of `width`.

    With torch's own initial weights; or, `parametrisation="ntk"`, as the closed form sees it:
    weights of variance 1, scaled where they are used (docs/theory.md §1).
    """

    def make(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        size, layers = 1, nn.Sequential(nn.Flatten())
        for axis in input_shape:
            size *= axis
        for _ in range(depth):
            layers.extend([dense(size, width), ACTIVATIONS[activation]()])
            size = width
        return layers.append(dense(size, n_outputs))

    if parametrisation not in _DENSE:
        raise StudentError(
            f"The parametrisation is {parametrisation!r}; expected one of {', '.join(_DENSE)}."
        )
    dense = _DENSE[parametrisation]
    if activation not in ACTIVATIONS:
        raise StudentError(
            f"The activation {activation!r} is not known to a finite mlp; choose one of"
            f" {', '.join(ACTIVATIONS)}."
        )
    if width < 1 or depth < 0:
        raise StudentError(
            f"A network has a width of 1 or more and a depth of 0 or more; they were {width} and"
            f" {depth}."
        )
    return make


def cnn(width: int = 32) -> Factory:
    """Give a small convolutional network's factory: three 3 × 3 convolutions of `width`, 2 and 2
    times `width` channels.

    Each is followed by a rectifier and 2 × 2 maximum pooling; the last map is flattened, not
    averaged over pixels, as averages that hardly differ between images make plain SGD crawl.
    """

    def make(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        channels = _channels("cnn", input_shape)
        layers, (height, across) = (
            nn.Sequential(*([] if len(input_shape) == 3 else [WithChannel()])),
            input_shape[-2:],
        )
        for size in (width, 2 * width, 2 * width):
            layers.extend([nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()])
            channels = size
            if min(height, across) > 1:
                layers.append(nn.MaxPool2d(2))
                height, across = height // 2, across // 2
        return layers.extend([nn.Flatten(), nn.Linear(channels * height * across, n_outputs)])

    if width < 1:
        raise StudentError(f"A cnn has a width of 1 or more; it was {width}.")
    return make


def resnet(width: int = 16, blocks: int = 1) -> Factory:
    """Give a small residual network's factory: three stages of `blocks` blocks each, of `width`, 2
    and 4 times `width` channels.

    As He et al. (2016) for CIFAR-10, with batch norm.
    """

    def make(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        channels = _channels("resnet", input_shape)
        layers = nn.Sequential(*([] if len(input_shape) == 3 else [WithChannel()]))
        layers.extend(
            [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        )
        for stage in range(3):
            for block in range(blocks):
                down = stage > 0 and block == 0
                wide = width << stage
                layers.append(Residual(wide // 2 if down else wide, wide, 2 if down else 1))
        return layers.extend(
            [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, n_outputs)]
        )

    if width < 1 or blocks < 1:
        raise StudentError(
            f"A resnet has a width and blocks of 1 or more; they were {width} and {blocks}."
        )
    return make


class Residual(nn.Module):
    """Two 3 × 3 convolutions with batch norm, added to their input (which goes through a 1 × 1
    convolution where shapes change).
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        same = before == after and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, H, W) to (n, after, H / stride, W / stride)."""
        return nn.functional.relu(self.body(x) + self.skip(x))


def _channels(family: str, input_shape: tuple[int, ...]) -> int:
    if len(input_shape) not in (2, 3) or min(input_shape[-2:]) < 4:
        raise StudentError(
            f"A {family} needs images of 4 × 4 pixels or more, shape (H, W) or (channels, H, W);"
            f" one input has shape {input_shape}."
        )
    return input_shape[0] if len(input_shape) == 3 else 1


class WithChannel(nn.Module):
    """Give images (n, H, W) their channel axis."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, H, W) to (n, 1, H, W)."""
        return x[:, None]


class NTKLinear(nn.Module):
    """A dense layer in NTK parametrisation: weights and biases of variance 1, scaled where they are
    used.
    """

    def __init__(
        self, before: int, after: int, weight_var: float = 2.0, bias_var: float = 0.1
    ) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(after, before)),
            nn.Parameter(torch.randn(after)),
        )
        self.weight_scale, self.bias_scale = (weight_var / before) ** 0.5, bias_var**0.5

    def forward(self, x: Tensor) -> Tensor:
        """(n, before) to (n, after)."""
        return nn.functional.linear(x, self.weight_scale * self.weight, self.bias_scale * self.bias)


_DENSE: dict[str, type[nn.Module]] = {"standard": nn.Linear, "ntk": NTKLinear}
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}
