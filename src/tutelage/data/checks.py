"""The checks a task's arrays pass, each failing in one sentence: what came, what was expected, what
to do.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from tutelage.exceptions import TaskError

Arrays = np.ndarray | Mapping[str, np.ndarray]

_ROW_SUM_TOLERANCE = 1e-3  # float16 probabilities miss 1 by this much
_ROUNDED = 0.006  # and probabilities rounded to two digits by this much a class
_LARGEST_LOGIT = 1e6
_CHANNELS = (1, 3, 4)
_UNITS, _SCALES, _LOOKED_AT = (
    30.0,
    2.0,
    20_000,
)  # how far apart scales may lie, and the samples that tell
_FILLS, _FILLED, _FAR = (
    5,
    0.01,
    10.0,
)  # entries that share a fill, as a share of all, and how far below the rest it lies
_TELLING = 8  # samples that tell probabilities from small logits
NOT_LABELLED = -100


def image_layout(value: str | None, key: str, x: Arrays) -> str:
    """Say in which of the two layouts inputs, samples first, come; by default with channels last.

    Images have one, three or four channels, or sides of one length; where that speaks against the
    default it is refused.
    """
    if value is None:
        for name, part in named(x, "x_train").items():
            if not looks_channels_first(part.shape):
                continue
            raise TaskError(
                f"{name} has shape {tuple(part.shape)}, which looks like images with their channels"
                f" first, as torch has them; {key} was not given, and is channels_last without it."
                " Give image_layout: channels_first, or channels_last if that is what they are."
            )
        return "channels_last"
    if value not in ("channels_last", "channels_first"):
        raise TaskError(f"{key} is {value!r}; expected channels_last or channels_first.")
    return value


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether inputs of this shape can be images with their channels first, and not last."""
    if len(shape) not in (4, 5):
        return False
    _, *image = shape
    return _is_image(image[0], image[1:]) and not _is_image(image[-1], image[:-1])


def _is_image(channels: int, sides: list[int]) -> bool:
    return min(sides) > max(_CHANNELS) and (channels in _CHANNELS or len(set(sides)) == 1)


def named(x: Arrays, key: str) -> dict[str, np.ndarray]:
    """Every array of inputs under its key in a task file."""
    return {f"{key}.{name}": v for name, v in x.items()} if isinstance(x, Mapping) else {key: x}


