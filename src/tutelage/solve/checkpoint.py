"""Tiles in a folder: what a run that was killed goes on with, and where tiles go that memory has no
room for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.exceptions import OutputError, TaskError
from tutelage.outputs import as_json, check_writable, written

_LABEL = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A folder of arrays under names, each whole or not there.

    Attributes
    ----------
    folder : Path
    """

    folder: Path

    @classmethod
    def of(cls, folder: str | Path, fingerprint: Mapping[str, Any]) -> "Checkpoint":
        """Open the folder for one task, student and settings; a new or empty one is labelled with
        them.

        Raises
        ------
        TaskError
            If it belongs to others.
        OutputError
            If it cannot be written to, or holds something else.
        """
        folder = Path(folder).absolute()  # the workers of a cluster stand elsewhere
        check_writable(folder)
        label, wanted = folder / _LABEL, json.loads(json.dumps(fingerprint))
        if not label.exists():
            if folder.exists() and any(not p.name.endswith(".partial") for p in folder.iterdir()):
                raise OutputError(
                    f"{folder} holds files, but no checkpoint; give a new or empty folder."
                )
            as_json(wanted, label)
            return cls(folder)
        try:
            found = json.loads(label.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{label} cannot be read as a checkpoint's label; give another folder."
            ) from error
        differing = [
            name
            for name in wanted
            if not isinstance(found, dict) or found.get(name) != wanted[name]
        ]
        if differing:
            name = differing[0]
            was = found.get(name) if isinstance(found, dict) else None
            raise TaskError(
                f"The checkpoint in {folder} is of another run: its {name.replace('_', ' ')} is"
                f" {was}, and {wanted[name]} was given. Give another folder, or the command that it"
                " was made by."
            )
        return cls(folder)

    def inner(self, name: str) -> "Checkpoint":
        """A part of it."""
        return Checkpoint(self.folder / name)

    def has(self, name: str) -> bool:
        """Whether an array of that name is there."""
        return self._path(name).exists()

    def load(self, name: str) -> np.ndarray:
        """Give the array, mapped into memory."""
        return np.load(self._path(name), mmap_mode="r", allow_pickle=False)

    def save(self, name: str, array: np.ndarray) -> np.ndarray:
        """Write the array, and give it as it lies in the file."""
        with written(self._path(name)) as partial, partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        return self.load(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"
