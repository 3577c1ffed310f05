"""Students that are ready-made."""

from tutelage.exceptions import StudentError
from tutelage.kernels.activations import activation as named
from tutelage.kernels.layers import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, Layer, Residual
from tutelage.kernels.sequential import Sequential

_DEEPEST = 1000
HEADS: dict[str, Layer] = {"flatten": Flatten(), "global_avg_pool": GlobalAvgPool()}


def mlp(
    depth: int = 3, activation: str = "relu", weight_var: float = 2.0, bias_var: float = 0.1
) -> Sequential:
    """Give the kernel of an infinitely wide fully-connected student, in closed form.

    Parameters
    ----------
    depth : int
        Number of hidden layers; the readout comes on top. 0 is a linear student.
    activation : str
        See `tutelage.kernels.activation`.
    weight_var, bias_var : float
        σ_w² and σ_b².

    Returns
    -------
    Sequential
        Callable on inputs (n, ...), which it flattens; float32 or float64 as they are.

    Raises
    ------
    StudentError
        If an argument lies outside its range.

    Examples
    --------
    >>> import torch
    >>> kernel = mlp(depth=1, bias_var=0.0)
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> kernel(x).round(decimals=4)
    tensor([[2.0000, 0.3183],
            [0.3183, 2.0000]], dtype=torch.float64)
    """
    depth, weights = _count("An MLP's depth", depth, 0), Dense(float(weight_var), float(bias_var))
    spec = f"mlp:depth={depth},{_common(activation, weights)},width=inf"
    return Sequential(Flatten(), *(weights, named(activation)) * depth, weights, spec=spec)


def resmlp(
    blocks: int = 3, activation: str = "relu", weight_var: float = 1.5, bias_var: float = 0.05
) -> Sequential:
    """Give the kernel of a residual MLP: a dense layer, blocks x + W a(x), a last activation and
    the readout.

    Parameters
    ----------
    blocks : int
        Residual sums.
    activation, weight_var, bias_var
        As for `mlp`; smaller variances, as sums add up.

    Returns
    -------
    Sequential

    Raises
    ------
    StudentError
        If an argument lies outside its range.

    Examples
    --------
    >>> resmlp(blocks=2).spec
    'resmlp:blocks=2,activation=relu,weight_var=1.5,bias_var=0.05,width=inf'
    """
    blocks, weights, act = (
        _count("A residual MLP's blocks", blocks, 0),
        Dense(weight_var, bias_var),
        named(activation),
    )
    spec = f"resmlp:blocks={blocks},{_common(activation, weights)},width=inf"
    return Sequential(
        Flatten(), weights, *[Residual(act, weights)] * blocks, act, weights, spec=spec
    )


def cnn(
    depth: int = 3,
    activation: str = "relu",
    weight_var: float = 2.0,
    bias_var: float = 0.1,
    kernel_size: int = 3,
    stride: int = 1,
    padding: str = "same",
    avg_pool: int = 1,
    head: str = "flatten",
) -> Sequential:
    """Give the kernel of a convolutional student: `depth` convolutions with activations, a head and
    the readout.

    Parameters
    ----------
    depth : int
    activation, weight_var, bias_var
        As for `mlp`.
    kernel_size, stride, padding
        Of every convolution, see `Conv`.
    avg_pool : int
        Window of the average pooling after each activation; 1 is none.
    head : {"flatten", "global_avg_pool"}
        Flattening costs as much as the pixels, for each pair of images; any pooling as much as
        their square.

    Returns
    -------
    Sequential
        Callable on images (n, channels, height, width), or (n, height, width) of one channel.

    Raises
    ------
    StudentError
        If an argument lies outside its range.

    Examples
    --------
    >>> import torch
    >>> cnn(depth=2, head="global_avg_pool")(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 1])
    """
    depth, last, act = _count("A CNN's depth", depth, 1), _head(head), named(activation)
    weights = Conv(kernel_size, stride, padding, float(weight_var), float(bias_var))
    pool: list[Layer] = [] if avg_pool == 1 else [AvgPool(avg_pool)]
    readout = Dense(weights.weight_var, weights.bias_var)
    spec = (
        f"cnn:depth={depth},{_common(activation, readout)},kernel_size={kernel_size},"
        f"stride={stride},padding={padding},"
        f"avg_pool={avg_pool},head={head},width=inf"
    )
    return Sequential(*(weights, act, *pool) * depth, last, readout, spec=spec)


def resnet(
    blocks: int = 2,
    activation: str = "relu",
    weight_var: float = 1.5,
    bias_var: float = 0.05,
    kernel_size: int = 3,
    head: str = "flatten",
) -> Sequential:
    """Give the kernel of a residual CNN: a convolution, blocks x + Conv(a(Conv(a(x)))), a last
    activation, a head, the readout.

    Parameters
    ----------
    blocks : int
        Residual sums of two convolutions each.
    activation, weight_var, bias_var, kernel_size, head
        As for `cnn`; smaller variances, as sums add up.

    Returns
    -------
    Sequential

    Raises
    ------
    StudentError
        If an argument lies outside its range.

    Examples
    --------
    >>> resnet(blocks=1).spec.partition(",kernel_size")[0]
    'resnet:blocks=1,activation=relu,weight_var=1.5,bias_var=0.05'
    """
    blocks, last, act = _count("A ResNet's blocks", blocks, 0), _head(head), named(activation)
    weights = Conv(kernel_size, weight_var=float(weight_var), bias_var=float(bias_var))
    readout = Dense(weights.weight_var, weights.bias_var)
    common = f"{_common(activation, readout)},kernel_size={kernel_size}"
    spec = f"resnet:blocks={blocks},{common},head={head},width=inf"
    return Sequential(
        weights, *[Residual(act, weights, act, weights)] * blocks, act, last, readout, spec=spec
    )


def _common(activation: str, weights: Dense) -> str:
    return (
        f"activation={activation},weight_var={weights.weight_var:g},bias_var={weights.bias_var:g}"
    )


def _count(what: str, value: int, least: int) -> int:
    if not least <= value <= _DEEPEST:
        raise StudentError(f"{what} lies in {least} … {_DEEPEST}; it was {value}.")
    return int(value)


def _head(name: str) -> Layer:
    if name not in HEADS:
        raise StudentError(f"The head is {name!r}; expected one of {', '.join(HEADS)}.")
    return HEADS[name]