def inputs(value: Any, key: str) -> Arrays:
    """Inputs of shape (n, ...), or several by name: real, finite, with at least one feature."""
    if not isinstance(value, Mapping):
        return _input(value, key)
    if not value or not all(isinstance(name, str) and name.isidentifier() for name in value):
        raise TaskError(
            f"{key} has inputs of the names {', '.join(map(repr, value)) or 'none'}; expected the"
            " names of the arguments of the student's forward, such as input_ids."
        )
    found = {name: _input(value[name], f"{key}.{name}") for name in sorted(value)}
    lengths = {f"{key}.{name}": len(array) for name, array in found.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {n:,}" for name, n in lengths.items())
        raise TaskError(f"Named inputs have different lengths ({said}); each sample needs a row.")
    return found


def like(value: Any, known: Arrays, key: str) -> Arrays:
    """Inputs of the same names and shapes as those that are known."""
    x = inputs(value, key)
    shapes = [
        {k.partition(".")[2]: v.shape[1:] for k, v in named(of, key).items()} for of in (x, known)
    ]
    if shapes[0] != shapes[1]:
        said = [", ".join(f"{k} {v}".strip() for k, v in of.items()) for of in shapes]
        raise TaskError(
            f"{key} has inputs of shape {said[0]}, the pool of {said[1]}; expected the same."
        )
    return x


def _input(value: Any, key: str) -> np.ndarray:
    x = features(value, key)
    if key == "x_train" and len(x) < 2:
        raise TaskError(f"x_train holds {len(x)} sample(s); expected at least 2.")
    if x[:1].size == 0 or len(x) == 0:
        raise TaskError(
            f"{key} has shape {x.shape}, so it holds no features or no samples; expected at least"
            " one of each."
        )
    if key == "x_train" and bool((x == x[:1]).all()):
        raise TaskError(
            f"All {len(x)} inputs of x_train are the same, so nothing can be learned from them;"
            " check how it was made."
        )
    return x


def features(value: Any, key: str, start: int = 0) -> np.ndarray:
    """Real, finite numbers of shape (n, ...); samples are counted from `start` on, here and
    below.
    """
    x = _real(value, key, start)
    if x.ndim < 2:
        raise TaskError(
            f"{key} has shape {x.shape}; expected (n, ...), one row a sample. For a single feature"
            " reshape to (n, 1)."
        )
    return x


def epochs(value: Any) -> np.ndarray:
    """Stopping epochs (E,): whole numbers, ascending."""
    e = _real(value, "teacher_epochs")
    if e.ndim == 1:
        e = _whole(e, "teacher_epochs", "whole epochs")
    if e.ndim != 1 or len(e) == 0 or bool((np.diff(e) <= 0).any()):
        raise TaskError(
            "teacher_epochs is not a list of ascending epochs; expected shape (E,), for example 1,"
            " 2, 5, 10."
        )
    return e


def teacher_logits(value: Any, key: str, n: int, teacher_epochs: np.ndarray | None) -> np.ndarray:
    """Logits (n,) or (n, C), with a leading epoch axis exactly if epochs are given."""
    z = scores(value, key, n, teacher_epochs)
    axes = 0 if teacher_epochs is None else 1
    one_logit = z.ndim - axes == 1
    _not_probabilities(z, key, one_logit=one_logit)
    return z


def scores(
    value: Any, key: str, n: int, teacher_epochs: np.ndarray | None = None, start: int = 0
) -> np.ndarray:
    """Numbers of the shape and size of logits; whether they are probabilities can be told of many
    samples only.
    """
    z = _real(_filled(value), key, start)
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
        extra = (
            " Give teacher_epochs if the first axis is epochs."
            if z.ndim == 3 and not leading
            else ""
        )
        raise TaskError(
            f"{key} has shape {z.shape}; expected {expected}, as {n} inputs go with it.{extra}"
        )
    if z.size == 0:
        raise TaskError(f"{key} has shape {z.shape}, so it holds no logits; expected {expected}.")
    if float(np.abs(z).max()) > _LARGEST_LOGIT:
        raise TaskError(
            f"{key} holds {float(np.abs(z).max()):g}; expected raw scores within"
            f" ±{_LARGEST_LOGIT:g}. Look for an overflow in the teacher, or scale its logits down."
        )
    z = (
        z[..., 0] if len(body) == 2 and body[1] == 1 else z
    )  # one binary logit in a column of its own
    return np.require(z, requirements=["C", "W"])  # as torch takes it


def fill_value(z: np.ndarray) -> float | None:
    """Give the logit that stands for classes a teacher has masked, if (…, C) logits have one.

    It is the least of all, far below all others, and shared by many entries.
    """
    if z.shape[-1] < 2:
        return None
    least = z.min()
    rest = z[z > least]
    if not len(rest) or z.size - len(rest) < max(_FILLS, _FILLED * z.size):
        return None
    return float(least) if rest.min() - least > max(_FAR, 0.5 * (rest.max() - rest.min())) else None


def _filled(value: Any) -> Any:
    """Minus infinity, or the least float, as a fill that can be computed with."""
    if isinstance(value, Tensor) and value.is_floating_point():
        value = value.detach().cpu().double().numpy()
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating) and value.ndim > 1:
        value = value.astype(np.float32) if value.dtype.itemsize < 4 else value
        return np.where(value < -_LARGEST_LOGIT, np.array(-_LARGEST_LOGIT, value.dtype), value)
    return value


