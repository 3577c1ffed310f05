"""Reading and writing task files: .npz, .safetensors, or a folder of .npy. Never pickles."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tutelage.data.tables import check_folder
from tutelage.exceptions import TaskError, nearest
from tutelage.outputs import written

ARRAYS = (
    "x_train",
    "teacher_logits_train",
    "y_train",
    "x_test",
    "teacher_logits_test",
    "y_test",
    "teacher_epochs",
)
KEYS = (*ARRAYS, "image_layout")
INPUTS = ("x_train", "x_test")  # or x_train.NAME for each of several
_FORMATS = "a .npz, .safetensors or .parquet file, or a folder of .npy or .parquet files"


def read_arrays(path: Path) -> dict[str, Any]:
    """Read every known key of a task file; `image_layout` comes as a string, named inputs as a
    dict of arrays.
    """
    try:
        there = path.exists()
    except OSError as error:
        raise TaskError(
            f"{path} cannot be looked up: {error.strerror}. Give the path of {_FORMATS}."
        ) from error
    if there and not (path.is_file() or path.is_dir()):
        raise TaskError(f"{path} is neither a file nor a folder; expected {_FORMATS}.")
    if not there:
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise TaskError(
            f"There is no task at {path}{nearest(path.name, siblings)}; expected {_FORMATS}."
        )
    try:
        if path.is_dir():
            values = _read_folder(path)
        elif path.suffix == ".npz":
            values = _read_npz(path)
        elif path.suffix == ".safetensors":
            values = _read_safetensors(path)
        elif path.suffix in (".csv", ".tsv"):
            raise TaskError(
                f"{path} is a table as text; read it with pandas and make the task of the frame:"
                " tutelage.Task.of(pandas.read_csv(path)).save('task.npz'). docs/data.md names the"
                " columns."
            )
        elif path.suffix == ".npy":
            raise TaskError(
                f"{path} is a single array; put it with the others of the task in a folder, and"
                " give the folder."
            )
        else:
            raise TaskError(f"{path} is not a task file; expected {_FORMATS}.")
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        SafetensorError,
        OSError,
        ValueError,
    ) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(_unreadable(path, error)) from error
    return _known(path, values)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], image_layout: str) -> None:
    """Write a task file in the format that the name of `path` asks for; a name without an ending is
    a folder.
    """
    if path.suffix == ".npz":
        with written(path) as partial, partial.open("wb") as file:
            layout = {"image_layout": np.array(image_layout)}
            np.savez(file, allow_pickle=False, **layout, **dict(arrays))
    elif path.suffix == ".safetensors":
        tensors = {
            key: torch.as_tensor(np.ascontiguousarray(value)) for key, value in arrays.items()
        }
        with written(path) as partial:
            save_file(tensors, partial, metadata={"image_layout": image_layout})
    elif path.suffix == "":
        for key, value in {**arrays, "image_layout": np.array(image_layout)}.items():
            with written(path / f"{key}.npy") as partial, partial.open("wb") as file:
                np.save(file, value, allow_pickle=False)
    else:
        raise TaskError(f"{path} does not name a task file; expected {_FORMATS}.")


def _read_folder(path: Path) -> dict[str, np.ndarray | str]:
    files = sorted(path.glob("*.npy"))
    if not files:
        check_folder(path)
        raise TaskError(
            f"The folder {path} holds no .npy or .parquet files; expected {', '.join(KEYS[:2])} and"
            " others, one file each."
        )
    return {file.stem: np.load(file, allow_pickle=False) for file in files}


def _read_npz(path: Path) -> dict[str, np.ndarray | str]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no zip archive, as .npz files are")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            broken = archive.zip.testzip()
            if broken is not None:
                raise ValueError(f"{broken} in it is broken")
            return {key: archive[key] for key in archive.files}


def _read_safetensors(path: Path) -> dict[str, np.ndarray | str]:
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        layout = (file.metadata() or {}).get("image_layout")
    wide = {
        k: t.float() if t.dtype in (torch.bfloat16, torch.float16) else t
        for k, t in tensors.items()
    }
    values: dict[str, np.ndarray | str] = {key: tensor.numpy() for key, tensor in wide.items()}
    return values if layout is None else {**values, "image_layout": layout}


def _known(path: Path, values: Mapping[str, np.ndarray | str]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for key, value in values.items():
        whole, _, name = key.partition(".")
        if name and whole in INPUTS:
            if whole in values:
                raise TaskError(
                    f"{path} has {whole} and {key}; expected one input, or several by name."
                )
            known.setdefault(whole, {})[name] = value
        elif key in KEYS:
            known[key] = value
        else:
            raise TaskError(
                f"{path} has a key {key!r} that no task has{nearest(key, KEYS)}; the keys are"
                f" {', '.join(KEYS)}."
            )
    for key in KEYS[:2]:
        if key not in known:
            raise TaskError(
                f"{path} lacks {key}; a task needs x_train and teacher_logits_train at least."
            )
    if "image_layout" in known:
        known["image_layout"] = str(known["image_layout"])
    return known


def _unreadable(path: Path, error: Exception) -> str:
    if "pickle" in str(error).lower() or "object arrays" in str(error).lower():
        return (
            f"{path} holds pickled Python objects, which can run code when they are loaded and so"
            " are never read; save plain arrays of numbers (for example labels.astype(int))."
        )
    if isinstance(error, PermissionError):
        return f"{path} cannot be opened for reading: permission denied."
    return (
        f"{path} cannot be read; it is truncated, corrupted, or not what its name says. Write it"
        f" again ({error})."
    )
