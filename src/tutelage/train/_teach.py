"""A real teacher, trained on samples of its own, and the task that it makes of others."""

import inspect
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, TensorDataset

from tutelage.data.task import Task
from tutelage.datasets import Dataset, Split
from tutelage.exceptions import SettingError, TaskError
from tutelage.kernels.network import logits_of, unwrapped
from tutelage.outputs import as_json, written
from tutelage.progress import Progress, silent
from tutelage.train._lightning import lightning, module, quiet, trainer_in
from tutelage.train.loss import DistillationLoss
from tutelage.train.networks import Factory

_BATCH = 512


@dataclass(frozen=True)
class Teaching:
    """How a teacher is trained: SGD with momentum 0.9, weight decay, the learning rate annealed
    along a cosine.

    Attributes
    ----------
    epochs : int
    keep : sequence of int
        Epochs whose logits are kept; the last one always is.

    Examples
    --------
    >>> Teaching(epochs=8, keep=(1, 2, 4)).kept
    [1, 2, 4, 8]
    """

    epochs: int = 20
    keep: Sequence[int] = ()
    batch_size: int = 64
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if (
            self.epochs < 1
            or self.batch_size < 1
            or self.learning_rate <= 0
            or self.weight_decay < 0
        ):
            raise SettingError(
                "A teacher needs 1 epoch, a batch of 1 and a positive learning rate at least;"
                f" given were {self.epochs}, {self.batch_size} and {self.learning_rate:g}."
            )
        if any(not 1 <= epoch <= self.epochs for epoch in self.keep):
            raise SettingError(
                f"Logits are to be kept at epochs {list(self.keep)}; training lasts {self.epochs}."
            )

    @property
    def kept(self) -> list[int]:
        """Ascending, with the last epoch."""
        return sorted({*self.keep, self.epochs})


