"""What distilling a teacher into a student will do, before the student is trained."""

from tutelage import kernels
from tutelage.curves import curves, load_curves, save_curves
from tutelage.exceptions import TutelageError
from tutelage.task import Task
from tutelage.theory.effective_logits import effective_logits, flip_ratio
from tutelage.version import __version__

__all__ = [
    "Task",
    "TutelageError",
    "__version__",
    "curves",
    "effective_logits",
    "flip_ratio",
    "kernels",
    "load_curves",
    "save_curves",
]
