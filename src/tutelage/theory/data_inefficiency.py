"""Data inefficiency: how much the next sample still teaches (docs/theory.md §5)."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def fresh_sample(
    squared_norm: Float[Tensor, "*settings"],
    residual: Float[Tensor, "M *settings C"],
    variance: Float[Tensor, " M"],
    jitter: float,
    n: int,
) -> tuple[Float[Tensor, "*settings"], Float[Tensor, "*settings"]]:
    """Estimate I(n) by drawing the next sample from held-out inputs, (5.1) with (5.2).

    Parameters
    ----------
    squared_norm : Tensor (...)
        ‖Δŵ_n‖², summed over classes.
    residual : Tensor of shape (M, ..., C)
        z_eff(x) - f̂_n(x) on held-out inputs.
    variance : Tensor of shape (M,)
        σ_n²(x).
    jitter : float
        λ: a sample that joined the pool would bring a feature of its own of this squared length.
    n : int

    Returns
    -------
    inefficiency, standard_error : Tensor (...)
        The standard error is that of the mean over the M inputs.

    Examples
    --------
    A student that predicts the next target exactly learns nothing from it:

    >>> import torch
    >>> fresh_sample(torch.tensor(2.0), torch.zeros(4, 1), torch.ones(4), 0.0, 10)[0]
    tensor(0.)
    """
    shape = (-1,) + (1,) * (residual.ndim - 2)
    growth = residual.square().sum(-1) / (variance + jitter).reshape(shape)
    ratio = (1 + growth / squared_norm.clamp_min(torch.finfo(squared_norm.dtype).tiny)).sqrt()
    mean = ratio.mean(0)
    spread = ratio.std(0) if len(ratio) > 1 else torch.zeros_like(mean)
    return n * mean.log(), n * spread / (mean * len(ratio) ** 0.5)


def leave_one_out(
    squared_norm: Float[Tensor, "*settings"],
    coefficients: Float[Tensor, "m *settings C"],
    inverse_diagonal: Float[Tensor, " m"],
    n: int,
) -> tuple[Float[Tensor, "*settings"], Float[Tensor, "*settings"]]:
    """Estimate I(N) within the pool: what each sample added to the students of all the others.

    Taking sample i out lowers ‖Δŵ_N‖² by [Θ⁻¹Z]_i² / [Θ⁻¹]_ii, so that no held-out input is needed.

    Parameters
    ----------
    squared_norm : Tensor (...)
        ‖Δŵ_N‖², summed over classes.
    coefficients : Tensor of shape (m, ..., C)
        Θ⁻¹Z of the samples to take out.
    inverse_diagonal : Tensor of shape (m,)
    n : int
        The size N of the pool.

    Returns
    -------
    inefficiency, standard_error : Tensor (...)
    """
    shape = (-1,) + (1,) * (coefficients.ndim - 2)
    drop = coefficients.square().sum(-1) / inverse_diagonal.reshape(shape)
    ratio = (
        (1 - drop / squared_norm.clamp_min(torch.finfo(squared_norm.dtype).tiny)).clamp(0, 1).sqrt()
    )
    mean = ratio.mean(0).clamp_min(torch.finfo(squared_norm.dtype).tiny)
    return -n * mean.log(), n * ratio.std(0) / (mean * len(ratio) ** 0.5)


def slope(squared_norms: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate I between sizes as the slope of ln E‖Δŵ‖ over ln n, (5.1).

    Parameters
    ----------
    squared_norms : array of shape (orderings, ..., sizes)
        ‖Δŵ_n‖² of every ordering.
    sizes : array of shape (sizes,)
        Ascending; each window reaches from one size to the next.

    Returns
    -------
    inefficiency : array of shape (..., sizes)
        The window that ends at each size; the first has none and is NaN.
    standard_error : array of shape (..., sizes)
        Over orderings, by the jackknife; NaN for a single ordering.

    Examples
    --------
    Norms that grow as n to the power 0.3 have a data inefficiency of 0.3:

    >>> import numpy as np
    >>> n = np.array([10, 20, 40])
    >>> slope((n**0.6)[None], n)[0].round(6)
    array([nan, 0.3, 0.3])
    """
    norms = np.sqrt(squared_norms)
    estimate = _slope_of_mean(norms.mean(0), sizes)
    orderings = len(norms)
    if orderings == 1:
        return estimate, np.full_like(estimate, np.nan)
    left_out = [_slope_of_mean(np.delete(norms, r, 0).mean(0), sizes) for r in range(orderings)]
    return estimate, np.sqrt((orderings - 1) * np.var(left_out, axis=0))


def log_cosine_from(inefficiency: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Give ln cos α_n from the inefficiencies ahead: -Σ_{m ≥ n} I(m)/m, summed window by window.

    Parameters
    ----------
    inefficiency : array of shape (..., sizes)
        Slopes as `slope` gives them.
    sizes : array of shape (sizes,)

    Returns
    -------
    array of shape (..., sizes)
        0 at the last size, where the student is the oracle.
    """
    steps = inefficiency[..., 1:] * np.diff(np.log(sizes))
    ahead = np.cumsum(steps[..., ::-1], -1)[..., ::-1]
    return -np.concatenate([ahead, np.zeros_like(inefficiency[..., :1])], -1)


def _slope_of_mean(mean_norms: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    logs = np.log(
        mean_norms, out=np.full_like(mean_norms, np.nan), where=mean_norms > 0
    )  # a student of 0 has learned nothing
    windows = np.diff(logs, axis=-1) / np.diff(np.log(sizes))
    return np.concatenate([np.full_like(mean_norms[..., :1], np.nan), windows], -1)
