"""What curves and plans were made for, as data: verify, distil and the report read it back."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MadeFor:
    """What a plan was made for.

    Attributes
    ----------
    student : dict
        See `tutelage.students.to_dict`.
    seed : int
    standardise : bool
        Whether inputs were standardised.
    device : str
        Where it was computed.
    features : int, optional
        D, of a plan in features.
    orderings : int
        Orderings of the pool, or starts of a network.
    linearise : str, optional
        Where a network was linearised.
    warm_epochs : int, optional
        That a warm start was trained for, at most.
    optimiser : str, optional
        That a network is trained with; None for a student that is not trained, a closed form.
    learning_rate : float, optional
        That predictions are of: given, or found by a range test.
    learning_rate_given : bool
    epochs : float, optional
        That predictions are of; None for a student that is trained until it has converged.
    batch_size : int, optional
    weight_decay, warmup : float
        See `tutelage.lab.Training`.
    target_error : float, optional
        That samples were asked for.
    parameters, operations : int and float, optional
        Of a network: how many numbers it learns from, and floating-point operations for one input.
    """

    student: dict[str, Any]
    seed: int
    standardise: bool
    device: str = "cpu"
    features: int | None = None
    orderings: int = 1
    linearise: str | None = None
    warm_epochs: int | None = None
    optimiser: str | None = None
    learning_rate: float | None = None
    learning_rate_given: bool = False
    epochs: float | None = None
    batch_size: int | None = None
    weight_decay: float = 0.0
    warmup: float = 0.0
    target_error: float | None = None
    parameters: int | None = None
    operations: float | None = None

    def to_json(self) -> str:
        """As text, for an attribute of a netCDF file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "MadeFor":
        """Read it back."""
        return cls(**json.loads(text))
