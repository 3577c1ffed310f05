"""Lightning, by which teachers are trained; imported when it is used."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.kernels.network import called
from tutelage.lazy import extra
from tutelage.train.loss import DistillationLoss

_MOMENTUM = 0.9


def lightning() -> Any:
    """Lightning, or the sentence that says how to install it."""
    return extra("lightning", "Training a teacher needs Lightning", "lab")


def module(network: nn.Module, loss: DistillationLoss, rate: float, weight_decay: float) -> Any:
    """Give what Lightning trains: the network, by SGD with momentum and a rate that falls to 0
    along a cosine.
    """
    pl = lightning()

    class Taught(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network, self.loss = network, loss

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            x, *targets = batch
            found: Tensor = self.loss(called(self.network, x), *targets)
            if self.trainer.loggers:
                self.log("loss", found)
            return found

        def configure_optimizers(self) -> Any:
            parameters = [p for p in self.network.parameters() if p.requires_grad]
            optimiser = torch.optim.SGD(
                parameters, lr=rate, momentum=_MOMENTUM, weight_decay=weight_decay
            )
            total = max(1, int(self.trainer.estimated_stepping_batches))
            factor = torch.optim.lr_scheduler.LambdaLR(
                optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
            )
            return {
                "optimizer": optimiser,
                "lr_scheduler": {"scheduler": factor, "interval": "step"},
            }

    return Taught()


def trainer_in(folder: str, *, devices: int = 1, logger: Any = False, **arguments: Any) -> Any:
    """Give a silent trainer that leaves its files in a folder."""
    return lightning().Trainer(
        devices=devices,
        strategy=(
            "auto" if devices == 1 else "ddp_notebook"
        ),  # forks: what is trained here cannot be pickled
        use_distributed_sampler=False,
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        **arguments,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning talks of devices, workers and checkpoints, none of which is for the user of a
    plan.
    """
    lightning()
    loggers = [
        logging.getLogger(name)
        for name in (
            "lightning.pytorch",
            "lightning.fabric",
            "lightning.pytorch.utilities.rank_zero",
        )
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
