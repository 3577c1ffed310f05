"""What the losses of other tools really weigh: `tutelage audit` on them, as PyPI has them.

    python benchmarks/audits.py

Installs torchdistill, TextBrewer, NVIDIA Model Optimizer, torchtune, TRL and Keras without their
dependencies beside this environment (in benchmarks/envs/audited), with the few small ones that
their losses import, and audits each loss at what `plan.json` names as its arguments (`peers`) for
a soft ratio of 0.7 and a temperature of 4 (of 1 for torchtune, and 1 and 1 for TRL, which know no
others). Printed are what was asked for, what the audit tells, and whether they agree to 1e-3.
DistillKit, mdistiller and RepDistiller are not on PyPI: their formulas are audited in
tests/train/test_audit.py.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

import tutelage as tu

WHERE = Path(__file__).parent / "envs" / "audited"
PINS = (
    "torchdistill==1.1.5", "textbrewer==0.2.1.post1", "nvidia-modelopt==0.47.0",
    "torchtune==0.6.1", "trl==1.16.0", "keras==3.15.1",
    # What their losses import.
    "tensorboard", "protobuf", "omegaconf", "antlr4-python3-runtime==4.9.3", "pulp",
    "nvidia-ml-py", "torchao==0.9.0", "sentencepiece", "tiktoken", "blobfile", "kagglehub",
    "absl-py", "optree", "namex", "ml-dtypes",
)  # fmt: skip
RHO, T, CLASSES = 0.7, 4.0, 10
Loss = Callable[[Tensor, Tensor, Tensor], Any]


def with_labels(soft: Callable[[Tensor, Tensor], Any], weight: float, hard: float) -> Loss:
    """Add a label's term, as the tools that leave it to the user have it."""

    def loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Any:
        return weight * soft(student, teacher) + hard * functional.cross_entropy(student, labels)

    return loss


def torchdistill() -> Loss:
    """Its alpha weighs the label's term."""
    known = importlib.import_module("torchdistill.losses.mid_level").KDLoss(
        student_module_path="s", student_module_io="output", teacher_module_path="t",
        teacher_module_io="output", temperature=T, alpha=1 - RHO, beta=RHO,
        reduction="batchmean",
    )  # fmt: skip
    return lambda s, z, y: known({"s": {"output": s}}, {"t": {"output": z}}, y)


def textbrewer() -> Loss:
    """No T² before the teacher's term, so that the weight has it."""
    soft = importlib.import_module("textbrewer.losses").kd_ce_loss
    return with_labels(lambda s, z: soft(s, z, T), RHO * T**2, 1 - RHO)


def modelopt(reduction: str = "batchmean") -> Loss:
    """With its own mean over classes unless `reduction` is batchmean."""
    soft = importlib.import_module("modelopt.torch.distill.losses").LogitsDistillationLoss(
        temperature=T, reduction=reduction
    )
    return with_labels(soft, RHO, 1 - RHO)


def torchtune() -> Loss:
    """No temperature."""
    soft = importlib.import_module("torchtune.modules.loss").ForwardKLLoss()

    def loss(student: Tensor, teacher: Tensor, labels: Tensor) -> Any:
        kd = soft(student, teacher, labels)
        return RHO * kd + (1 - RHO) * functional.cross_entropy(student, labels)

    return loss


def trl() -> Loss:
    """The teacher's term alone, with beta 0."""
    soft = importlib.import_module("trl.experimental.gkd").GKDTrainer.generalized_jsd_loss
    return lambda s, z, y: soft(s[:, None], z[:, None], labels=y[:, None], beta=0.0)


def keras(loss: Any = None) -> Loss:
    """T² only with an instance of KLDivergence; its own cross-entropy for the label's term."""
    os.environ["KERAS_BACKEND"] = "torch"
    library = importlib.import_module("keras")
    soft = library.distillation.LogitsDistillation(
        temperature=T, loss=loss or library.losses.KLDivergence()
    )
    return with_labels(lambda s, z: soft.compute_loss(z, s), RHO, 1 - RHO)


LOSSES: dict[str, tuple[Callable[[], Loss], float, float]] = {
    "torchdistill KDLoss": (torchdistill, RHO, T),
    "TextBrewer kd_ce_loss": (textbrewer, RHO, T),
    "Model Optimizer, batchmean": (modelopt, RHO, T),
    "Model Optimizer, its default": (
        lambda: modelopt("mean"), RHO / CLASSES / (RHO / CLASSES + 1 - RHO), T,
    ),
    "torchtune ForwardKLLoss": (torchtune, RHO, 1.0),
    "TRL generalized_jsd_loss": (trl, 1.0, 1.0),
    "Keras LogitsDistillation": (keras, RHO, T),
}  # fmt: skip


def main() -> None:
    if not WHERE.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(WHERE)]
        subprocess.run([*pip, *PINS], check=True)
    sys.path.append(str(WHERE))
    table, wrong = Table(box=None), []
    for column in ("loss", "soft ratio", "told", "temperature", "told", "agrees"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    for name, (made, rho, t) in LOSSES.items():
        torch.manual_seed(0)
        found = tu.audit(made(), classes=CLASSES)
        told = found.soft_ratio, found.temperature
        agrees = None not in told and max(abs(told[0] - rho), abs(told[1] - t)) < 1e-3
        wrong += [] if agrees else [f"{name}: {found.words}"]
        cells = ["–" if v is None else f"{v:.4f}" for v in told]
        row = [f"{rho:.4f}", cells[0], f"{t:g}", cells[1], "yes" if agrees else "no"]
        table.add_row(name, *row)
    Console(width=110).print(table)
    print("\n".join(wrong))


if __name__ == "__main__":
    main()
