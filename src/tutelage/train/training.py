"""Training a student with the distillation loss, by Lightning."""

import copy
import logging
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
)

from tutelage.data.part import Part
from tutelage.exceptions import SettingError, StudentError
from tutelage.kernels.network import called, copied
from tutelage.progress import Progress, silent
from tutelage.train.extra import lightning
from tutelage.train.loss import DistillationLoss

PATIENCE = 3  # epochs without improvement on the held-out part before training stops
_LOWEST, _HIGHEST, _FINDERS, _FINDER_STEPS = 1e-4, 3.0, 3, 100
_SMOOTHING, _MOMENTUM = 0.9, 0.9
_MEASURED = 1024  # examples that tell whether training has lowered the loss


class _Rows(Dataset[list[Any]]):
    """Whole batches are cut from the tensors at once, which is what makes small students train
    fast.
    """

    def __init__(self, part: Part) -> None:
        self.part = part

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, chosen: list[int]) -> list[Any]:
        some = self.part.rows(torch.as_tensor(chosen))
        assert some.teacher is not None
        return [some.x, some.teacher[:, -1]] + ([] if some.labels is None else [some.labels])


def batches(part: Part, size: int, *, shuffled: bool, seed: int = 0) -> "DataLoader[Any]":
    """Batches of inputs, logits of the teacher's last epoch and, if there are any, labels."""
    data = _Rows(part)
    order = (
        RandomSampler(data, generator=torch.Generator().manual_seed(seed))
        if shuffled
        else SequentialSampler(data)
    )
    # Batch norm cannot be trained on one sample.
    lone = shuffled and len(part) > size and len(part) % size == 1
    return DataLoader(data, sampler=BatchSampler(order, size, drop_last=lone), batch_size=None)


