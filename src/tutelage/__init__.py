"""What distilling a teacher into a student will do, before the student is trained."""

from tutelage import datasets, kernels, lab
from tutelage._curves import curves, load_curves, save_curves
from tutelage._plan import Plan, plan
from tutelage._stream import stream
from tutelage.exceptions import TutelageError
from tutelage.scale import Scale
from tutelage.task import Task
from tutelage.theory.effective_logits import effective_logits, flip_ratio
from tutelage.version import __version__

__all__ = [
    "Plan",
    "Scale",
    "Task",
    "TutelageError",
    "__version__",
    "curves",
    "datasets",
    "effective_logits",
    "flip_ratio",
    "kernels",
    "lab",
    "load_curves",
    "plan",
    "save_curves",
    "stream",
]
