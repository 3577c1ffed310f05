"""Real teachers and students."""

from typing import TYPE_CHECKING

from tutelage.lazy import loader

if TYPE_CHECKING:
    from tutelage.data.ensemble import ensemble
    from tutelage.lab._distil import distil
    from tutelage.lab._verify import Verification, trained_as_planned, verify
    from tutelage.lab.claims import CLAIMS, reproduce
    from tutelage.lab.quick import quick_task
    from tutelage.students import EPOCHS, TorchStudent, network_of, student, wide
    from tutelage.train import (
        DistillationLoss,
        Teaching,
        Training,
        teach,
        teacher_logits,
        write_logits,
    )

__all__ = [
    "CLAIMS",
    "EPOCHS",
    "DistillationLoss",
    "Teaching",
    "TorchStudent",
    "Training",
    "Verification",
    "distil",
    "ensemble",
    "network_of",
    "quick_task",
    "reproduce",
    "student",
    "teach",
    "teacher_logits",
    "trained_as_planned",
    "verify",
    "wide",
    "write_logits",
]

__getattr__ = loader(
    "tutelage.lab",
    {
        "CLAIMS": "tutelage.lab.claims",
        "DistillationLoss": "tutelage.train",
        "EPOCHS": "tutelage.students",
        "Teaching": "tutelage.train",
        "TorchStudent": "tutelage.students",
        "Training": "tutelage.train",
        "Verification": "tutelage.lab._verify",
        "distil": "tutelage.lab._distil",
        "ensemble": "tutelage.data.ensemble",
        "network_of": "tutelage.students",
        "quick_task": "tutelage.lab.quick",
        "reproduce": "tutelage.lab.claims",
        "student": "tutelage.students",
        "teach": "tutelage.train",
        "teacher_logits": "tutelage.train",
        "trained_as_planned": "tutelage.lab._verify",
        "verify": "tutelage.lab._verify",
        "wide": "tutelage.students",
        "write_logits": "tutelage.train",
    },
)