@dataclass(frozen=True)
class Training:
    """How a student is trained: SGD with momentum 0.9.

    Attributes
    ----------
    epochs : int
        At most; with a held-out part training stops when that no longer improves.
    learning_rate : float, optional
        By default found by range tests (Smith 2017), the median of three.
    batch_size : int
    annealed : bool
        Whether the learning rate falls to 0 along a cosine, as for a student that is to be used.
    attempts : int
        How often to begin again, each time at a third of the learning rate, when training diverges:
        a rate that has been found on one setting need not suit another.
    device : {"auto", "cpu", "cuda"}
        Where; `auto` is a GPU where there is one.
    """

    epochs: int = 20
    learning_rate: float | None = None
    batch_size: int = 64
    annealed: bool = False
    attempts: int = 1
    device: str = "auto"

    def time_per_sample(self, learning_rate: float) -> float:
        """Give t/n of docs/theory.md §8 for so many epochs: the sum of learning rate / (1 -
        momentum) over a sample's steps.
        """
        mean = learning_rate / 2 if self.annealed else learning_rate  # a cosine's mean is a half
        return self.epochs * mean / (1 - _MOMENTUM) / self.batch_size

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise SettingError(
                f"Training takes 1 epoch and 1 sample a batch at least; {self.epochs} and"
                f" {self.batch_size} were given."
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise SettingError(
                f"A learning rate of {self.learning_rate:g} was given; expected a positive, finite"
                " number."
            )


@dataclass(frozen=True)
class Trained:
    """What training ended with: the epochs that the network has seen, and the learning rate."""

    epochs: int
    learning_rate: float


def train(
    network: nn.Module,
    examples: Part,
    loss: DistillationLoss,
    training: Training,
    *,
    held_out: Part | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Trained:
    """Train a network in place; with a held-out part, keep the weights of the epoch that does best
    on it.

    Parameters
    ----------
    network : torch.nn.Module
    examples, held_out : Part
    loss : DistillationLoss
    training : Training
    seed : int
        Of the batches, and of whatever the network draws.
    progress : Progress
        Told of the epochs.

    Returns
    -------
    Trained

    Raises
    ------
    StudentError
        If training diverges.
    MissingExtraError
        If Lightning is not installed.
    """
    rate = training.learning_rate or found_rate(network, examples, loss, training, seed)
    first = copy.deepcopy(network.state_dict())
    for attempt in range(training.attempts):
        try:
            return _train(
                network, examples, loss, training, rate / 3**attempt, held_out, seed, progress
            )
        except StudentError:
            if attempt + 1 == training.attempts:
                raise
            network.load_state_dict(first)
    raise AssertionError("There is at least one attempt.")


def _train(
    network: nn.Module, examples: Part, loss: DistillationLoss, training: Training, rate: float,
    held_out: Part | None, seed: int, progress: Progress,
) -> Trained:  # fmt: skip
    with quiet(), torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(seed)
        before = _measured(network, held_out or examples, loss)
        with progress("training", training.epochs) as advance:
            student = lightning_module(
                network, loss, rate, annealed if training.annealed else _constant
            )
            watcher = _watcher(advance, network, before if held_out is not None else math.inf)
            trainer_in(
                scratch, device=training.device, max_epochs=training.epochs, callbacks=[watcher]
            ).fit(
                student,
                batches(examples, training.batch_size, shuffled=True, seed=seed),
                None if held_out is None else batches(held_out, 1024, shuffled=False),
            )
        epochs = watcher.restore(network) if held_out is not None else watcher.epochs
        after = _measured(network, held_out or examples, loss)
    if not math.isfinite(before):
        raise StudentError(
            f"The student's loss is {before} before it is trained. Look at its initial weights, and"
            " at the scale of the inputs and of the teacher's logits."
        )
    if watcher.diverged or not after <= before * 1.05:
        raise StudentError(
            f"Training the student diverged at a learning rate of {rate:g}: its loss went from"
            f" {before:.3g} to {after:.3g}. Give a lower one (--learning-rate), or look at the"
            " scale of the inputs and of the teacher's logits."
        )
    network.eval()
    return Trained(epochs, rate)


def found_rate(
    network: nn.Module, examples: Part, loss: DistillationLoss, training: Training, seed: int
) -> float:
    """Find a learning rate: the median of three range tests (Smith 2017), each on a copy of the
    network.
    """
    with quiet(), torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(seed)
        tests = [
            _range_test(network, examples, loss, training, 10 * seed + k, scratch)
            for k in range(_FINDERS)
        ]
    return statistics.median(tests)


def _measured(network: nn.Module, examples: Part, loss: DistillationLoss) -> float:
    """The loss on some examples, in evaluation mode."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    some = examples.rows(slice(0, _MEASURED))
    assert some.teacher is not None
    with torch.no_grad():
        found = float(loss(called(network, some.x), some.teacher[:, -1], some.labels))
    for module, mode in modes.items():
        module.training = mode
    return found


Schedule = Callable[[float], float]
"""From the share of training that is done to a factor of the learning rate."""


def _constant(_: float) -> float:
    return 1.0


def annealed(done: float) -> float:
    """Fall along a cosine."""
    return 0.5 * (1 + math.cos(math.pi * done))


def _growing(done: float) -> float:
    return float((_HIGHEST / _LOWEST) ** done)


def lightning_module(
    network: nn.Module,
    loss: DistillationLoss,
    rate: float,
    schedule: Schedule,
    weight_decay: float = 0.0,
) -> Any:
    """Give what Lightning trains: the network, by SGD with momentum."""
    pl = lightning()

    class Student(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network, self.loss = network, loss

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            found = self._loss(batch)
            if self.trainer.loggers:
                self.log("loss", found)
            return found

        def validation_step(self, batch: list[Tensor], _: int) -> None:
            self.log("held_out", self._loss(batch), batch_size=len(batch[0]))

        def _loss(self, batch: list[Tensor]) -> Tensor:
            x, *targets = batch
            found: Tensor = self.loss(called(self.network, x), *targets)
            return found

        def configure_optimizers(self) -> Any:
            parameters = [p for p in self.network.parameters() if p.requires_grad]
            optimiser = torch.optim.SGD(
                parameters, lr=rate, momentum=_MOMENTUM, weight_decay=weight_decay
            )
            total = max(1, int(self.trainer.estimated_stepping_batches))
            factor = torch.optim.lr_scheduler.LambdaLR(
                optimiser, lambda step: schedule(min(1.0, step / total))
            )
            return {
                "optimizer": optimiser,
                "lr_scheduler": {"scheduler": factor, "interval": "step"},
            }

    return Student()


def _watcher(advance: Any, network: nn.Module, before: float) -> Any:
    pl = lightning()

    class Watcher(pl.Callback):  # type: ignore[misc, name-defined]
        """Keeps the best weights, and stops when the held-out part no longer improves or the loss
        is lost.
        """

        def __init__(self) -> None:
            self.epochs, self.best, self.best_epoch, self.diverged = 0, before, 0, False
            self.weights = {k: v.detach().clone() for k, v in network.state_dict().items()}

        def on_train_batch_end(self, trainer: Any, _: Any, outputs: Any, *__: Any) -> None:
            if not bool(torch.isfinite(outputs["loss"])):
                self.diverged = trainer.should_stop = True

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.epochs += 1
            advance(1)
            held_out = trainer.callback_metrics.get("held_out")
            if held_out is None:
                return
            if float(held_out) < self.best * (1 - 1e-3):
                self.best, self.best_epoch = float(held_out), self.epochs
                self.weights = {
                    k: v.detach().clone() for k, v in module.network.state_dict().items()
                }
            elif self.epochs - self.best_epoch >= PATIENCE or not math.isfinite(float(held_out)):
                trainer.should_stop = True

        def restore(self, network: nn.Module) -> int:
            network.load_state_dict(self.weights)
            return self.best_epoch

    return Watcher()


def _range_test(
    network: nn.Module,
    examples: Part,
    loss: DistillationLoss,
    training: Training,
    seed: int,
    scratch: str,
) -> float:
    """On a copy: a tenth of the rate at which the loss is lowest, before it blows up."""
    losses: list[float] = []

    class Listener(lightning().Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, _: Any, outputs: Any, *__: Any) -> None:
            losses.append(float(outputs["loss"]))
            trainer.should_stop = not losses[-1] <= 4 * losses[0]

    trainer_in(
        scratch, device=training.device, max_steps=_FINDER_STEPS, callbacks=[Listener()]
    ).fit(
        lightning_module(copied(network), loss, _LOWEST, _growing),
        batches(examples, training.batch_size, shuffled=True, seed=seed),
    )
    smooth, averages = 0.0, []
    for step, value in enumerate(losses):
        smooth = _SMOOTHING * smooth + (1 - _SMOOTHING) * value
        averages.append(smooth / (1 - _SMOOTHING ** (step + 1)))
    lowest = min(
        range(len(averages)), key=lambda s: averages[s] if math.isfinite(averages[s]) else math.inf
    )
    return _LOWEST * _growing(lowest / _FINDER_STEPS) / 10


def trainer_in(
    folder: str, *, device: str = "auto", devices: int = 1, logger: Any = False, **arguments: Any
) -> Any:
    """Give a silent trainer that leaves its files in a folder."""
    return lightning().Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
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