def labels(value: Any, key: str, n: int, n_classes: int, start: int = 0) -> np.ndarray:
    """Labels (n,): whole numbers in 0 … C - 1."""
    y = _real(value, key, start)
    if (
        y.ndim == 2
        and y.shape[1] > 1
        and y.min() >= 0
        and bool((np.abs(y.sum(1) - 1) <= _ROW_SUM_TOLERANCE).all())
    ):
        if bool((np.sort(y, 1)[:, -1] == 1).all()):
            raise TaskError(
                f"{key} is one-hot, shape {y.shape}; expected class indices of shape ({n},). Pass"
                f" {key}.argmax(1)."
            )
        raise TaskError(
            f"{key} holds soft labels: rows of shares that sum to 1, shape {y.shape}; expected"
            f" class indices of shape ({n},). Soft labels p are what another teacher would say:"
            " pass log(p) as teacher logits, or the class that each sample has."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (n,):
        raise TaskError(f"{key} has shape {y.shape}; expected ({n},), one label for each input.")
    y = _whole(y, key, start=start)
    outside = ((y < 0) | (y >= n_classes)) & (y != NOT_LABELLED)
    if bool(outside.any()):
        first = int(np.flatnonzero(outside)[0])
        what = "is negative" if y[first] < 0 else f"is beyond the teacher's {n_classes} classes"
        raise TaskError(
            f"{key} holds the label {y[first]} (first at index {first + start}), which {what};"
            f" expected 0 … {n_classes - 1}.{_from_one(y, n_classes)}"
        )
    return y


def _from_one(y: np.ndarray, n_classes: int) -> str:
    """What labels may be that begin with 1."""
    known = y[y != NOT_LABELLED]
    if known.min() == 1 and known.max() == n_classes:
        return " No label is 0: if classes are numbered from 1, subtract 1."
    return ""


def labelled_test(y_test: np.ndarray | None) -> None:
    """All of a test part's labels are there, or none."""
    if y_test is not None and bool((y_test == NOT_LABELLED).any()):
        raise TaskError(
            f"y_test holds {int((y_test == NOT_LABELLED).sum())} times {NOT_LABELLED}, which means"
            " not labelled; a test part has labels for all of its samples or for none. Leave those"
            " samples out, or leave out y_test."
        )


def all_labelled(y: np.ndarray | None) -> None:
    """All of the samples that are held out of a stream have labels, or none."""
    if y is not None and bool((y == NOT_LABELLED).any()):
        raise TaskError(
            f"{int((y == NOT_LABELLED).sum())} of the stream's last {len(y)} samples are not"
            f" labelled ({NOT_LABELLED}), and without a test part these are held out to measure"
            " errors on. Give a labelled test part (x_test, teacher_logits_test, y_test)."
        )


def test_part(x_train: Arrays, x_test: Any, teacher_logits_test: Any, y_test: Any) -> None:
    """The test part hangs together: inputs of the pool's shape, and something to compare with."""
    if x_test is None:
        for key, value in (("teacher_logits_test", teacher_logits_test), ("y_test", y_test)):
            if value is not None:
                raise TaskError(
                    f"{key} came without x_test; give the test inputs too, or leave the test part"
                    " out."
                )
        return
    if isinstance(x_train, Mapping) or isinstance(x_test, Mapping):
        names = [sorted(x) if isinstance(x, Mapping) else [""] for x in (x_train, x_test)]
        if names[0] != names[1]:
            said = [", ".join(n) if n != [""] else "no names" for n in names]
            raise TaskError(
                f"x_train has the inputs {said[0]}, x_test {said[1]}; expected the same names."
            )
    test = named(x_test, "x_test")
    for key, pool in named(x_train, "x_train").items():
        other = key.replace("x_train", "x_test", 1)
        if test[other].shape[1:] != pool.shape[1:]:
            raise TaskError(
                f"{other} has inputs of shape {test[other].shape[1:]}, {key} of {pool.shape[1:]};"
                " expected the same."
            )
    if teacher_logits_test is None and y_test is None:
        raise TaskError(
            "x_test came without teacher_logits_test and y_test; give at least one of them, or"
            " leave x_test out."
        )


def same_classes(train: np.ndarray, test: np.ndarray | None) -> None:
    """Teacher logits (E, n, C) of both parts have the same columns."""
    if test is not None and train.shape[-1] != test.shape[-1]:
        raise TaskError(
            f"teacher_logits_train has {train.shape[-1]} column(s), teacher_logits_test"
            f" {test.shape[-1]}; expected the same number."
        )


def more_than_one_class(
    y_train: np.ndarray | None, last_decisions: np.ndarray, last_logits: np.ndarray
) -> None:
    """The labels, or without them the teacher of the last epoch, tell at least two classes
    apart.
    """
    if bool((last_logits == last_logits[:1]).all()):
        raise TaskError(
            "teacher_logits_train are the same for every sample, so the teacher says nothing of"
            " them; check how they were made."
        )
    if y_train is not None:
        known = y_train[y_train != NOT_LABELLED]
        if bool((known == known[0]).all()) and len(known) == len(y_train):
            raise TaskError(
                f"y_train holds one class only ({known[0]}, {len(known)} times); expected"
                " samples of at least two."
            )
    elif bool((last_decisions == last_decisions[0]).all()):
        raise TaskError(
            f"The teacher gives class {last_decisions[0]} to every sample of the pool: one class"
            " only, so there is nothing to distil. Check that teacher_logits_train are raw scores"
            " of these inputs."
        )


def copies(*parts: Arrays) -> np.ndarray:
    """For each sample of parts (n, ...), counted through, the first one that has the same inputs:
    itself where none comes before.
    """
    seen: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    flat = [_rows(part) for part in parts]
    common = np.result_type(*flat)
    rows = (row for part in flat for row in part.astype(common, copy=False))
    first = np.arange(sum(map(len, flat)))
    for i, row in enumerate(rows):
        same = seen[hash(row.tobytes())]
        first[i] = next((k for k, known in same if np.array_equal(known, row)), i)
        if first[i] == i:
            same.append((i, row))
    return first


def clashes(first: np.ndarray, z: np.ndarray, y: np.ndarray | None) -> tuple[str, ...]:
    """Warn of copies whose labels or teacher logits (E, n, C) differ: no function fits both."""
    copied = np.flatnonzero(first != np.arange(len(first)))
    differ = [not np.allclose(z[:, i], z[:, first[i]], rtol=1e-3, atol=1e-3) for i in copied]
    if y is not None:
        both = (y[copied] != NOT_LABELLED) & (y[first[copied]] != NOT_LABELLED)
        other = both & (y[copied] != y[first[copied]])
        differ = [d or bool(o) for d, o in zip(differ, other, strict=True)]
    found = copied[np.array(differ, dtype=bool)]
    if not len(found):
        return ()
    return (
        (
            f"{len(found)} pair(s) of pool inputs are identical but have different targets (samples"
            f" {pairs(first[found], found)}): no student fits both, and the kernel is singular."
            " Drop or merge them."
        ),
    )


def overlap(first: np.ndarray, n_train: int) -> tuple[str, ...]:
    """Warn of test samples that are in the pool, too: their errors are those of samples that the
    student has seen.

    `first` are the `copies` of pool and test part.
    """
    of_test = first[n_train:]
    found = np.flatnonzero(of_test < n_train)
    if not len(found):
        return ()
    return (
        (
            f"{len(found)} of {len(of_test)} test samples are in the pool, too (test and pool"
            f" samples {pairs(found, of_test[found])}): what is measured on them is no error of"
            " held-out samples. Leave them out of one of the two."
        ),
    )


def units(x: Arrays) -> tuple[str, ...]:
    """Warn of columns in units of their own, one of which says nearly all to a student whose inputs
    share one scale.
    """
    if isinstance(x, Mapping) or x.ndim != 2 or x.shape[1] < 3:
        return ()
    spread = _some(x).std(0)
    spread = spread[spread > 0]
    if len(spread) < 3 or spread.max() <= _UNITS * np.median(spread):
        return ()
    return (
        (
            "The columns of x_train have very different scales: one has a standard deviation of"
            f" {spread.max():.3g}, half have at most {np.median(spread):.2g}. Standardising removes"
            " means and gives all columns one common scale, so that a few of them decide. If they"
            " are in different units, scale each first, by the pool's own: mean, std ="
            " x_train.mean(0), x_train.std(0)."
        ),
    )


def shifted(x_train: Arrays, x_test: Arrays | None) -> tuple[str, ...]:
    """Warn of a test part on another scale than the pool."""
    if isinstance(x_train, Mapping) and isinstance(x_test, Mapping):
        numbers = [name for name, x in x_train.items() if np.issubdtype(x.dtype, np.floating)]
        return tuple(w for name in numbers for w in shifted(x_train[name], x_test[name]))
    if isinstance(x_train, Mapping) or isinstance(x_test, Mapping) or x_test is None:
        return ()
    pool, test = _some(x_train), _some(x_test)
    scale, centre = pool.std() or 1.0, abs(test.mean() - pool.mean())
    ratio = test.std() / scale
    if (len(test) < 2 or 1 / _SCALES <= ratio <= _SCALES) and centre <= scale:
        return ()
    return (
        (
            "The test part lies on another scale than the pool: its inputs have mean"
            f" {test.mean():.3g} and standard deviation {test.std():.3g}, the pool's"
            f" {pool.mean():.3g} and {pool.std():.3g}. Prepare both alike (for example, divide both"
            " by 255)."
        ),
    )


def _some(x: np.ndarray) -> np.ndarray:
    """Enough samples to tell scales by."""
    return x[:: max(1, len(x) // _LOOKED_AT)].astype(np.float64)


def _rows(x: Arrays) -> np.ndarray:
    parts = [np.ascontiguousarray(v) for v in named(x, "").values()]
    flat = [part.reshape(len(part), -1) for part in parts]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, 1)


def pairs(left: np.ndarray, right: np.ndarray) -> str:
    """A few pairs of samples, for a sentence."""
    shown = ", ".join(
        f"{a} and {b}" for a, b in zip(left[:5].tolist(), right[:5].tolist(), strict=True)
    )
    return shown + (", …" if len(left) > 5 else "")


def _real(value: Any, key: str, start: int = 0) -> np.ndarray:
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = (
                value.float()
                if value.dtype.is_floating_point and value.dtype.itemsize < 4
                else value
            )
        if isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any()):
            raise TaskError(
                f"{key} has masked values; expected a number for each. Fill them, or leave those"
                " samples out."
            )
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(
            f"{key} cannot be made an array ({error}); expected numbers in rows of equal length."
        ) from error
    if array.dtype == object or array.dtype.kind not in "biufc":
        kind = {
            "U": "strings",
            "S": "strings",
            "O": "Python objects",
            "M": "dates",
            "m": "durations",
        }.get(array.dtype.kind, str(array.dtype))
        raise TaskError(
            f"{key} holds {kind}; expected real numbers. Convert it to float or int before saving."
        )
    if np.issubdtype(array.dtype, np.complexfloating):
        raise TaskError(
            f"{key} holds complex numbers; expected real ones. Pass its real part, or its"
            " magnitude."
        )
    if np.issubdtype(array.dtype, np.floating):
        bad = ~np.isfinite(array)
        if bool(bad.any()):
            sample, *rest = (int(i) for i in np.argwhere(bad)[0])
            raise TaskError(
                f"{key} holds {int(bad.sum())} values that are NaN or infinite (first at index"
                f" {[sample + start, *rest]}); expected finite numbers. Remove or fill them."
            )
    if np.issubdtype(array.dtype, np.floating) and array.dtype.itemsize not in (4, 8):
        return np.array(array, np.float32 if array.dtype == np.float16 else np.float64, order="C")
    native = array.dtype.newbyteorder("=")
    backwards = any(stride < 0 for stride in array.strides)  # torch has no such tensor
    return np.array(array, native, order="C", copy=True if backwards else None)


def _whole(
    array: np.ndarray, key: str, expected: str = "class indices", start: int = 0
) -> np.ndarray:
    large = np.abs(array.astype(np.float64)) > 2**53
    if bool(large.any()):
        first = int(np.flatnonzero(large)[0])
        raise TaskError(
            f"{key} holds {array.flat[first]:g} (index {first + start}); expected {expected}."
        )
    if np.issubdtype(array.dtype, np.floating):
        fraction = array != np.round(array)
        if bool(fraction.any()):
            first = int(np.flatnonzero(fraction)[0])
            raise TaskError(
                f"{key} holds {array[first]:g} (index {first + start}), which is not a whole"
                f" number; expected {expected}."
            )
    return array.astype(np.int64)


def _not_probabilities(z: np.ndarray, key: str, *, one_logit: bool) -> None:
    if z.shape[-1 if one_logit else -2] < _TELLING or z.min() == z.max():
        return
    columns = 1 if one_logit else z.shape[-1]
    sums = z.sum(-1) if columns > 1 else z
    if (
        columns > 1
        and z.min() >= 0
        and z.max() > 1
        and bool((np.abs(sums - 100) <= 1 + columns / 2).all())
    ):
        raise TaskError(
            f"{key} holds percentages: every row sums to 100; expected raw scores. From percentages"
            " p, pass log(p / 100), of p above 0."
        )
    if z.min() < 0 or z.max() > 1 + _ROW_SUM_TOLERANCE:
        return
    if columns > 1 and bool((np.abs(sums - 1) <= _ROW_SUM_TOLERANCE + _ROUNDED * columns).all()):
        raise TaskError(
            f"{key} holds probabilities: every row sums to 1; expected raw scores before the"
            " softmax. From probabilities p, pass np.log(np.clip(p, 1e-6, 1))."
        )
    which = (
        ""
        if one_logit
        else ", one for each class on its own, as of a teacher with a sigmoid for each"
    )
    raise TaskError(
        f"{key} lies between 0 and 1 everywhere, as probabilities do{which}; expected raw scores"
        " before the sigmoid or softmax. From probabilities p of a sigmoid, pass log(p / (1 - p))."
    )
