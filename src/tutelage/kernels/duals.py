"""The formulas of activations, compiled: each into a loop over numbers, of its own.

`compiled.py` calls these loops by their addresses, so that it is compiled and kept on disk without
them: a new activation compiles its own loop only, and one that is not used is never compiled. Numba
keeps a loop on disk until this file changes. So the loop's name holds a digest of the file that its
formula is written in: a formula that has changed is compiled anew.
"""

import hashlib
import inspect
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import FunctionType

import numpy as np
import torch
from numba import carray, cfunc, from_dtype, njit, types
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError, TypingError
from numba.extending import overload

from tutelage.exceptions import StudentError
from tutelage.kernels.activations import Activation, Duals, complement, eps, tiny

# Reordering sums and fusing products is allowed; NaN stays NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}
# Division by zero gives infinity, as in numpy: the check for it would keep loops from being
# vectorised.
_OPTIONS = {"fastmath": _FAST, "error_model": "numpy"}
compiled = njit(nogil=True, cache=True, **_OPTIONS)

_OF_MATH = (
    "acos", "atan", "atan2", "cos", "cosh", "erf", "erfc", "exp", "expm1", "log", "log1p", "sin",
    "sinh", "sqrt", "tan", "tanh",
)  # fmt: skip


def _rebuilt(of: Callable, name: str, real: types.Float | None = None, **names) -> Callable:
    """Give a function by another name, with other globals, and with its literal floats in a
    precision: numba would compute with float64 wherever a float32 meets 2.0.
    """
    code = of.__code__
    if real == types.float32:
        literals = (np.float32(c) if isinstance(c, float) else c for c in code.co_consts)
        code = code.replace(co_consts=tuple(literals))
    found = FunctionType(code, of.__globals__ | names, name, of.__defaults__, of.__closure__)
    found.__qualname__ = name
    return found


def _teach(function: Callable, meaning: Callable) -> None:
    """Let formulas call a function of torch, which for a number means another one."""

    @overload(function, strict=False, jit_options=_OPTIONS)
    def known(x, *_):
        return _rebuilt(meaning, meaning.__qualname__, x)


def _math(x):  # `function`, and `value` and `formula` below, are put in by `_rebuilt`
    return function(x)


def _math2(x, y):
    return function(x, y)


def _rsqrt(x):
    return 1.0 / math.sqrt(x)


def _square(x):
    return x * x


def _abs(x):
    return abs(x)


def _clamp(x, low, high):
    return min(max(x, low), high)


def _larger(x, y):
    return max(x, y)


def _smaller(x, y):
    return min(x, y)


def _one(x):
    return 1.0


def _zero(x):
    return 0.0


def _complement(x):
    return 1.0 - x * x


def _asin(x):
    """fdlibm's, without its branches, so that it can be vectorised."""
    size = abs(x)
    z = min(size * size, (1.0 - size) * 0.5)  # the former up to a half
    s = math.sqrt(z)
    top = 7.91534994289814532176e-04 + z * 3.47933107596021167570e-05
    top = 2.01212532134862925881e-01 + z * (-4.00555345006794114027e-02 + z * top)
    top = z * (1.66666666666666657415e-01 + z * (-3.25565818622400915405e-01 + z * top))
    below = -6.88283971605453293030e-01 + z * 7.70381505559019352791e-02
    below = 1.0 + z * (-2.40339491173441421878e00 + z * (2.02094576023350569471e00 + z * below))
    s += s * (top / below)
    found = s if size < 0.5 else 1.5707963267948966 - 2.0 * s
    return found if x >= 0.0 else -found


def _asin_single(x):
    """The same in float32, which fewer terms are enough for."""
    size = abs(x)
    z = min(size * size, (1.0 - size) * 0.5)
    s = math.sqrt(z)
    top = z * (1.6666586697e-01 + z * (-4.2743422091e-02 + z * -8.6563630030e-03))
    s += s * (top / (1.0 + z * -7.0662963390e-01))
    found = s if size < 0.5 else 1.5707963267948966 - 2.0 * s
    return found if x >= 0.0 else -found


