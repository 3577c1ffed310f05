"""The network of torch whose kernel a closed form is in the limit of width."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tutelage.exceptions import StudentError
from tutelage.kernels import (
    Activation,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Normalise,
    Residual,
    Sequential,
)  # fmt: skip
from tutelage.train.networks import Factory, NTKLinear, WithChannel


def wide(kernel: Sequential, width: int) -> Factory:
    """Give the factory of a closed form's network, of so many units or channels in every hidden
    layer.

    In NTK parametrisation: weights of variance 1, scaled where they are used.

    Parameters
    ----------
    kernel : Sequential
        Such as `tutelage.kernels.cnn()`.
    width : int

    Returns
    -------
    callable
        ``factory(input_shape, n_outputs) -> torch.nn.Module``.

    Raises
    ------
    StudentError
        If the width is not positive, or the layers do not fit the inputs.

    Examples
    --------
    >>> from tutelage import kernels
    >>> wide(kernels.cnn(depth=1), 16)((3, 8, 8), 10)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 10])
    """

    def make(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        kernel.diag(torch.ones(1, *input_shape))  # complains of layers that do not fit
        images = any(isinstance(layer, Conv | AvgPool | GlobalAvgPool) for layer in kernel.layers)
        modules = nn.Sequential(*([WithChannel()] if images and len(input_shape) == 2 else []))
        x = modules(torch.zeros(1, *input_shape))
        last = max(
            k for k, layer in enumerate(kernel.layers) if isinstance(layer, Dense | Conv | Residual)
        )
        for k, layer in enumerate(kernel.layers):
            module = _module(layer, x, n_outputs if k == last else width, width)
            with torch.no_grad():
                x = module(x)
            modules.append(module)
        return modules

    if width < 1:
        raise StudentError(f"A network has a width of 1 or more; it was {width}.")
    return make


class NTKConv(nn.Module):
    """A convolution in NTK parametrisation."""

    def __init__(self, layer: Conv, before: int, after: int) -> None:
        super().__init__()
        size = layer.kernel_size
        self.weight, self.bias = (
            nn.Parameter(torch.randn(after, before, size, size)),
            nn.Parameter(torch.randn(after)),
        )
        self.weight_scale, self.bias_scale = (
            math.sqrt(layer.weight_var / before) / size,
            math.sqrt(layer.bias_var),
        )
        self.stride, self.mode = (
            layer.stride,
            ("circular" if layer.padding == "circular" else "constant"),
        )
        self.padding = (layer.left, layer.both - layer.left) * 2

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, H, W) to (n, after, H', W')."""
        padded = F.pad(x, self.padding, self.mode) if any(self.padding) else x
        return F.conv2d(
            padded, self.weight_scale * self.weight, self.bias_scale * self.bias, self.stride
        )


class Sum(nn.Module):
    """Branch and shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) to (n, ...)."""
        return self.branch(x) + self.shortcut(x)


class Applied(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) to (n, ...)."""
        return self.function(x)


class Scaled(nn.Module):
    """Each input divided by the root of its mean square."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) to (n, ...)."""
        size = x.flatten(1).square().mean(1).sqrt().clamp_min(torch.finfo(x.dtype).tiny)
        return x / size.reshape(-1, *[1] * (x.ndim - 1))


def _module(layer: Layer, x: Tensor, after: int, width: int) -> nn.Module:
    """Give the module of a layer for inputs such as x."""
    if isinstance(layer, Dense):
        return NTKLinear(x.shape[1], after, layer.weight_var, layer.bias_var)
    if isinstance(layer, Conv):
        return NTKConv(layer, x.shape[1], after)
    if isinstance(layer, Residual):
        return Sum(_chain(layer.branch, x, after, width), _chain(layer.shortcut, x, after, width))
    if isinstance(layer, AvgPool):
        return nn.AvgPool2d(layer.window)
    if isinstance(layer, GlobalAvgPool):
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if isinstance(layer, Flatten):
        return nn.Flatten()
    return Scaled() if isinstance(layer, Normalise) else Applied(layer)


def _chain(layers: tuple[Layer, ...], x: Tensor, after: int, width: int) -> nn.Module:
    modules = nn.Sequential()
    for k, layer in enumerate(layers):
        module = _module(layer, x, after if k == len(layers) - 1 else width, width)
        with torch.no_grad():
            x = module(x)
        modules.append(module)
    return modules
