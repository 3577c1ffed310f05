"""Effective logits and the flip ratio (docs/theory.md §2)."""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tutelage.data.checks import NOT_LABELLED
from tutelage.exceptions import NumericsError, SettingError
from tutelage.theory._solve_binary import binary_root
from tutelage.theory._solve_softmax import softmax_root

Array = TypeVar("Array", Tensor, np.ndarray)

_CHUNK = 1 << 17  # logits solved at once: the solver's few buffers stay near a core's cache
_COLDEST, _HOTTEST = 1e-3, 1e6
_MASKED = 2.5  # e^2.5 is about 12; benchmarks/masked_logits.py has real students beside it


def effective_logits(
    teacher_logits: Array,
    labels: Array | None = None,
    *,
    soft_ratio: float | Array,
    temperature: float | Array = 1.0,
    t_power: int = 2,
) -> Array:
    """Give the logits at which a converged student comes to rest on its training samples.

    Minimising ``soft_ratio * T**t_power * H(softmax(z_t / T), softmax(z / T)) + (1 - soft_ratio) *
    H(label, softmax(z))`` over ``z`` has one solution for every sample, (2.1) and (2.2): a wide
    student trained on the samples ends there, so that distillation is regression on these logits.

    Parameters
    ----------
    teacher_logits : array of shape (n,) or (n, C)
        Raw scores before the sigmoid or softmax; numpy or torch.
    labels : integer array of shape (n,), optional
        In 0 … C - 1 (0 or 1 for one logit); -100 where a sample has none, whose soft ratio is 1
        then. Needed unless every soft ratio is 1.
    soft_ratio : float or array
        Weight of the teacher's term, in (0, 1].
    temperature : float or array
        Positive. Arrays of soft ratios and temperatures broadcast against each other.
    t_power : int
        Power of the temperature before the teacher's term: 0 (Ji and Zhu) or 2 (most software).

    Returns
    -------
    array of shape (..., n) or (..., n, C)
        float64, of the kind that came in; leading axes are those of the settings. Rows with C > 1
        columns sum to zero: the training of a centred student keeps that sum.

    Raises
    ------
    SettingError
        If a soft ratio, temperature or label lies outside its range; a soft ratio of 0 has no
        finite effective logit.
    NumericsError
        If a sample does not converge; the message names it.

    References
    ----------
    Ji and Zhu, *Knowledge Distillation in Wide Neural Networks*, NeurIPS 2020, equation (5).

    Examples
    --------
    The teacher is wrong on the second sample (label 1); the label overrules it at a soft ratio
    of 0.3, but not at 0.8:

    >>> import numpy as np
    >>> z_t, y = np.array([2.0, -1.0]), np.array([1, 1])
    >>> effective_logits(z_t, y, soft_ratio=np.array([0.3, 0.8]), temperature=4.0).round(2)
    array([[ 2.66,  1.19],
           [ 2.11, -0.4 ]])
    """
    logits: Tensor = _logits(teacher_logits)
    ratios, temperatures = _settings(soft_ratio, temperature, t_power)
    targets = None if labels is None else _labels(labels, logits, some=True)
    if targets is None and bool((ratios < 1).any()):
        raise SettingError(
            "Labels are missing, and a soft ratio below 1 weighs them; pass labels, or a soft ratio"
            " of exactly 1."
        )
    result = logits.new_empty((ratios.numel(), *logits.shape))
    for row, rho, t in zip(
        result, ratios.flatten().tolist(), temperatures.flatten().tolist(), strict=True
    ):
        _fill(row, logits, targets, rho, t, t_power)
    shaped = result.reshape(ratios.shape + logits.shape)
    return shaped if isinstance(teacher_logits, Tensor) else shaped.numpy()


