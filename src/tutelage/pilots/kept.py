"""What a plan within a budget has found so far, in a folder: one that is killed goes on from it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from tutelage._curves import load_curves, save_curves
from tutelage.data.part import Part
from tutelage.kernels.network import Network
from tutelage.solve import Checkpoint
from tutelage.students import TorchStudent
from tutelage.version import __version__

_LOOKED_AT = 4  # samples by whose logits a network is known


@dataclass(frozen=True)
class Kept:
    """Theory and pilots that are done.

    Attributes
    ----------
    checkpoint : Checkpoint, optional
        Without one everything is computed.
    """

    checkpoint: Checkpoint | None = None

    @classmethod
    def of(
        cls,
        folder: str | Path | None,
        asked: Mapping[str, Any],
        student: TorchStudent,
        pool: Part,
    ) -> "Kept":
        """Open the folder for what is asked of one student.

        Raises
        ------
        TaskError, OutputError
            See `Checkpoint.of`.
        """
        if folder is None:
            return cls()
        fingerprint = {"tutelage": __version__, **asked, **_known_by(student, pool)}
        return cls(Checkpoint.of(folder, fingerprint))

    def curves(self, name: str, computed: Callable[[], xr.Dataset]) -> xr.Dataset:
        """Give curves of that name, computed if they are not there."""
        if self.checkpoint is None:
            return computed()
        path = self.checkpoint.folder / f"{name}.nc"
        if not path.exists():
            save_curves(computed(), path)
        return load_curves(path)

    def array(self, name: str, computed: Callable[[], np.ndarray]) -> np.ndarray:
        """Give an array of that name, computed if it is not there."""
        if self.checkpoint is None:
            return computed()
        if not self.checkpoint.has(name):
            self.checkpoint.save(name, computed())
        return np.array(self.checkpoint.load(name))


def _known_by(student: TorchStudent, pool: Part) -> dict[str, Any]:
    """Tell a student from others: how it is trained, its first weights, and what it says of a few
    samples, which shows a `forward` that was changed.
    """
    network = student.fresh(pool, 0)
    weights, count = hashlib.sha256(), sum(p.numel() for p in network.parameters())
    for name, value in network.state_dict().items():
        weights.update(name.encode() + value.detach().float().numpy().tobytes())
    few = pool.floating(next(network.parameters()).dtype).rows(torch.arange(_LOOKED_AT))
    with torch.no_grad():
        logits = Network.of(network)(few.x).double()
    return {
        "student": f"one of {count:,} parameters ({weights.hexdigest()[:12]})",
        "logits": [f"{value:.4g}" for value in logits.ravel().tolist()],
        "training": repr(student.own_training),
        "warm_start": repr(student.training),
    }
