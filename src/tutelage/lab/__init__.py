"""Real teachers and students."""

from tutelage.lab.distil import distil
from tutelage.lab.loss import DistillationLoss
from tutelage.lab.quick import quick_task
from tutelage.lab.reproduce import CLAIMS, reproduce
from tutelage.lab.students import network_of, student
from tutelage.lab.teach import Teaching, teach, teacher_logits
from tutelage.lab.training import Training
from tutelage.lab.verify import Verification, verify
from tutelage.lab.warm import EPOCHS, TorchStudent
from tutelage.lab.wide import wide

__all__ = [
    "CLAIMS",
    "EPOCHS",
    "DistillationLoss",
    "Teaching",
    "TorchStudent",
    "Training",
    "Verification",
    "distil",
    "network_of",
    "quick_task",
    "reproduce",
    "student",
    "teach",
    "teacher_logits",
    "verify",
    "wide",
]