def flip_ratio(
    teacher_logits: Array, labels: Array, *, temperature: float = 1.0, t_power: int = 2
) -> Array:
    """Give the soft ratio below which the label overrules a teacher that is wrong on it, (2.3).

    Parameters
    ----------
    teacher_logits : array of shape (n,) or (n, C)
        Raw scores before the sigmoid or softmax; numpy or torch.
    labels : integer array of shape (n,)
        In 0 … C - 1 (0 or 1 for one logit).
    temperature : float
        Positive.
    t_power : int
        0 or 2, see `effective_logits`.

    Returns
    -------
    array of shape (n,)
        float64 in (0, 1]. Where the teacher agrees with the label it is 1: nothing needs to flip.

    Raises
    ------
    SettingError
        If the temperature or a label lies outside its range.

    Examples
    --------
    >>> import numpy as np
    >>> flip_ratio(np.array([2.0, -1.0]), np.array([1, 1]), temperature=4.0).round(3)
    array([1.   , 0.668])
    """
    logits = _logits(teacher_logits)
    _, temperatures = _settings(1.0, temperature, t_power)
    t = temperatures.item()
    targets = _labels(labels, logits)
    if logits.ndim == 1:
        toward_label = torch.where(targets == 1, logits, -logits)
        gap = torch.tanh(
            (-toward_label).clamp_min(0) / (2 * t)
        )  # q_m - q_y = 2 sigmoid(|z_t| / T) - 1
    else:
        soft = torch.softmax(logits / t, dim=1)
        gap = soft.amax(1) - soft.gather(1, targets[:, None])[:, 0]
    result = 1 / (1 + t ** (t_power - 1) * gap)  # (2.3)
    return result if isinstance(teacher_logits, Tensor) else result.numpy()


def unmasked(logits: Tensor, fill: float, temperature: float) -> Tensor:
    """Give logits (n, C) in which masked classes are less probable than the least kept one by a
    fixed factor, (2.4).

    A teacher's probability of nought has no finite effective logit, and regression to the fill in
    its place would be on a number that means nothing. A student comes as far as its training takes
    it: at about a twelfth of the least probable class that was kept, in the softmax at the loss's
    temperature.

    Parameters
    ----------
    logits : Tensor of shape (n, C)
    fill : float
        The value that stands for masked classes.
    temperature : float

    Returns
    -------
    Tensor of shape (n, C)
    """
    masked = logits <= fill
    least = torch.where(masked, torch.inf, logits).amin(1, keepdim=True)
    least = torch.where(least.isfinite(), least, fill)  # a row of nothing else says nothing
    return torch.where(masked, least - _MASKED * temperature, logits)


def centred(logits: Tensor) -> Tensor:
    """Logits whose rows sum to zero; one binary logit is left as it is."""
    return logits if logits.ndim == 1 else logits - logits.mean(1, keepdim=True)


