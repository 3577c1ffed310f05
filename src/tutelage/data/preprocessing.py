"""What is done to inputs before a student sees them: fitted once on the pool, applied to all
else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tutelage.data.checks import Arrays
from tutelage.data.inputs import Inputs
from tutelage.exceptions import TaskError


@dataclass(frozen=True)
class Preprocessing:
    """Images channels-first, and floating-point inputs standardised, if they are to be.

    Attributes
    ----------
    image_layout : {"channels_last", "channels_first"}
        Where the channels of images and volumes stand.
    dtype : torch.dtype
        Of floating-point inputs. The dtype that a kernel is computed in need not be theirs.
    moments : dict
        By the name of an input, or "" for the only one, that is standardised: the mean of each
        feature, and the factor that all are multiplied by.
    ids : bool
        Whether whole numbers of an input without a name are token ids, and stay whole. Those of
        named inputs always do.
    """

    image_layout: str
    dtype: torch.dtype
    moments: Mapping[str, tuple[Tensor, Tensor]]
    ids: bool

    @classmethod
    def fitted(
        cls,
        x: Arrays,
        image_layout: str,
        dtype: torch.dtype,
        *,
        standardise: bool,
        ids: bool = False,
    ) -> tuple["Preprocessing", Inputs]:
        """Fit it to a pool, and give the pool after it.

        Standardised inputs have the pool's mean removed from each feature, and share one scale, so
        that the pool's features have a mean square of one. Whole numbers of a plain input become
        floats, unless they are `ids` that are not to be standardised.

        Raises
        ------
        TaskError
            If the pool's values cannot be scaled in this dtype.
        """
        plain = cls(image_layout, dtype, {}, ids and not standardise)
        if not standardise:
            return plain, _checked(plain._named(x), "x_train", dtype, least=0.0)
        moments, ready = {}, {}
        for name, tensor in plain._named(x).items():
            if tensor.is_floating_point():
                mean = tensor.mean(0)
                centred = tensor - mean
                scale = 1 / torch.linalg.vector_norm(centred).div(centred.numel() ** 0.5)
                moments[name], tensor = (mean, scale), centred.mul_(scale)  # noqa: PLW2901
            ready[name] = tensor
        found = cls(image_layout, dtype, moments, ids=False)
        return found, _checked(ready, "x_train", dtype, least=0.0)

    def __call__(self, x: Arrays, key: str = "x_train") -> Inputs:
        """Prepare inputs.

        Parameters
        ----------
        x : array of shape (n, ...), or dict of arrays
        key : str
            What an error calls them.

        Raises
        ------
        TaskError
            If they cannot be scaled in this dtype.
        """
        ready = self._named(x)
        for name, (mean, scale) in self.moments.items():
            ready[name] = (ready[name] - mean).mul_(scale)
        return _checked(ready, key, self.dtype)

    def _named(self, x: Arrays) -> dict[str, Tensor]:
        """Every input as a tensor, channels first, under its name."""
        if isinstance(x, Mapping):
            return {name: self._tensor(array, whole=True) for name, array in x.items()}
        wide = np.issubdtype(x.dtype, np.signedinteger) and x.dtype.itemsize > 2
        return {"": self._tensor(x, whole=bool(wide) and self.ids)}

    def _tensor(self, array: np.ndarray, *, whole: bool) -> Tensor:
        tensor = tensor_of(array)
        if tensor.is_floating_point() or not whole:
            tensor = tensor.to(self.dtype)
        return channels_first(tensor, self.image_layout)


def channels_first(x: Tensor, image_layout: str) -> Tensor:
    """Images and volumes, samples first, as torch has them."""
    last = x.ndim in (4, 5) and image_layout == "channels_last"
    return x.movedim(-1, 1).contiguous() if last else x


def tensor_of(array: np.ndarray) -> Tensor:
    """The array as a tensor, without a copy where it can be written to."""
    return torch.as_tensor(np.require(array, requirements="W"))


def _checked(
    named: dict[str, Tensor], key: str, dtype: torch.dtype, *, least: float = -1.0
) -> Inputs:
    for name, tensor in named.items():
        if not tensor.is_floating_point():
            continue
        size = float(torch.linalg.vector_norm(tensor))
        if not least < size < float("inf"):
            raise TaskError(
                f"{key}{name and '.'}{name} cannot be scaled in"
                f" {str(dtype).removeprefix('torch.')}: its values are too large or too small."
                " Bring them to ordinary numbers, such as 0 to 1."
            )
    return named[""] if list(named) == [""] else named
