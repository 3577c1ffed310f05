"""Students as kernels."""

from tutelage.kernels.base import FiniteStudent, Kernel, Tangent, gram
from tutelage.kernels.dense import mlp
from tutelage.kernels.empirical import EmpiricalKernel, empirical
from tutelage.kernels.linearity import Linearity, linearity
from tutelage.kernels.spec import student

__all__ = [
    "EmpiricalKernel",
    "FiniteStudent",
    "Kernel",
    "Linearity",
    "Tangent",
    "empirical",
    "gram",
    "linearity",
    "mlp",
    "student",
]
