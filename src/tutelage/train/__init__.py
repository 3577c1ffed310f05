"""Training with the distillation loss: of teachers, of students, and of warm starts."""

from tutelage.train._teach import Teaching, teach, teacher_logits
from tutelage.train.loss import DistillationLoss
from tutelage.train.training import Training

__all__ = ["DistillationLoss", "Teaching", "Training", "teach", "teacher_logits"]
