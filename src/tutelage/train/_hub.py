"""Students and teachers from a folder that `save_pretrained` of transformers wrote."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.exceptions import StudentError
from tutelage.lazy import extra
from tutelage.train.networks import Factory

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth")


def pretrained(folder: str) -> Factory:
    """Give the factory of a classifier of transformers, its head sized to the task.

    Parameters
    ----------
    folder : str
        With a config.json; and with model.safetensors, from which each network starts. Without
        weights each starts from random ones.

    Raises
    ------
    StudentError
        If there is no such folder, or its weights are pickled.
    """
    path = Path(folder)
    weighted = _weighted(path)

    def make(input_shape: Any, n_outputs: int) -> nn.Module:
        hub = extra("transformers", f"The student in {path} needs transformers", "hf")
        text = isinstance(input_shape, dict) and "input_ids" in input_shape
        with _classifiers(hub, path, text=text) as kind:
            return classifier(hub, kind, n_outputs)

    def classifier(hub: Any, kind: Any, n_outputs: int) -> nn.Module:
        config = hub.AutoConfig.from_pretrained(path, num_labels=n_outputs)
        made: nn.Module = (
            kind.from_pretrained(
                path, config=config, ignore_mismatched_sizes=True, use_safetensors=True,
                local_files_only=True, dtype="float32",
            )
            if weighted
            else kind.from_config(config)
        )  # fmt: skip
        return made

    return make


def classifier_in(folder: str, *, text: bool) -> nn.Module:
    """Give a trained classifier of transformers as it is, in evaluation mode.

    Parameters
    ----------
    folder : str
        With a config.json and model.safetensors.
    text : bool
        Whether it reads token ids, or images.

    Raises
    ------
    StudentError
        If there is no such network, or its weights are pickled.
    """
    path = Path(folder)
    if not _weighted(path):
        raise StudentError(f"{path} holds no model.safetensors; expected a trained network.")
    hub = extra("transformers", f"The teacher in {path} needs transformers", "hf")
    with _classifiers(hub, path, text=text) as kind:
        made, told = kind.from_pretrained(
            path, use_safetensors=True, local_files_only=True, dtype="float32",
            output_loading_info=True,
        )  # fmt: skip
    new = sorted(told["missing_keys"])
    if new:
        raise StudentError(
            f"The network in {path} has no trained {new[0]}, so that it is no classifier yet; train"
            " it on labels first."
        )
    network: nn.Module = made.eval()
    return network


def _weighted(path: Path) -> bool:
    """Whether there are weights; that they are pickled is an error."""
    if not (path / "config.json").is_file():
        raise StudentError(
            f"{path} holds no config.json; expected a folder that save_pretrained of transformers"
            " wrote."
        )
    weighted = any((path / name).is_file() for name in _WEIGHTS)
    pickled = sorted(p.name for pattern in _PICKLES for p in path.glob(pattern))
    if pickled and not weighted:
        raise StudentError(
            f"{path} holds its weights in {pickled[0]}, a pickle, which can run code when it is"
            " loaded and so is never read; write it again with"
            " save_pretrained(folder, safe_serialization=True)."
        )
    return weighted


@contextmanager
def _classifiers(hub: Any, path: Path, *, text: bool) -> Iterator[Any]:
    """The class of transformers that makes such a classifier; that it cannot is an error."""
    task = "SequenceClassification" if text else "ImageClassification"
    try:
        with _silent(hub.logging):
            yield getattr(hub, f"AutoModelFor{task}")
    except (OSError, ValueError) as error:
        raise StudentError(
            f"The network in {path} cannot be made a classifier of"
            f" {'token ids' if text else 'images'} ({str(error).splitlines()[0]})."
        ) from error


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """Without its bars, and without being told that the head is new."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
