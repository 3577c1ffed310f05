"""The checks a task's arrays pass, each failing in one sentence: what came, what was expected, what to do."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.exceptions import TaskError

_ROW_SUM_TOLERANCE = 1e-3  # float16 probabilities miss 1 by this much
_ROUNDED = 0.006  # and probabilities rounded to two digits by this much a class
_LARGEST_LOGIT = 1e6


def image_layout(value: str, key: str) -> str:
    """One of the two that images come in."""
    if value not in ("channels_last", "channels_first"):
        raise TaskError(f"{key} is {value!r}; expected channels_last or channels_first.")
    return value


def inputs(value: Any, key: str) -> np.ndarray:
    """Inputs of shape (n, ...): real, finite, with at least one feature."""
    x = _real(value, key)
    if x.ndim < 2:
        raise TaskError(
            f"{key} has shape {x.shape}; expected (n, ...), one row a sample. For a single feature reshape to (n, 1)."
        )
    if key == "x_train" and len(x) < 2:
        raise TaskError(f"x_train holds {len(x)} sample(s); expected at least 2.")
    if x[:1].size == 0 or len(x) == 0:
        raise TaskError(
            f"{key} has shape {x.shape}, so it holds no features or no samples; expected at least one of each."
        )
    if key == "x_train" and bool((x == x[:1]).all()):
        raise TaskError(
            f"All {len(x)} inputs of x_train are the same, so nothing can be learned from them; check how it was made."
        )
    return x


def epochs(value: Any) -> np.ndarray:
    """Stopping epochs (E,): whole numbers, ascending."""
    e = _real(value, "teacher_epochs")
    if e.ndim == 1:
        e = _whole(e, "teacher_epochs", "whole epochs")
    if e.ndim != 1 or len(e) == 0 or bool((np.diff(e) <= 0).any()):
        raise TaskError(
            "teacher_epochs is not a list of ascending epochs; expected shape (E,), for example 1, 2, 5, 10."
        )
    return e


def teacher_logits(value: Any, key: str, n: int, teacher_epochs: np.ndarray | None) -> np.ndarray:
    """Logits (n,) or (n, C), with a leading epoch axis exactly if epochs are given."""
    z = _real(value, key)
    if not np.issubdtype(z.dtype, np.floating):
        z = z.astype(np.float64)
    leading = () if teacher_epochs is None else (len(teacher_epochs),)
    expected = (
        f"({n},) or ({n}, C)"
        if not leading
        else f"({leading[0]}, {n}) or ({leading[0]}, {n}, C), with an axis for teacher_epochs"
    )
    body = z.shape[len(leading) :]
    if z.shape[: len(leading)] != leading or len(body) not in (1, 2) or body[0] != n:
        extra = " Give teacher_epochs if the first axis is epochs." if z.ndim == 3 and not leading else ""
        raise TaskError(f"{key} has shape {z.shape}; expected {expected}, as {n} inputs go with it.{extra}")
    if z.size == 0:
        raise TaskError(f"{key} has shape {z.shape}, so it holds no logits; expected {expected}.")
    if float(np.abs(z).max()) > _LARGEST_LOGIT:
        raise TaskError(
            f"{key} holds {float(np.abs(z).max()):g}; expected raw scores within ±{_LARGEST_LOGIT:g}. Look for an overflow in the "
            "teacher, or scale its logits down."
        )
    if len(body) == 2 and body[1] == 1:
        z = z[..., 0]  # one binary logit in a column of its own
    _not_probabilities(z, key, one_logit=len(body) == 1 or body[1] == 1)
    return z


def labels(value: Any, key: str, n: int, n_classes: int) -> np.ndarray:
    """Labels (n,): whole numbers in 0 … C - 1."""
    y = _real(value, key)
    if (
        y.ndim == 2
        and y.shape[1] > 1
        and bool((np.sort(y, 1)[:, -1] == 1).all())
        and bool((np.abs(y).sum(1) == 1).all())
    ):
        raise TaskError(
            f"{key} is one-hot, shape {y.shape}; expected class indices of shape ({n},). Pass {key}.argmax(1)."
        )
    if y.shape != (n,):
        raise TaskError(f"{key} has shape {y.shape}; expected ({n},), one label for each input.")
    y = _whole(y, key)
    outside = (y < 0) | (y >= n_classes)
    if bool(outside.any()):
        first = int(np.flatnonzero(outside)[0])
        what = "is negative" if y[first] < 0 else f"is beyond the teacher's {n_classes} classes"
        raise TaskError(
            f"{key} holds the label {y[first]} (first at index {first}), which {what}; expected 0 … {n_classes - 1}."
        )
    return y


def test_part(x_train: np.ndarray, x_test: Any, teacher_logits_test: Any, y_test: Any) -> None:
    """The test part hangs together: inputs of the pool's shape, and something to compare with."""
    if x_test is None:
        for key, value in (("teacher_logits_test", teacher_logits_test), ("y_test", y_test)):
            if value is not None:
                raise TaskError(f"{key} came without x_test; give the test inputs too, or leave the test part out.")
        return
    if x_test.shape[1:] != x_train.shape[1:]:
        raise TaskError(
            f"x_test has inputs of shape {x_test.shape[1:]}, x_train of {x_train.shape[1:]}; expected the same."
        )
    if teacher_logits_test is None and y_test is None:
        raise TaskError(
            "x_test came without teacher_logits_test and y_test; give at least one of them, or leave x_test out."
        )


