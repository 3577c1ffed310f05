"""Students as kernels."""

from tutelage.kernels.base import Kernel, gram
from tutelage.kernels.dense import mlp
from tutelage.kernels.spec import student

__all__ = ["Kernel", "gram", "mlp", "student"]
