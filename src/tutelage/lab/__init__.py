"""Real teachers and students."""

from tutelage.lab.loss import DistillationLoss
from tutelage.lab.quick import quick_task
from tutelage.lab.students import student
from tutelage.lab.training import Training
from tutelage.lab.warm import EPOCHS, TorchStudent

__all__ = ["EPOCHS", "DistillationLoss", "TorchStudent", "Training", "quick_task", "student"]
