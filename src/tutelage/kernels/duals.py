"""Duals of activations, compiled; `activations.py` has the same for torch, and says where they come
from.
"""

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from tutelage.kernels.codes import ARC, ERF, GAUSSIAN, GELU, LINEAR, RBF, SIN

# Reordering sums and fusing products is allowed; NaN stays NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}
# Division by zero gives infinity, as in numpy: the check for it would keep loops from being
# vectorised.
_OPTIONS = {"fastmath": _FAST, "error_model": "numpy"}
compiled = njit(nogil=True, cache=True, **_OPTIONS)


def _asin(x: float) -> float:
    """fdlibm's, without its branches, so that it can be vectorised."""
    raise NotImplementedError


@overload(_asin, jit_options=_OPTIONS)
def _asin_of(x):
    if x == types.float32:
        p0, p1, p2 = (
            np.float32(1.6666586697e-01),
            np.float32(-4.2743422091e-02),
            np.float32(-8.6563630030e-03),
        )
        q1, half, one, turn = (
            np.float32(-7.0662963390e-01),
            np.float32(0.5),
            np.float32(1),
            np.float32(np.pi / 2),
        )
        two = np.float32(2)

        def single(x):
            size = abs(x)
            z = min(size * size, (one - size) * half)  # the former up to a half
            s = math.sqrt(z)
            s += s * (z * (p0 + z * (p1 + z * p2)) / (one + z * q1))
            found = s if size < half else turn - two * s
            return found if x >= 0 else -found

        return single
    p0, p1, p2, p3, p4, p5 = (
        1.66666666666666657415e-01, -3.25565818622400915405e-01, 2.01212532134862925881e-01,
        -4.00555345006794114027e-02, 7.91534994289814532176e-04, 3.47933107596021167570e-05,
    )  # fmt: skip
    q1, q2, q3, q4 = (
        -2.40339491173441421878e00,
        2.02094576023350569471e00,
        -6.88283971605453293030e-01,
        7.70381505559019352791e-02,
    )
    turn = np.pi / 2

    def double(x):
        size = abs(x)
        z = min(size * size, (1.0 - size) * 0.5)
        s = math.sqrt(z)
        top = z * (p0 + z * (p1 + z * (p2 + z * (p3 + z * (p4 + z * p5)))))
        s += s * (top / (1.0 + z * (q1 + z * (q2 + z * (q3 + z * q4)))))
        found = s if size < 0.5 else turn - 2.0 * s
        return found if x >= 0 else -found

    return double


@compiled
def dual(kind, first, second, degree, eps, tiny, k, t, a, b, stride):
    """Overwrite covariances k with E[φφ] and tangents t with t · E[φ'φ'], given the features of
    both sides.
    """
    one, two, half = k.dtype.type(1), k.dtype.type(2), k.dtype.type(0.5)
    first, second, zero = k.dtype.type(first), k.dtype.type(second), k.dtype.type(0)
    n = len(k)
    if kind == LINEAR:
        for e in range(n):
            k[e] *= first
            t[e] *= first
    elif kind == ARC:  # first: 2B/π, second: πA/(2B)
        snap = one + k.dtype.type(8) * eps
        for e in range(n):
            scale = a[e] * b[e]
            cosine = min(max(k[e] * snap / max(scale, tiny), -one), one)
            turn = _asin(cosine) + second
            k[e] = first * scale * (cosine * turn + math.sqrt(one - cosine * cosine))
            t[e] *= first * turn
    elif kind == ERF:  # first: 2/π
        for e in range(n):
            root = two * a[e] * b[e]
            sine = min(max(k[e] * root, -one), one)
            k[e] = first * _asin(sine)
            t[e] *= first * root / math.sqrt(one - sine * sine)
    elif kind == GELU:  # first: 1/(2π)
        quarter = k.dtype.type(0.25)
        for e in range(n):
            c, product, plus = k[e], a[e] * b[e], (one + a[e]) * (one + b[e])
            gap = max(plus - c * c, tiny)
            root = math.sqrt(gap)
            angle = _asin(min(max(c / math.sqrt(plus), -one), one))
            k[e] = first * ((c * c + product * gap) / (plus * root) + c * angle) + quarter * c
            t[e] *= (
                first * (c * (one / gap + (one - product) / plus + one) / root + angle) + quarter
            )
    elif kind == SIN:
        for e in range(n):
            middle = (a[e] + b[e]) * half
            up, down = math.exp(k[e] - middle), math.exp(-k[e] - middle)
            k[e] = (up - down) * half
            t[e] *= (up + down) * half
    elif kind == GAUSSIAN:
        four = k.dtype.type(4)
        for e in range(n):
            spread = one / ((one + two * a[e]) * (one + two * b[e]) - four * k[e] * k[e])
            root = math.sqrt(spread)
            t[e] *= four * k[e] * spread * root
            k[e] = root
    elif kind == RBF:
        for e in range(n):
            k[e] = math.exp(two * k[e] - a[e] - b[e])
            t[e] *= two * k[e]
    # SERIES: the first feature is the scale, the others are Hermite coefficients from the highest
    # degree down
    else:
        for e in range(n):
            scale = a[e] * b[e]
            cosine = min(max(k[e] / max(scale, tiny), -one), one)
            value, slope = zero, zero
            for m in range(1, degree):
                slope = slope * cosine + value
                value = value * cosine + a[m * stride + e] * b[m * stride + e]
            k[e] = value
            t[e] *= slope / max(scale, tiny)
