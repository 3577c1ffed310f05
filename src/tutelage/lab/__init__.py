"""Real teachers and students."""

from tutelage.lab.distil import distil
from tutelage.lab.quick import quick_task
from tutelage.lab.reproduce import CLAIMS, reproduce
from tutelage.lab.verify import Verification, trained_as_planned, verify
from tutelage.students import EPOCHS, TorchStudent, network_of, student, wide
from tutelage.train import DistillationLoss, Teaching, Training, teach, teacher_logits

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
    "trained_as_planned",
    "verify",
    "wide",
]
