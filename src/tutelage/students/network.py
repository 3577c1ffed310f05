"""The warm tangent: a brief training, and the network linearised where it ends (docs/theory.md
§3.1).
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tutelage.data.inputs import Inputs, floating, length, rows, shape, split
from tutelage.data.part import Part, decide
from tutelage.exceptions import StudentError
from tutelage.kernels import empirical, linearity
from tutelage.kernels.features import check_independent
from tutelage.kernels.last import last_layers
from tutelage.kernels.network import Network, check_names, copied, own_copy
from tutelage.progress import Progress, silent
from tutelage.students.start import Start
from tutelage.train._teach import teacher_logits
from tutelage.train.loss import DistillationLoss
from tutelage.train.networks import Factory
from tutelage.train.training import Trained, Training, found_rate, train

SOFT_RATIO, TEMPERATURE = 0.6, 4.0  # the middling setting that stands for the whole grid
EPOCHS = 60.0  # of the student itself
_HELD_OUT = 0.1
_LOOKED_AT = 256  # samples that linearity is measured on
_FURTHER, _FURTHER_EPOCHS = 1024, 2
_BATCH, _TRIED = 1024, 3
_KNOWN = ("input_shape", "n_outputs", "batch")  # by a factory
_COMPARED = 16  # samples by which a kernel of the last layers is compared with the whole one
ATTEMPTS = 4  # at a learning rate that was found, not given


@dataclass(frozen=True)
class TorchStudent:
    """A network of torch as a student: linearised after a brief training, or where it starts.

    Attributes
    ----------
    factory : callable
        ``factory(input_shape, n_outputs) -> torch.nn.Module``; input_shape is that of one input,
        images channels-first. A factory whose parameters have these names, or `batch`, which is a
        few inputs as `forward` gets them, is given those that it names.
    spec : str
        What results call it.
    linearise : {"warm", "init"}
    training : Training
        Of the warm start: at most so many epochs, stopped when a held-out part of its samples stops
        improving.
    epochs : float
        How long the student itself will be trained, at the learning rate of the warm start and
        annealed along a cosine: predicted are its errors then, (8.1). Infinite: until it has
        converged. At init it does not count, as a kernel grows in training, so that its value there
        says little of how fast a network learns.
    projected : int, optional
        See `tutelage.kernels.empirical`.
    made_by : mapping, optional
        The factory as data: a family and its arguments, or where a function is found.
    probes : int, optional
        See `tutelage.kernels.empirical`.
    first : float
        Share of the samples that a start has seen that predicts the others.
    last : int, optional
        The kernel is that of the last layers, whose gradients are so many numbers at most, in place
        of all; the time of the student's training is counted as if it were the whole.
    judged : bool
        Whether to train a little on from a warm start, and say how linear the network is there.

    Examples
    --------
    >>> import numpy as np, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(60, 3))
    >>> task = tu.Task(x_train=x, teacher_logits_train=x[:, 0])
    >>> own = TorchStudent(
    ...     lambda input_shape, n_outputs: nn.Linear(*input_shape, n_outputs), "linear",
    ...     training=Training(epochs=1, learning_rate=0.1), epochs=2)
    >>> tu.plan(task, student=own, temperature=[2.0], orderings=1).student
    'linear'
    """

    factory: Factory
    spec: str
    linearise: str = "warm"
    training: Training = field(default_factory=Training)
    epochs: float = EPOCHS
    projected: int | None = None
    made_by: Mapping[str, Any] | None = None
    probes: int | None = None
    first: float = 0.25
    last: int | None = None
    judged: bool = True

    def __post_init__(self) -> None:
        if not self.epochs >= 1:
            raise StudentError(
                f"A student was to be trained for {self.epochs} epochs; expected 1 or more, or inf."
            )
        if self.linearise not in ("warm", "init"):
            raise StudentError(
                f"A network is linearised warm or at init; {self.linearise!r} was given."
            )

    @property
    def learns_features(self) -> bool:
        """Whether it is linearised where training has brought it."""
        return self.linearise == "warm"

    @property
    def takes_ids(self) -> bool:
        """Whether it is a network of the user's own; our small ones take numbers."""
        return self.made_by is None or "family" not in self.made_by

    @property
    def own_training(self) -> Training:
        """Of the student itself: for all of its epochs, annealed; of one that is trained until it
        has converged, as long as its warm start.
        """
        epochs = self.training.epochs if math.isinf(self.epochs) else int(self.epochs)
        return replace(self.training, epochs=epochs, annealed=True)

    def seen(self, n: int) -> int:
        """A quarter of the pool, if nothing else was asked for."""
        return int(self.first * n)

    def settled(self, pool: Part, *, seed: int = 0, progress: Progress = silent) -> "TorchStudent":
        """Give the student with a learning rate, found by a range test if it has none: all its
        starts share it.

        Parameters
        ----------
        pool : Part
        seed, progress
            See `start`.

        Raises
        ------
        StudentError
            If the factory does not give a network for these inputs.
        """
        if self.linearise == "init" or self.training.learning_rate is not None:
            return self
        network = self.fresh(pool, seed)
        examples = pool.floating(_dtype(network))
        with progress("learning rate", 1) as advance:
            rate = found_rate(network, examples, _middling(pool), self.own_training, seed)
            advance(1)
        return replace(self, training=replace(self.training, learning_rate=rate, attempts=ATTEMPTS))

    def starts(
        self, pool: Part, orders: Sequence[Tensor], *, whole: bool, seed: int, progress: Progress
    ) -> Iterator[Start]:
        """Of every ordering a start that has seen its first samples, and one that has seen all."""
        for r, order in enumerate(orders):
            for k, seen in enumerate([self.seen(len(order)), len(order)][: 1 + whole]):
                own = 2 * (1000 * seed + r) + k
                found = self.start(pool.rows(order[:seen]), seed=own, progress=progress)
                yield replace(found, serves=(r,), seen=seen)

    def start(self, taught: Part, *, seed: int = 0, progress: Progress = silent) -> Start:
        """Linearise a fresh network, which has seen these samples and no others, (3.7).

        Parameters
        ----------
        taught : Part
            With logits of the teacher, of which the last epoch's are imitated; without labels the
            warm start imitates the teacher alone.
        seed : int
            Of the initial weights, the held-out part and the batches.
        progress : Progress

        Returns
        -------
        Start

        Raises
        ------
        StudentError
            If training diverges, or the factory does not give a network for these inputs.
        """
        network = self.fresh(taught, seed)
        notes, rate, moments = [], None, None
        if self.linearise == "warm":
            examples = taught.floating(_dtype(network))
            done, how_linear = self._warm(network, examples, seed, progress)
            rate, moments = done.learning_rate, done.moments
            notes.append(
                f"The warm start was trained for {done.epochs} epochs at a learning rate of"
                f" {rate:.2g}. {how_linear}".rstrip()
            )
        time, until = self._time(rate)
        if self.training.device != "auto":
            network.to(self.training.device)  # where it is trained, its kernel is computed
        tangent = partial(
            empirical, projected=self.projected, seed=seed, probes=self.probes, moments=moments
        )
        moving = network
        if self.last is not None:
            few = rows(taught.x, slice(0, _COMPARED))
            moving = last_layers(network, few, self.last)
            share = float(tangent(moving).diag(few).mean() / tangent(network).diag(few).mean())
            time /= share
            notes.append(
                f"The kernel is that of the network's last layers, {100 * share:.2g} % of the"
                " whole one's diagonal: all layers' would have cost too much."
            )
        kernel = tangent(moving, remember=True)
        logits = partial(_centred, Network.of(network))
        return Start(kernel, (), len(taught), logits, time, (*notes, until))

    def _time(self, rate: float | None) -> tuple[float, str]:
        """t/n of the student's own training, and what errors are of, in words."""
        if rate is None or math.isinf(self.epochs):
            return math.inf, "Errors are those of a student that is trained until it has converged."
        own = self.own_training
        return (
            own.time_per_sample(rate),
            (
                "Errors on a labelled test part are those of a student that is trained for"
                f" {own.epochs} epochs in batches of {own.batch_size} at a learning rate of"
                f" {rate:.2g}, annealed.{_left_out(own)}"
            ),
        )

    def trained(
        self,
        part: Part,
        loss: DistillationLoss,
        *,
        seed: int,
        epochs: int | None = None,
        at_half: Callable[[nn.Module], None] | None = None,
        progress: Progress = silent,
    ) -> tuple[nn.Module, Trained]:
        """Give a real student: a fresh network, trained for all of its epochs.

        Parameters
        ----------
        part : Part
            The teacher's last epoch is imitated.
        loss : DistillationLoss
        seed : int
            Of the initial weights and the batches.
        epochs : int, optional
            Stop after so many, at the end of which the learning rate falls to 0.
        at_half : callable, optional
            Is given the network after half of its epochs.
        progress : Progress

        Raises
        ------
        StudentError
            If training diverges.
        """
        network, own = self.fresh(part, seed), self.own_training
        if epochs is not None:
            own = replace(own, epochs=epochs, until=epochs / own.epochs)
        examples = part.floating(_dtype(network))
        done = train(network, examples, loss, own, seed=seed, at_half=at_half, progress=progress)
        return network, done

    def fresh(self, part: Part, seed: int) -> nn.Module:
        """Give a new network for samples such as these, tried on a few.

        Raises
        ------
        StudentError
            If the factory fails, its network does not fit the inputs or the number of outputs, or
            samples see each other in it.
        """
        assert part.teacher is not None
        n_outputs = part.teacher.shape[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._made(part.x, n_outputs)
        if not isinstance(network, nn.Module):
            raise StudentError(
                f"The factory of {self.spec} gave {type(network).__name__}; expected a"
                " torch.nn.Module."
            )
        own = own_copy(network)  # a factory may give the same one twice
        if isinstance(part.x, dict):
            check_names(own, part.x)
        found = check_independent(Network.of(own), _trial(part.x)).shape[1]
        if found != n_outputs:
            raise StudentError(
                f"The network of {self.spec} has {found} output(s); the task needs {n_outputs}."
            )
        return own.train()

    def size(self, part: Part) -> tuple[int, float]:
        """Give the number of parameters, and of floating-point operations for one input."""
        network = self.fresh(part, 0).eval()
        few = rows(part.floating(_dtype(network)).x, slice(0, _TRIED))
        own = Network.of(network)
        with FlopCounterMode(display=False) as counter:  # which fails without gradients
            own(few)
        count = sum(p.numel() for p in own.module.parameters())  # lazy ones are made by now
        return count, counter.get_total_flops() / length(few)

    def _made(self, x: Inputs, n_outputs: int) -> Any:
        """What the factory gives, called by the names of its parameters or by their order."""
        known: dict[str, Any] = {"input_shape": shape(x), "n_outputs": n_outputs}
        known["batch"] = rows(x, slice(0, _TRIED))
        factory: Callable[..., Any] = self.factory
        names = _parameters(factory)
        try:
            if names and names <= set(known):
                return factory(**{name: known[name] for name in names})
            return factory(known["input_shape"], n_outputs)
        except StudentError:
            raise
        except Exception as error:
            how = ", ".join(sorted(names)) if names and names <= set(known) else (
                f"{known['input_shape']}, {n_outputs}"
            )  # fmt: skip
            raise StudentError(
                f"The factory of {self.spec} failed with {type(error).__name__}: {error}. It is"
                f" called as factory({how}), and returns a torch.nn.Module; it may take"
                f" input_shape, which is {known['input_shape']}, n_outputs, which is {n_outputs},"
                " and batch, a few inputs."
            ) from error

    def _warm(
        self, network: nn.Module, examples: Part, seed: int, progress: Progress
    ) -> tuple[Trained, str]:
        """Train in place, and say how linear the network is from there on, if that was asked."""
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
        count = max(1, int(_HELD_OUT * len(examples)))
        held_out, taught = examples.rows(order[:count]), examples.rows(order[count:])
        loss = _middling(examples)
        # A start that is trained for longer than the student itself would know too much.
        brief = replace(self.training, epochs=int(min(self.training.epochs, self.epochs)))
        done = train(network, taught, loss, brief, held_out=held_out, seed=seed, progress=progress)
        if not self.judged:
            return done, ""
        further = copied(network)
        onward = replace(
            self.training, epochs=_FURTHER_EPOCHS, learning_rate=done.learning_rate, annealed=False
        )
        train(further, examples.rows(order[:_FURTHER]), loss, onward, seed=seed + 1)
        return done, linearity(network, further, rows(examples.x, slice(0, _LOOKED_AT))).words


def _left_out(training: Training) -> str:
    """What of a training is not in what is predicted."""
    known = []
    if training.optimiser == "adamw":
        known.append(
            "AdamW divides each gradient by the root of its mean square, which is taken to stay as"
            " it is at the end of the warm start"
        )
    if training.weight_decay:
        known.append("weight decay is left out of what theory predicts")
    return f" {'; '.join(known)}." if known else ""


def decisions(network: nn.Module, x: Inputs) -> Tensor:
    """Give the class that a trained network decides for, (n,)."""
    if not length(x):
        return torch.zeros(0, dtype=torch.int64)
    given = floating(x, _dtype(network))
    logits = torch.as_tensor(teacher_logits(network, split(given, _BATCH)))
    return decide(logits.reshape(length(x), -1))


def _parameters(factory: Callable[..., Any]) -> set[str]:
    """The names of what it has to be given, and of what it may be given and is known."""
    try:
        found = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return set()
    plain = [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if any(p.kind is p.POSITIONAL_ONLY for p in plain):
        return set()
    return {p.name for p in plain if p.default is p.empty or p.name in _KNOWN}


def _trial(x: Inputs) -> Inputs:
    """Inputs that are different: random numbers, or of token ids some that there are."""
    if isinstance(x, dict) or not x.is_floating_point():
        return rows(x, slice(0, _TRIED))
    return torch.rand(_TRIED, *x.shape[1:], generator=torch.Generator().manual_seed(0))


def _middling(pool: Part) -> DistillationLoss:
    """Middling with T² before the teacher's term, whatever the plan is for: without it a T of 4
    hands the loss to the labels.
    """
    return DistillationLoss(1.0 if pool.labels is None else SOFT_RATIO, TEMPERATURE, t_power=2)


def _dtype(network: nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype


def _centred(network: Network, x: Inputs) -> Tensor:
    with torch.no_grad():
        logits = torch.cat([network(part) for part in split(x, _BATCH)]).cpu().double()
    return logits if logits.shape[1] == 1 else logits - logits.mean(1, keepdim=True)