def teach(
    data: Dataset,
    split: Split,
    factory: Factory,
    name: str,
    teaching: Teaching | None = None,
    *,
    folder: Path,
    devices: int = 1,
    logger: Any = False,
    progress: Progress = silent,
) -> Task:
    """Train a teacher, and give the task of its logits on the pool and the test part.

    The state of every epoch is kept in `folder`: killed and started again, it goes on at the epoch
    where it was, and ends with the same task.

    Parameters
    ----------
    data : Dataset
    split : Split
        Which samples teach, which are the pool, which test; see `tutelage.datasets.split`.
    factory : callable
        ``factory(input_shape, n_outputs) -> torch.nn.Module``.
    name : str
        What the network is called in `teacher.json`.
    teaching : Teaching, optional
    folder : Path
        Gets `teacher.json` (the settings, and which samples were taught), `teacher.safetensors` and
        the checkpoint.
    devices : int
        GPUs of this machine, or processes where there is none. They share each batch, and its
        gradient is the mean of theirs; only batch norm, which sees a device's own part of a batch,
        makes another teacher of it.
    logger : Lightning logger, optional
        Or a list of them; is told the training loss, as `loss`.
    progress : Progress
        Told of the epochs.

    Returns
    -------
    Task
        With `teacher_epochs`.

    Raises
    ------
    TaskError
        If the folder holds another teacher.
    SettingError
        If there are fewer devices than were asked for, or a batch has fewer than two samples for
        each.

    Examples
    --------
    >>> import tempfile
    >>> from tutelage import datasets
    >>> data = datasets.digits()
    >>> split = datasets.split(data, teacher=200, pool=50, test=50)
    >>> def linear(input_shape, n_outputs):
    ...     return nn.Sequential(nn.Flatten(), nn.Linear(64, n_outputs))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     task = teach(data, split, linear, "linear", Teaching(epochs=2), folder=Path(folder))
    >>> task.teacher_epochs, task.teacher_logits_train.shape
    (array([2]), (1, 50, 10))
    """
    teaching = teaching or Teaching()
    _check_devices(devices, teaching.batch_size)
    _claim(
        folder,
        {
            "data": data.name,
            "network": name,
            **asdict(teaching),
            "keep": teaching.kept,
            **split.as_dict(),
        },
    )
    pool, test, taught = (
        _images(x, data.x) for x in (data.x[split.pool], split.x_test, data.x[split.taught])
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(teaching.seed)
        network = factory(tuple(taught.shape[1:]), len(data.classes))
    with progress("teacher", teaching.epochs) as advance:
        keeper = _keeper(network, [pool, test], teaching.kept, folder, advance)
        batches = _Batches(len(taught), teaching.batch_size, teaching.seed, devices)
        _fit(
            network,
            taught,
            torch.as_tensor(data.y[split.taught]),
            teaching,
            batches,
            folder,
            keeper,
            logger,
        )
    with written(folder / "teacher.safetensors") as partial:
        save_model(network, str(partial))
    logits = [_kept(folder, epoch) for epoch in teaching.kept]
    return Task(
        x_train=data.x[split.pool],
        teacher_logits_train=np.stack([pool for pool, _ in logits]),
        y_train=data.y[split.pool],
        x_test=split.x_test,
        teacher_logits_test=np.stack([test for _, test in logits]),
        y_test=split.y_test,
        teacher_epochs=np.array(teaching.kept),
    )


def teacher_logits(network: nn.Module, loader: Iterable[Any]) -> np.ndarray:
    """Give a network's logits on every batch of a loader, for a task file: (n, C), or (n,) for one
    logit.

    Parameters
    ----------
    network : torch.nn.Module
        Used in evaluation mode; its output is a tensor, has `logits` (an attribute, as models of
        Hugging Face have, or a key), or is a tuple that begins with them. It may be wrapped by
        `torch.compile` or `DataParallel`.
    loader : iterable
        Of tensors, of tuples that begin with the inputs, or of dicts of the arguments of `forward`.
        A `DataLoader` gives such, or a Hugging Face data set with its format set to torch. `labels`
        and columns that `forward` does not name are left out. A `DataLoader` has to give
        all samples of its data set in their order.

    Returns
    -------
    array of float32

    Raises
    ------
    TaskError
        If the loader is empty, shuffles or leaves out samples, or the network does not give a row
        of logits for each.

    Examples
    --------
    >>> import torch
    >>> loader = torch.utils.data.DataLoader(torch.zeros(5, 3), batch_size=2)
    >>> teacher_logits(torch.nn.Linear(3, 4), loader).shape
    (5, 4)
    """
    _check_order(loader)
    mode, found = network.training, []
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    network.eval()
    try:
        with torch.no_grad():
            for number, batch in enumerate(loader):
                n, out = _called(network, batch, device)
                found.append(_rows_of_logits(out, n, number))
    finally:
        network.train(mode)
    if not found:
        raise TaskError("The loader gave no batch; expected at least one.")
    columns = sorted({part.shape[1] for part in found})
    if len(columns) > 1:
        raise TaskError(
            f"The network gave {columns[0]} logits for some samples and {columns[-1]} for others;"
            " expected as many for all."
        )
    logits: np.ndarray = torch.cat(found).numpy()
    return logits[:, 0] if logits.shape[1] == 1 else logits


def _check_order(loader: Iterable[Any]) -> None:
    """Logits go beside the inputs, so that sample i has to come i-th."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return
    n = len(loader.dataset)  # type: ignore[arg-type]
    sampler: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    given: list[int] = []
    for item in sampler:
        given.extend([item] if isinstance(item, int) else item)
        if len(given) > n:
            break
    shuffles = isinstance(
        getattr(sampler, "sampler", sampler), RandomSampler
    )  # by luck in order, but not the next time
    if given == list(range(n)) and not shuffles:
        return
    how = "leaves out samples" if len(set(given)) < n else "gives the samples in another order"
    raise TaskError(
        f"The loader {how}, so that logits would stand beside inputs of other samples. Give a"
        f" DataLoader over all {n} samples with shuffle=False, drop_last=False and no sampler."
    )


def _rows_of_logits(out: Any, n: int | None, number: int) -> Tensor:
    """A batch's logits, (n, C), in float32."""
    logits = logits_of(out)
    if not isinstance(logits, Tensor):
        raise TaskError(
            f"The network gave {type(logits).__name__} for batch {number}; expected a tensor, or an"
            " output with logits."
        )
    found = logits.float().cpu()
    if found.ndim < 2:  # one logit for each sample; or all of the only sample
        found = found.reshape(1, -1) if n == 1 else found.reshape(-1, 1)
    if found.ndim != 2 or (n is not None and len(found) != n):
        samples = "its samples" if n is None else f"{n} samples"
        raise TaskError(
            f"The network gave {tuple(logits.shape)} for {samples} of batch {number}; expected (n,"
            " C), or (n,) for one logit."
        )
    return found


def _fit(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    teaching: Teaching,
    batches: "_Batches",
    folder: Path,
    keeper: Any,
    logger: Any,
) -> None:
    """Train on the labels, from the last checkpoint if there is one."""
    unheeded = torch.zeros(len(x), 2)  # the loss at a soft ratio of 0 looks at no teacher
    last = _checkpoint(folder)
    with quiet(), torch.random.fork_rng(devices=[]):
        loss = DistillationLoss(0.0, 1.0)
        student = module(network, loss, teaching.learning_rate, teaching.weight_decay)
        # Batches and loader draw from generators of their own, so that dropout's draws are the
        # epoch's alone.
        trainer_in(
            str(folder),
            devices=batches.devices,
            logger=logger,
            max_epochs=teaching.epochs,
            callbacks=[keeper],
        ).fit(
            student,
            DataLoader(
                TensorDataset(x, unheeded, y),
                sampler=batches,
                batch_size=None,
                generator=torch.Generator(),
            ),
            ckpt_path=str(last) if last.exists() else None,
            weights_only=True,
        )


def _check_devices(devices: int, batch_size: int) -> None:
    there = torch.accelerator.device_count() or os.cpu_count() or 1
    if not 1 <= devices <= there:
        raise SettingError(f"{devices} devices were asked for; this machine has {there}.")
    if devices > 1 and batch_size < 2 * devices:
        raise SettingError(
            f"A batch of {batch_size} leaves {devices} devices fewer than 2 samples each; give a"
            " larger one."
        )


def _called(network: nn.Module, batch: Any, device: torch.device) -> tuple[int | None, Any]:
    """Number of samples, and what the network gives for them."""
    if isinstance(batch, tuple | list) and batch:
        batch = batch[0]
    if isinstance(batch, Tensor):
        return len(batch), network(batch.to(device))
    if not hasattr(batch, "keys"):
        raise TaskError(
            f"The loader gave {type(batch).__name__}; expected tensors, tuples that begin with one,"
            " or dicts of the network's arguments."
        )
    parameters = inspect.signature(unwrapped(network).forward).parameters.values()
    given = list(batch.keys())
    plain = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    named = plain or set(given)
    taken = [k for k in given if k in named - {"labels", "label"}]
    if not taken:
        raise TaskError(
            f"The loader gives {', '.join(map(str, given))}, none of which the network's"
            f" forward takes ({', '.join(sorted(named))})."
        )
    try:
        tensors = {k: torch.as_tensor(batch[k]).to(device) for k in taken}
    except (ValueError, TypeError, RuntimeError) as error:
        raise TaskError(
            "The loader gives rows of different lengths, or what is no number, for"
            f" {', '.join(taken)} ({error}). Pad the rows of a batch to one length (a collate_fn),"
            " and set the data set's format to torch."
        ) from error
    lengths = {len(v) for v in tensors.values() if v.ndim}
    return (lengths.pop() if len(lengths) == 1 else None), network(**tensors)


class _Batches(BatchSampler):
    """Batches in an order that the epoch alone decides, so that training goes on as if it had never
    been stopped.

    Of several devices, each takes its part of every batch.
    """

    def __init__(self, n: int, size: int, seed: int, devices: int) -> None:
        self.n, self.size, self.seed, self.devices, self.epoch = n, size, seed, devices, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning."""
        self.epoch = epoch

    def __iter__(self) -> Any:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        rank = torch.distributed.get_rank() if self.devices > 1 else 0
        for start in range(0, self._used, self.size):
            yield order[start : min(start + self.size, self._used)][rank :: self.devices].tolist()

    def __len__(self) -> int:
        return math.ceil(self._used / self.size)

    @property
    def _used(self) -> int:
        rest = self.n % self.size  # batch norm cannot be trained on one sample
        return self.n - rest if self.n > self.size and rest < 2 * self.devices else self.n


def _keeper(
    network: nn.Module, parts: list[Tensor], epochs: list[int], folder: Path, advance: Any
) -> Any:
    class Keeper(lightning().Callback):  # type: ignore[misc]
        """Writes the logits of an epoch, and then its checkpoint."""

        def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
            torch.manual_seed(
                trainer.current_epoch
            )  # of dropout, whether training was stopped or not

        def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
            epoch = trainer.current_epoch + 1
            if not trainer.is_global_zero:
                trainer.save_checkpoint(
                    _checkpoint(folder)
                )  # writes nothing here, and waits for the one that does
                return
            if epoch in epochs:
                logits = [teacher_logits(network, torch.split(part, _BATCH)) for part in parts]
                with written(_path(folder, epoch)) as partial, partial.open("wb") as file:
                    np.savez(file, pool=logits[0], test=logits[1])
            with written(_checkpoint(folder)) as partial:
                trainer.save_checkpoint(partial)
            advance(1)

    return Keeper()


def _checkpoint(folder: Path) -> Path:
    return folder / "checkpoint.ckpt"


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"logits-{epoch}.npz"


def _kept(folder: Path, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(_path(folder, epoch), allow_pickle=False) as arrays:
        return arrays["pool"], arrays["test"]


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write what is being trained, or see that it is what was being trained here."""
    path = folder / "teacher.json"
    if path.exists() and path.read_text(encoding="utf-8") != as_json(settings):
        raise TaskError(
            f"{folder} holds another teacher (see {path.name}); choose another folder, or remove"
            " this one."
        )
    as_json(settings, path)


def _images(x: np.ndarray, whole: np.ndarray) -> Tensor:
    """As float32 around 0, images channels-first; vectors are standardised by the data set's own
    mean and scale.
    """
    if x.dtype == np.uint8:
        scaled = torch.as_tensor(x, dtype=torch.float32) / 255 - 0.5
    else:
        scaled = torch.as_tensor((x - whole.mean(0)) / (whole.std() or 1.0), dtype=torch.float32)
    if x.ndim == 4:
        return scaled.permute(0, 3, 1, 2).contiguous()
    return scaled[:, None] if x.ndim == 3 else scaled
