"""What distilling a teacher into a student will do, before the student is trained."""

from typing import TYPE_CHECKING

from tutelage.lazy import loader
from tutelage.version import __version__

if TYPE_CHECKING:
    from tutelage import datasets, kernels, lab, students
    from tutelage._curves import curves, load_curves, save_curves, stream
    from tutelage._plan import Plan, plan
    from tutelage.data import Task
    from tutelage.data.source import open_source
    from tutelage.exceptions import TutelageError
    from tutelage.solve import Scale
    from tutelage.theory.effective_logits import effective_logits, flip_ratio
    from tutelage.train.audit import Audit, audit
    from tutelage.version import __version__

__all__ = [
    "Audit",
    "Plan",
    "Scale",
    "Task",
    "TutelageError",
    "__version__",
    "audit",
    "curves",
    "datasets",
    "effective_logits",
    "flip_ratio",
    "kernels",
    "lab",
    "load_curves",
    "open_source",
    "plan",
    "save_curves",
    "stream",
    "students",
]

__getattr__ = loader(
    "tutelage",
    {
        "Audit": "tutelage.train.audit",
        "Plan": "tutelage._plan",
        "Scale": "tutelage.solve",
        "Task": "tutelage.data",
        "TutelageError": "tutelage.exceptions",
        "audit": "tutelage.train.audit",
        "curves": "tutelage._curves",
        "datasets": "",
        "effective_logits": "tutelage.theory.effective_logits",
        "flip_ratio": "tutelage.theory.effective_logits",
        "kernels": "",
        "lab": "",
        "load_curves": "tutelage._curves",
        "open_source": "tutelage.data.source",
        "plan": "tutelage._plan",
        "save_curves": "tutelage._curves",
        "stream": "tutelage._curves",
        "students": "",
    },
)
