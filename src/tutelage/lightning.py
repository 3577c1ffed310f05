"""Distillation in the training loop of Lightning, with a planned loss.

Tested with lightning 2.6.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data.part import decide
from tutelage.data.tables import role_of
from tutelage.exceptions import SettingError
from tutelage.kernels.network import called
from tutelage.lazy import extra
from tutelage.train.loss import DistillationLoss

pl: Any = extra("lightning", "tutelage.lightning needs Lightning", "lab")
_TEACHER = ("teacher_logits", "teacher_log_probs")


class DistillationModule(pl.LightningModule):  # type: ignore[misc]
    """A `lightning.LightningModule` that distils: its batches hold the teacher's logits.

    Parameters
    ----------
    network : torch.nn.Module
        The student; it gives logits, or an output with logits.
    loss : DistillationLoss
        Such as a plan's, ``plan.loss()``.
    optimiser : callable, optional
        From the parameters that are trained to an optimiser; by default `torch.optim.AdamW`. For
        schedules, override `configure_optimizers`.

    Batches are dicts of the network's inputs, `labels` (-100: not labelled) and `teacher_logits` or
    `teacher_log_probs`; or tuples of inputs, labels and teacher logits. `loss` is logged, and of
    batches of validation with labels `val_error`, the share of samples that are wrong.

    Examples
    --------
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    >>> data = TensorDataset(x, (x[:, 0] > 0).long(), 3 * x[:, :2])
    >>> module = DistillationModule(nn.Linear(3, 2), loss=DistillationLoss(0.9, 4.0))
    >>> trainer = pl.Trainer(
    ...     max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    ...     enable_model_summary=False, accelerator="cpu")
    >>> trainer.fit(module, DataLoader(data, batch_size=8), DataLoader(data, batch_size=8))
    >>> trainer.global_step
    8
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: DistillationLoss,
        optimiser: Callable[[Iterable[nn.Parameter]], Any] = torch.optim.AdamW,
    ) -> None:
        if not isinstance(loss, DistillationLoss):
            raise SettingError(
                f"loss is {type(loss).__name__}; expected a DistillationLoss, such as plan.loss()."
            )
        super().__init__()
        self.network, self.loss, self.optimiser = network, loss, optimiser

    def forward(self, x: Any) -> Tensor:
        """Give logits of a tensor, or of a dict of the network's inputs."""
        found: Tensor = called(self.network, x)
        return found

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Give the loss of a batch.

        Raises
        ------
        SettingError
            If it lacks the teacher's logits.
        """
        x, teacher, labels = _parts(batch)
        if teacher is None:
            raise SettingError(
                f"A batch holds no {' or '.join(_TEACHER)}; expected a dict with one of them, or a"
                " tuple of inputs, labels and teacher logits."
            )
        logits = self(x)
        found: Tensor = self.loss(logits, teacher.to(logits), labels)
        self.log("loss", found, batch_size=len(logits))
        return found

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log how many samples are wrong."""
        x, _, labels = _parts(batch)
        if labels is not None:
            logits = self(x)
            wrong = (decide(logits.reshape(len(logits), -1)) != labels).float().mean()
            self.log("val_error", wrong, batch_size=len(logits))

    def configure_optimizers(self) -> Any:
        """Give the optimiser of what is trained."""
        return self.optimiser([p for p in self.network.parameters() if p.requires_grad])


def _parts(batch: Any) -> tuple[Any, Tensor | None, Tensor | None]:
    """Inputs, teacher logits and labels of a batch."""
    if isinstance(batch, Mapping):
        teacher = next((batch[name] for name in _TEACHER if name in batch), None)
        inputs = {k: v for k, v in batch.items() if k not in (*_TEACHER, "labels")}
        only = inputs["x"] if set(inputs) == {"x"} else inputs
        return only, teacher, batch.get("labels")
    x, *others = batch
    found = {role_of(tensor): tensor for tensor in others}
    return x, found.get("teacher_logits"), found.get("labels")
