"""Training with the distillation loss: of teachers, of students, and of warm starts."""

from typing import TYPE_CHECKING

from tutelage.lazy import loader

if TYPE_CHECKING:
    from tutelage.train._teach import Teaching, teach, teacher_logits
    from tutelage.train.logits import write_logits
    from tutelage.train.loss import DistillationLoss
    from tutelage.train.training import Training

__all__ = ["DistillationLoss", "Teaching", "Training", "teach", "teacher_logits", "write_logits"]

__getattr__ = loader(
    "tutelage.train",
    {
        "DistillationLoss": "tutelage.train.loss",
        "Teaching": "tutelage.train._teach",
        "Training": "tutelage.train.training",
        "teach": "tutelage.train._teach",
        "teacher_logits": "tutelage.train._teach",
        "write_logits": "tutelage.train.logits",
    },
)