@overload(torch.asin, jit_options=_OPTIONS)
@overload(torch.asin_, jit_options=_OPTIONS)
def _asin_of(x):
    meaning = _asin_single if x == types.float32 else _asin
    return _rebuilt(meaning, meaning.__name__, x)


def _limit(x):
    return value


@overload(eps, jit_options=_OPTIONS)
def _eps(x):
    return _rebuilt(_limit, "_eps", value=np.finfo(str(x)).eps)


@overload(tiny, jit_options=_OPTIONS)
def _tiny(x):
    return _rebuilt(_limit, "_tiny", value=np.finfo(str(x)).tiny)


MEANINGS = {
    "abs": _abs,
    "clamp": _clamp,
    "clamp_max": _smaller,
    "clamp_min": _larger,
    "maximum": _larger,
    "minimum": _smaller,
    "ones_like": _one,
    "rsqrt": _rsqrt,
    "square": _square,
    "zeros_like": _zero,
}
for _name in _OF_MATH:
    _template = _math2 if _name == "atan2" else _math
    MEANINGS[_name] = _rebuilt(_template, f"_{_name}", function=getattr(math, _name))
for _name, _meaning in MEANINGS.items():
    for _function in (_name, f"{_name}_"):  # the latter is in place
        if hasattr(torch, _function):
            _teach(getattr(torch, _function), _meaning)
_teach(complement, _complement)


def _pair(found, k):
    """Give what a formula gave."""
    raise NotImplementedError


@overload(_pair, jit_options=_OPTIONS)
def _pair_of(found, k):
    if found != types.UniTuple(k, 2):
        raise TypingError(f"A formula gave {found} for numbers of {k}.")
    return lambda found, k: found


def _of_one(first, second, k, t, one, two, n, stride, degree):
    """Overwrite covariances k with E[φφ] and tangents t with t · E[φ'φ'], given a feature of both
    sides.
    """
    k, t, one, two = carray(k, n), carray(t, n), carray(one, n), carray(two, n)
    first, second = k.dtype.type(first), k.dtype.type(second)
    for e in range(n):
        k[e], slope = _pair(formula(k[e], one[e], two[e], first, second), k[e])
        t[e] *= slope


def _of_several(first, second, k, t, one, two, n, stride, degree):
    """Do the same, given columns of features."""
    k, t = carray(k, n), carray(t, n)
    one, two = carray(one, (degree, stride)), carray(two, (degree, stride))
    first, second = k.dtype.type(first), k.dtype.type(second)
    for e in range(n):
        found = formula(k[e], one[:, e], two[:, e], first, second)
        k[e], slope = _pair(found, k[e])
        t[e] *= slope


def loop(activation: Activation, dtype: np.dtype) -> CFunc:
    """Give the loop of an activation's formula, compiled if it has not been.

    Raises
    ------
    StudentError
        If the activation has no formula, or one that cannot be compiled.
    """
    kind = type(activation)
    try:
        return _loop(inspect.unwrap(kind.written()), kind.several, dtype)
    except NumbaError as error:
        raise StudentError(
            f"The formula of the activation {kind.__name__} cannot be compiled, as images need it"
            " to be. Write it with arithmetic, numbers that are floats, and these functions of"
            f" torch: {', '.join(sorted(('asin', *MEANINGS)))}."
        ) from error


@lru_cache
def _loop(formula: Callable[..., Duals], several: bool, dtype: np.dtype) -> CFunc:
    name, kept = _taught(formula)
    template, numbers = _of_several if several else _of_one, types.CPointer(from_dtype(dtype))
    given = (types.float64,) * 2 + (numbers,) * 4 + (types.intp,) * 3
    return cfunc(types.void(*given), cache=kept, **_OPTIONS)(
        _rebuilt(template, f"{template.__name__}_{name}", formula=formula)
    )


@lru_cache
def _taught(formula: Callable[..., Duals]) -> tuple[str, bool]:
    """Make a formula known to numba, once for all dtypes; give its name, and whether its loops can
    be kept on disk.
    """
    file = Path(formula.__code__.co_filename)
    text = file.read_bytes() if file.is_file() else None
    name = f"{formula.__qualname__}_{hashlib.sha256(text or b'').hexdigest()[:16]}"
    _teach(formula, _rebuilt(formula, name))
    return name, text is not None
