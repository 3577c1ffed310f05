"""Training a student with the distillation loss."""

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
)

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.inputs import moved
from tutelage.data.part import Part
from tutelage.devices import found_device
from tutelage.exceptions import SettingError, StudentError
from tutelage.kernels.adam import Moments
from tutelage.kernels.network import called, copied, unwrapped
from tutelage.progress import Progress, silent
from tutelage.train.loss import DistillationLoss

PATIENCE = 3  # epochs without improvement on the held-out part before training stops
OPTIMISERS = ("sgd", "adamw")
_RANGE = {"sgd": (1e-4, 3.0), "adamw": (1e-6, 0.1)}  # of learning rates
_TESTED = (20, 100)  # steps of a range test; between them a tenth of all steps
_MEMORY = 10  # a range test's losses are averaged over so many of its parts
_MOMENTUM = 0.9
_COOLED = 0.25  # of a training that is the beginning of a longer one
_TIMED = 4  # steps: the first one warms up
_MEASURED = 256  # examples that tell whether training has lowered the loss


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
    """How a student is trained.

    Attributes
    ----------
    epochs : int
        At most; with a held-out part training stops when that no longer improves.
    learning_rate : float, optional
        By default found by a range test (Smith 2017).
    batch_size : int
    annealed : bool
        Whether the learning rate falls to 0 along a cosine, as for a student that is to be used.
    attempts : int
        How often to begin again, each time at a third of the learning rate, when training diverges:
        a rate that has been found on one setting need not suit another.
    device : {"auto", "cpu", "cuda"}
        Where; `auto` is a GPU where there is one.
    optimiser : {"sgd", "adamw"}
        SGD with momentum 0.9, or AdamW as torch has it (Loshchilov and Hutter 2019).
    weight_decay : float
    warmup : float
        Share of the steps in which the learning rate grows from 0, from 0 to below 1.
    until : float
        The share of a longer training that this one is the beginning of, above 0 to 1: its learning
        rate is that one's, but for the last quarter, in which it falls to 0.

    Examples
    --------
    >>> from tutelage.lab import student
    >>> brief = Training(epochs=2, learning_rate=0.1, batch_size=32)
    >>> student("mlp:width=64,depth=1", training=brief).training.learning_rate
    0.1
    >>> Training(annealed=True).schedule(0.5)
    0.5
    """

    epochs: int = 20
    learning_rate: float | None = None
    batch_size: int = 64
    annealed: bool = False
    attempts: int = 1
    device: str = "auto"
    optimiser: str = "sgd"
    weight_decay: float = 0.0
    warmup: float = 0.0
    until: float = 1.0

    def time_per_sample(self, learning_rate: float) -> float:
        """Give t/n of docs/theory.md §8 for so many epochs: the sum of the learning rates of a
        sample's steps; of SGD, over 1 - momentum.
        """
        mean = learning_rate * sum(self.schedule((k + 0.5) / 1000) for k in range(1000)) / 1000
        steps = self.epochs * mean / self.batch_size
        return steps / (1 - _MOMENTUM) if self.optimiser == "sgd" else steps

    def schedule(self, done: float) -> float:
        """Give the factor of the learning rate when this share of the steps is done."""
        at = done * self.until
        grown = min(1.0, at / self.warmup) if self.warmup else 1.0
        cooled = min(1.0, (1 - done) / _COOLED) if self.until < 1 else 1.0
        return grown * cooled * (0.5 * (1 + math.cos(math.pi * at)) if self.annealed else 1.0)

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
        if self.optimiser not in OPTIMISERS:
            raise SettingError(
                f"The optimiser is {self.optimiser!r}; expected one of {', '.join(OPTIMISERS)}."
            )
        if not 0 <= self.weight_decay < math.inf:
            raise SettingError(
                f"The weight decay is {self.weight_decay:g}; expected a finite number of 0 or more."
            )
        if not 0 < self.until <= 1:
            raise SettingError(
                f"A training was to be the first {self.until:g} of a longer one; expected a share"
                " above 0, and 1 at most."
            )
        if not 0 <= self.warmup < 1:
            raise SettingError(
                f"The warm-up is {self.warmup:g}; expected the share of the steps in which the"
                " learning rate grows, from 0 to below 1."
            )


@dataclass(frozen=True)
class Trained:
    """What training ended with: the epochs that the network has seen, the learning rate, and after
    AdamW each parameter's mean square gradient, by name.
    """

    epochs: int
    learning_rate: float
    moments: Moments | None = None