def same_classes(train: np.ndarray, test: np.ndarray | None) -> None:
    """Teacher logits (E, n, C) of both parts have the same columns."""
    if test is not None and train.shape[-1] != test.shape[-1]:
        raise TaskError(
            f"teacher_logits_train has {train.shape[-1]} column(s), teacher_logits_test {test.shape[-1]}; expected the same number."
        )


def more_than_one_class(y_train: np.ndarray | None, last_decisions: np.ndarray, last_logits: np.ndarray) -> None:
    """The labels, or without them the teacher of the last epoch, tell at least two classes apart."""
    if bool((last_logits == last_logits[:1]).all()):
        raise TaskError(
            "teacher_logits_train are the same for every sample, so the teacher says nothing of them; check how they were made."
        )
    if y_train is not None:
        if bool((y_train == y_train[0]).all()):
            raise TaskError(
                f"y_train holds one class only ({y_train[0]}, {len(y_train)} times); expected samples of at least two."
            )
    elif bool((last_decisions == last_decisions[0]).all()):
        raise TaskError(
            f"The teacher gives class {last_decisions[0]} to every sample of the pool: one class only, so there is nothing to "
            "distil. Check that teacher_logits_train are raw scores of these inputs."
        )


def duplicates(x: np.ndarray, z: np.ndarray, y: np.ndarray | None) -> tuple[str, ...]:
    """Warn of duplicate inputs whose labels or teacher logits (E, n, C) differ: no function fits both."""
    groups = defaultdict(list)
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    for i, row in enumerate(rows):
        groups[hash(row.tobytes())].append(i)
    clashes = []
    for indices in groups.values():
        for i in indices[1:]:
            first = indices[0]
            differ = (y is not None and y[i] != y[first]) or not np.allclose(z[:, i], z[:, first], rtol=1e-3, atol=1e-3)
            if differ and np.array_equal(rows[i], rows[first]):
                clashes.append((first, i))
    if not clashes:
        return ()
    shown = ", ".join(f"{a} and {b}" for a, b in clashes[:5]) + (", …" if len(clashes) > 5 else "")
    return (
        f"{len(clashes)} pair(s) of pool inputs are identical but have different targets (samples {shown}): no student fits both, "
        "and the kernel is singular. Drop or merge them.",
    )


def _real(value: Any, key: str) -> np.ndarray:
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = value.float() if value.dtype == torch.bfloat16 else value
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(
            f"{key} cannot be made an array ({error}); expected numbers in rows of equal length."
        ) from error
    if array.dtype == object or array.dtype.kind not in "biufc":
        kind = {"U": "strings", "S": "strings", "O": "Python objects", "M": "dates", "m": "durations"}.get(
            array.dtype.kind, str(array.dtype)
        )
        raise TaskError(f"{key} holds {kind}; expected real numbers. Convert it to float or int before saving.")
    if np.issubdtype(array.dtype, np.complexfloating):
        raise TaskError(f"{key} holds complex numbers; expected real ones. Pass its real part, or its magnitude.")
    if np.issubdtype(array.dtype, np.floating):
        bad = ~np.isfinite(array)
        if bool(bad.any()):
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise TaskError(
                f"{key} holds {int(bad.sum())} values that are NaN or infinite (first at index {list(first)}); "
                "expected finite numbers. Remove or fill them."
            )
    if np.issubdtype(array.dtype, np.floating) and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _whole(array: np.ndarray, key: str, expected: str = "class indices") -> np.ndarray:
    large = np.abs(array.astype(np.float64)) > 2**53
    if bool(large.any()):
        first = int(np.flatnonzero(large)[0])
        raise TaskError(f"{key} holds {array.flat[first]:g} (index {first}); expected {expected}.")
    if np.issubdtype(array.dtype, np.floating):
        fraction = array != np.round(array)
        if bool(fraction.any()):
            first = int(np.flatnonzero(fraction)[0])
            raise TaskError(
                f"{key} holds {array[first]:g} (index {first}), which is not a whole number; expected {expected}."
            )
    return array.astype(np.int64)


def _not_probabilities(z: np.ndarray, key: str, *, one_logit: bool) -> None:
    if not one_logit and z.min() >= 0 and bool((np.abs(z.sum(-1) - 100) <= 1).all()):
        raise TaskError(
            f"{key} holds percentages: every row sums to 100; expected raw scores. From percentages p, pass log(p)."
        )
    if z.min() < 0 or z.max() > 1 + _ROW_SUM_TOLERANCE:
        return
    if one_logit and z.min() != z.max():
        raise TaskError(
            f"{key} lies between 0 and 1 everywhere, as probabilities do; expected raw scores before the sigmoid. "
            "From probabilities p, pass log(p / (1 - p))."
        )
    tolerance = _ROW_SUM_TOLERANCE + _ROUNDED * z.shape[-1]
    if not one_logit and bool((np.abs(z.sum(-1) - 1) <= tolerance).all()):
        raise TaskError(
            f"{key} holds probabilities: every row sums to 1; expected raw scores before the softmax. "
            "From probabilities p, pass log(p)."
        )
