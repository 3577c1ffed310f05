"""Students named in a line: `mlp`, `mlp:depth=3,activation=relu`."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from tutelage.exceptions import StudentError, nearest
from tutelage.kernels.base import Kernel
from tutelage.kernels.families import cnn, mlp, resmlp, resnet

_FAMILIES: dict[str, Callable[..., Kernel]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "resmlp": resmlp,
}


def student(spec: str) -> Kernel:
    """Read a SPEC such as ``mlp:depth=3,activation=relu,weight_var=2,bias_var=0.1``.

    Parameters
    ----------
    spec : str
        ``family`` or ``family:name=value,...``; the names are the keyword arguments of the family's
        function in `tutelage.kernels`. ``width=inf`` may be said; it is the default.

    Returns
    -------
    Kernel

    Raises
    ------
    StudentError
        If the family or an argument is unknown, or the SPEC cannot be read.

    Examples
    --------
    >>> student("mlp:depth=2").spec
    'mlp:depth=2,activation=relu,weight_var=2,bias_var=0.1,width=inf'
    """
    family, _, tail = spec.partition(":")
    if family not in _FAMILIES:
        raise StudentError(
            f"The student {family!r} is not known; choose one of"
            f" {', '.join(_FAMILIES)}{nearest(family, _FAMILIES)}."
        )
    make = _FAMILIES[family]
    defaults = {
        name: parameter.default for name, parameter in inspect.signature(make).parameters.items()
    }
    arguments = {}
    for item in tail.split(",") if tail else []:
        name, equals, text = item.partition("=")
        if not equals or not text:
            raise StudentError(
                f"The student {spec!r} cannot be read at {item!r}; expected"
                f" {family}:name=value,name=value."
            )
        if name in arguments:
            raise StudentError(f"The student {spec!r} gives {name} twice; give it once.")
        if name == "width":
            _infinite(text)
        elif name in defaults:
            arguments[name] = _value(name, text, type(defaults[name]))
        else:
            known = [*defaults, "width"]
            raise StudentError(
                f"The student {family} takes no {name!r}{nearest(name, known)}; it takes"
                f" {', '.join(known)}."
            )
    return make(**arguments)


def _value(name: str, text: str, kind: type) -> Any:
    if kind is str:
        return text
    try:
        if "_" in text:
            raise ValueError
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise StudentError(f"The student's {name} is {text!r}; expected {what}.") from None


def _infinite(text: str) -> None:
    try:
        width = float(text)
    except ValueError:
        raise StudentError(
            f"The student's width is {text!r}; expected a whole number, or inf."
        ) from None
    if width != math.inf:
        raise StudentError(
            f"A closed form has infinite width; {text} was given. A network of finite width is read"
            " by tutelage.lab.student."
        )