def train(
    network: nn.Module,
    examples: Part,
    loss: DistillationLoss,
    training: Training,
    *,
    held_out: Part | None = None,
    seed: int = 0,
    at_half: Callable[[nn.Module], None] | None = None,
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
    at_half : callable, optional
        Is given the network after half of the epochs, see `halfway`.
    progress : Progress
        Told of the epochs.

    Returns
    -------
    Trained

    Raises
    ------
    StudentError
        If training diverges.
    """
    examples = _counted(examples, loss)
    held_out = None if held_out is None else _counted(held_out, loss)
    rate = training.learning_rate or found_rate(network, examples, loss, training, seed)
    first = copy.deepcopy(network.state_dict())
    for attempt in range(training.attempts):
        try:
            return _train(
                network, examples, loss, training, rate / 3**attempt, held_out, seed, at_half,
                progress,
            )  # fmt: skip
        except StudentError:
            if attempt + 1 == training.attempts:
                raise
            network.load_state_dict(first)
    raise AssertionError("There is at least one attempt.")


def halfway(epochs: int) -> int:
    """Give how many epochs are half of so many: whole ones, and one at least."""
    return max(1, epochs // 2)


def _counted(part: Part, loss: DistillationLoss) -> Part:
    """Samples that count: at a soft ratio of 0 those with a label, if there are any."""
    if loss.soft_ratio > 0 or part.labels is None:
        return part
    labelled = (part.labels != NOT_LABELLED).nonzero()[:, 0]
    return part.rows(labelled) if 0 < len(labelled) < len(part) else part


def _train(
    network: nn.Module, examples: Part, loss: DistillationLoss, training: Training, rate: float,
    held_out: Part | None, seed: int, at_half: Callable[[nn.Module], None] | None,
    progress: Progress,
) -> Trained:  # fmt: skip
    watched = held_out or examples.rows(slice(0, _MEASURED))
    network.to(found_device(training.device))
    before = _measured(network, watched, loss)
    if not math.isfinite(before):
        raise StudentError(
            f"The student's loss is {before} before it is trained. Look at its initial weights, and"
            " at the scale of the inputs and of the teacher's logits."
        )
    best, epochs, weights = before, 0, copy.deepcopy(network.state_dict())
    optimiser = _optimiser(network, training, rate)
    moments: Moments | None = None
    with torch.random.fork_rng(devices=[]), progress("training", training.epochs) as advance:
        torch.manual_seed(seed)
        for epoch, last in enumerate(
            _epochs(network, examples, loss, training, optimiser, seed), 1
        ):
            advance(1)
            if at_half is not None and epoch == halfway(training.epochs):
                at_half(network)
            reached = last if held_out is None else _measured(network, held_out, loss)
            if not math.isfinite(last + reached):
                break
            if held_out is None:
                epochs = epoch
            elif reached < best * (1 - 1e-3):
                best, epochs, weights = reached, epoch, copy.deepcopy(network.state_dict())
                moments = _moments(network, optimiser)
            elif epoch - epochs >= PATIENCE:
                break
    moments = moments or _moments(network, optimiser)
    if held_out is not None:
        network.load_state_dict(weights)
    after = _measured(network, watched, loss) if math.isfinite(last) else last
    network.cpu()
    if not after <= before * 1.05:
        raise StudentError(
            f"Training the student diverged at a learning rate of {rate:g}: its loss went from"
            f" {before:.3g} to {after:.3g}. Give a lower one (--learning-rate), or look at the"
            " scale of the inputs and of the teacher's logits."
        )
    network.eval()
    return Trained(epochs, rate, moments)


def _moments(network: nn.Module, optimiser: torch.optim.Optimizer) -> Moments | None:
    """Of AdamW, without their bias towards 0."""
    if not isinstance(optimiser, torch.optim.AdamW):
        return None
    _, decay = optimiser.param_groups[0]["betas"]
    found = {}
    for name, parameter in unwrapped(network).named_parameters():
        state = optimiser.state.get(parameter)
        if state:
            share = 1 - decay ** float(state["step"])
            found[name] = (state["exp_avg_sq"] / share).cpu()
        else:  # it takes no part
            found[name] = torch.zeros_like(parameter, device="cpu", requires_grad=False)
    return found


def seconds_of(
    network: nn.Module, examples: Part, loss: DistillationLoss, training: Training
) -> float:
    """How long training takes, by a few steps, which do not move the network."""
    network.to(found_device(training.device))
    optimiser = _optimiser(network, training, 0.0)
    part = examples.floating(next(network.parameters()).dtype)
    loader = batches(part, training.batch_size, shuffled=True)
    at: list[float] = []
    with torch.random.fork_rng(devices=[]):
        for batch in itertools.islice(_endless(loader), _TIMED):
            _step(network, batch, loss, optimiser)
            at.append(time.perf_counter())
    return (at[-1] - at[0]) / (_TIMED - 1) * training.epochs * len(loader)


def _endless(loader: "DataLoader[Any]") -> Iterator[list[Any]]:
    return itertools.chain.from_iterable(itertools.repeat(loader))


def _epochs(
    network: nn.Module, examples: Part, loss: DistillationLoss, training: Training,
    optimiser: torch.optim.Optimizer, seed: int,
) -> Iterator[float]:  # fmt: skip
    """Train for an epoch at a time, and give the loss of its last step; at the first loss that is
    no number, that.
    """
    loader = batches(examples, training.batch_size, shuffled=True, seed=seed)
    total = training.epochs * len(loader)
    factor = LambdaLR(optimiser, lambda step: training.schedule(min(1.0, step / total)))
    for _ in range(training.epochs):
        for batch in loader:
            found = _step(network, batch, loss, optimiser)
            factor.step()
            if not math.isfinite(found):
                break
        yield found


def _step(
    network: nn.Module, batch: list[Any], loss: DistillationLoss, optimiser: torch.optim.Optimizer
) -> float:
    device = next(network.parameters()).device
    x, *targets = batch
    optimiser.zero_grad()
    found = loss(called(network, moved(x, device)), *(moved(t, device) for t in targets))
    found.backward()
    optimiser.step()
    return float(found.detach())


def _optimiser(network: nn.Module, training: Training, rate: float) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if training.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        parameters, lr=rate, momentum=_MOMENTUM, weight_decay=training.weight_decay
    )


def _measured(network: nn.Module, part: Part, loss: DistillationLoss) -> float:
    """The loss on some examples, in evaluation mode."""
    modes = {module: module.training for module in network.modules()}
    device = next(network.parameters()).device
    network.eval()
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(part), _MEASURED):
            some = part.rows(slice(start, start + _MEASURED))
            assert some.teacher is not None
            labels = None if some.labels is None else some.labels.to(device)
            out = called(network, moved(some.x, device))
            total += len(some) * float(loss(out, some.teacher[:, -1].to(device), labels))
    for module, mode in modes.items():
        module.training = mode
    return total / len(part)


def search_steps(training: Training, n: int) -> int:
    """Give how many steps it takes to find a learning rate for n samples."""
    fewest, most = _TESTED
    return min(most, max(fewest, training.epochs * math.ceil(n / training.batch_size) // 10))


def found_rate(
    network: nn.Module, examples: Part, loss: DistillationLoss, training: Training, seed: int
) -> float:
    """Find a learning rate by a range test (Smith 2017) on a copy of the network: a tenth of the
    rate at which the loss is lowest, before it blows up. Of each batch it is the loss less that of
    a student that knows nothing, as batches with fewer labels have more of that.
    """
    network = copied(network).to(found_device(training.device))
    lowest, highest = _RANGE[training.optimiser]
    steps = search_steps(training, len(examples))
    growth, kept = (highest / lowest) ** (1 / steps), 1 - _MEMORY / steps
    optimiser = _optimiser(network, training, lowest)
    factor = LambdaLR(optimiser, lambda step: growth**step)
    loader = batches(examples, training.batch_size, shuffled=True, seed=seed)
    losses: list[float] = []
    progress: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for batch in itertools.islice(_endless(loader), steps):
            losses.append(_step(network, batch, loss, optimiser))
            progress.append(losses[-1] - float(loss(torch.zeros_like(batch[1]), *batch[1:])))
            factor.step()
            if not losses[-1] <= 4 * losses[0]:
                break
    smooth, averages = 0.0, []
    for step, value in enumerate(progress):
        smooth = kept * smooth + (1 - kept) * value
        found = smooth / (1 - kept ** (step + 1))
        averages.append(found if math.isfinite(found) else math.inf)
    return float(lowest * growth ** averages.index(min(averages)) / 10)
