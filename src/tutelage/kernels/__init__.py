"""Students as kernels."""

from tutelage.kernels.activations import (
    Abs,
    Activation,
    Elementwise,
    Erf,
    Gaussian,
    Gelu,
    Identity,
    LeakyRelu,
    Rbf,
    Relu,
    Sin,
    activation,
)  # fmt: skip
from tutelage.kernels.base import Kernel, cross, gram
from tutelage.kernels.empirical import EmpiricalKernel, empirical
from tutelage.kernels.families import cnn, mlp, resmlp, resnet
from tutelage.kernels.layers import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Normalise,
    Residual,
)
from tutelage.kernels.linearity import Linearity, linearity
from tutelage.kernels.sequential import Cost, Sequential

__all__ = [
    "Abs",
    "Activation",
    "AvgPool",
    "Conv",
    "Cost",
    "Dense",
    "Elementwise",
    "EmpiricalKernel",
    "Erf",
    "Flatten",
    "Gaussian",
    "Gelu",
    "GlobalAvgPool",
    "Identity",
    "Kernel",
    "Layer",
    "LeakyRelu",
    "Linearity",
    "Normalise",
    "Rbf",
    "Relu",
    "Residual",
    "Sequential",
    "Sin",
    "activation",
    "cnn",
    "cross",
    "empirical",
    "gram",
    "linearity",
    "mlp",
    "resmlp",
    "resnet",
]
