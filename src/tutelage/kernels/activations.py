"""Dual functions of activations: what a nonlinearity does to a Gaussian covariance.

For a centred Gaussian pair ``(u, v)`` with variances ``q1``, ``q2`` and covariance ``k``, an
activation ``a`` has the duals ``E[a(u) a(v)]`` and ``E[a'(u) a'(v)]``. They are all a wide
network needs to know of its nonlinearity.

Cho and Saul, *Kernel methods for deep learning*, NeurIPS 2009 (relu); Williams, *Computing with
infinite networks*, NeurIPS 1997 (erf); Tsuchida et al., *Avoiding kernel fixed points*, ICML 2021
(gelu).
"""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

from tutelage.exceptions import StudentError, nearest

Duals = tuple[Tensor, Tensor]
"""``E[a(u) a(v)]`` and ``E[a'(u) a'(v)]``, shaped as the covariance they come from."""

Dual = Callable[[Tensor, Tensor, Tensor], Duals]
"""From covariance ``k`` (overwritten) and variances ``q1``, ``q2`` that broadcast to it."""


def _arc_cosine(k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
    scale1, scale2 = q1.sqrt(), q2.sqrt()
    tiny = torch.finfo(k.dtype).tiny
    # Rounding leaves the cosine of parallel inputs a few ulps short of 1, which the arc sine would turn into an angle of
    # 1e-8: the factor `snap` lifts it over 1, for the clamp to cut. A zero input has scale 0, and so cosine and value 0.
    snap = 1 + 8 * torch.finfo(k.dtype).eps
    cosine = k.mul_(snap / scale1.clamp_min(tiny)).mul_(1 / scale2.clamp_min(tiny)).clamp_(-1, 1)
    turn = torch.asin(cosine).add_(pi / 2)  # pi minus the angle between the inputs
    sine = torch.addcmul(torch.ones((), dtype=k.dtype, device=k.device), cosine, cosine, value=-1).sqrt_()
    value = cosine.mul_(turn).add_(sine).mul_(scale1 / (2 * pi)).mul_(scale2)
    return value, turn.mul_(1 / (2 * pi))


def _erf(k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
    root1, root2 = (1 + 2 * q1).rsqrt(), (1 + 2 * q2).rsqrt()
    sine = k.mul_(2 * root1).mul_(root2).clamp_(-1, 1)
    cosine = torch.addcmul(torch.ones((), dtype=k.dtype, device=k.device), sine, sine, value=-1).rsqrt_()
    derivative = cosine.mul_((4 / pi) * root1).mul_(root2)
    return sine.asin_().mul_(2 / pi), derivative


def _gelu(k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
    product = q1 * q2
    product_plus = (1 + q1) * (1 + q2)
    gap = (product_plus - k * k).clamp_min_(torch.finfo(k.dtype).tiny)
    root = gap.sqrt()
    angle = torch.atan2(k, root)
    value = (k * k + product * gap) / (product_plus * root) + k * angle
    derivative = (1 / gap + (1 - product) / product_plus + 1).mul_(k).div_(root).add_(angle)
    return value.div_(2 * pi).add_(k, alpha=0.25), derivative.div_(2 * pi).add_(0.25)


def _identity(k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
    return k, torch.ones_like(k)


ACTIVATIONS: dict[str, Dual] = {"relu": _arc_cosine, "erf": _erf, "gelu": _gelu, "identity": _identity}


def activation(name: str) -> Dual:
    """Look an activation up by its name.

    Parameters
    ----------
    name : str
        One of ``relu``, ``erf``, ``gelu`` (the exact one, with the error function), ``identity``.

    Returns
    -------
    callable
        ``dual(k, q1, q2) -> (E[a(u) a(v)], E[a'(u) a'(v)])``; it may overwrite ``k``.

    Raises
    ------
    StudentError
        If the name is not known.

    Examples
    --------
    >>> import torch
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> value, derivative = activation("relu")(one.clone(), one, one)
    >>> value.item(), derivative.item()
    (0.5, 0.5)
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise StudentError(f"The activation {name!r} is not known; choose one of {known}{nearest(name, ACTIVATIONS)}.")
    return ACTIVATIONS[name]