def _fill(
    out: Tensor, logits: Tensor, labels: Tensor | None, rho: float, t: float, t_power: int
) -> None:
    if rho == 1.0 or labels is None:
        out.copy_(centred(logits))
        return
    solver = binary_root if logits.ndim == 1 else softmax_root
    step = max(1, _CHUNK // max(1, logits[0].numel()))
    labelled = (labels != NOT_LABELLED).nonzero()[:, 0]
    if len(labelled) < len(labels):  # the others learn from the teacher alone
        out.copy_(centred(logits))
    for start in range(0, len(labelled), step):
        part = labelled[start : start + step]
        out[part], converged = solver(logits[part], labels[part], rho, t, t_power)
        if not bool(converged.all()):
            sample = int(part[(~converged).nonzero()[0]])
            raise NumericsError(
                f"The effective logit of sample {sample} did not converge at soft ratio {rho:g},"
                f" temperature {t:g}, t_power {t_power}; its teacher logits are"
                f" {_short(logits[sample])}. Scale the teacher's logits down, or move the"
                " temperature closer to 1."
            )


def _short(values: Tensor) -> str:
    shown = [f"{v:g}" for v in values.reshape(-1)[:5].tolist()]
    return ", ".join(shown) + (", …" if values.numel() > 5 else "")


def _logits(teacher_logits: Tensor | np.ndarray) -> Tensor:
    given = _tensor(teacher_logits)
    if given.is_complex():
        raise SettingError("Teacher logits are complex numbers; expected real ones.")
    logits = given.detach().to(torch.float64)
    if (
        logits.ndim not in (1, 2)
        or logits.numel() == 0
        or (logits.ndim == 2 and logits.shape[1] < 2)
    ):
        raise SettingError(
            f"Teacher logits have shape {tuple(logits.shape)}; expected (n,) for one logit or (n,"
            " C) with C of 2 or more."
        )
    bad = ~torch.isfinite(logits)
    if bool(bad.any()):
        raise SettingError(
            f"Teacher logits hold {int(bad.sum())} values that are NaN or infinite; the first is in"
            f" sample {int(bad.reshape(len(logits), -1).any(1).nonzero()[0])}. Remove those samples"
            " or mend the teacher."
        )
    return logits


def _tensor(given: Tensor | np.ndarray) -> Tensor:
    """Torch takes no negative strides, no foreign byte order, and nothing that cannot be written
    to.
    """
    if isinstance(given, Tensor):
        return given
    array = np.asarray(given)
    return torch.as_tensor(
        np.require(array.astype(array.dtype.newbyteorder("="), copy=False), requirements=["C", "W"])
    )


def _labels(labels: Tensor | np.ndarray, logits: Tensor, *, some: bool = False) -> Tensor:
    """Checked; `some` of them may be missing."""
    targets = _tensor(labels).to(logits.device)
    n_classes = 2 if logits.ndim == 1 else logits.shape[1]
    if targets.shape != logits.shape[:1]:
        raise SettingError(
            f"Labels have shape {tuple(targets.shape)}; expected ({len(logits)},), one for each row"
            " of the teacher's logits."
        )
    if targets.is_floating_point() and bool((targets != targets.round()).any()):
        raise SettingError("Labels are not whole numbers; pass class indices.")
    outside = (targets < 0) | (targets >= n_classes)
    if some:
        outside &= targets != NOT_LABELLED
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        raise SettingError(
            f"Label {int(targets[first])} of sample {first} is outside 0 … {n_classes - 1}, the"
            " classes of the teacher's logits."
        )
    return targets.to(torch.int64)


def _settings(
    soft_ratio: float | Tensor | np.ndarray, temperature: float | Tensor | np.ndarray, t_power: int
) -> tuple[Tensor, Tensor]:
    ratios = torch.as_tensor(soft_ratio, dtype=torch.float64)
    temperatures = torch.as_tensor(temperature, dtype=torch.float64)
    check_settings(ratios.flatten().tolist(), temperatures.flatten().tolist(), t_power)
    shape = np.broadcast_shapes(tuple(ratios.shape), tuple(temperatures.shape))
    return ratios.expand(shape), temperatures.expand(shape)


def check_settings(soft_ratios: list[float], temperatures: list[float], t_power: int) -> None:
    """Raise a `SettingError` unless every soft ratio, temperature and the temperature's power can
    be used.
    """
    for rho in soft_ratios:
        if rho == 0:
            raise SettingError(
                "A soft ratio of 0 is training on the labels alone: its logits grow without end, so"
                " it has no effective logit. Use a small positive soft ratio, such as 0.01."
            )
        if not 0 < rho <= 1:
            raise SettingError(
                f"A soft ratio of {rho:g} was given; it is the teacher's share of the loss, in"
                " (0, 1]."
            )
    for t in temperatures:
        if not 0 < t < float("inf"):
            raise SettingError(
                f"A temperature of {t:g} was given; expected a positive, finite number."
            )
        if not _COLDEST <= t <= _HOTTEST:
            raise SettingError(
                f"A temperature of {t:g} was given; expected one between {_COLDEST:g} and"
                f" {_HOTTEST:g}."
            )
    if t_power not in (0, 2):
        raise SettingError(
            f"t_power is {t_power!r}; expected 0 (the paper's loss) or 2 (most distillation"
            " software)."
        )
