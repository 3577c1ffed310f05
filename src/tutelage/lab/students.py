"""Students by SPEC: closed forms, small networks of torch, or the user's own."""

import importlib
import math
import sys
from pathlib import Path
from typing import Any

from tutelage import kernels
from tutelage.exceptions import StudentError, nearest
from tutelage.kernels import FiniteStudent, Kernel
from tutelage.lab import networks
from tutelage.lab.networks import Factory
from tutelage.lab.training import Training
from tutelage.lab.warm import EPOCHS, TorchStudent
from tutelage.lab.wide import wide

FAMILIES = ("mlp", "resmlp", "cnn", "resnet")
_WIDTH, _CHANNELS = 512, 64  # that stand for infinity where a real student is trained


def student(
    spec: str, *, linearise: str = "warm", training: Training | None = None, epochs: float = EPOCHS
) -> Kernel | FiniteStudent:
    """Read a SPEC: ``mlp:depth=3``, ``cnn:depth=2``, ``mlp:width=512,depth=3``, ``cnn:width=32`` or
    ``package.module:factory``.

    Parameters
    ----------
    spec : str
        Without a width, or with ``width=inf``, the closed form of infinite width. A factory is
        called as ``factory(input_shape, n_outputs)`` and returns a `torch.nn.Module`; its module is
        looked for in the current folder, too.
    linearise : {"warm", "init"}
        Where a network of finite width is linearised.
    training : Training, optional
        Of the warm start.
    epochs : float
        How long a network itself will be trained, see `TorchStudent`.

    Returns
    -------
    Kernel or FiniteStudent

    Raises
    ------
    StudentError
        If it is unknown, or cannot be read.
    """
    family, _, tail = spec.partition(":")
    named = family not in FAMILIES and tail.isidentifier()
    factory = _own(spec, family, tail) if named else _small(family, tail)
    if factory is None and family not in FAMILIES:
        raise StudentError(
            f"The student {family!r} is not known; choose one of {', '.join(FAMILIES)} or"
            f" package.module:factory{nearest(family, FAMILIES)}."
        )
    if factory is None:
        return kernels.student(spec)
    return TorchStudent(
        factory, _in_full(spec, linearise, epochs), linearise, training or Training(), epochs
    )


def network_of(
    spec: str, *, training: Training | None = None, epochs: float | None = None
) -> TorchStudent:
    """Give a network that can be trained for a student as a plan spells it.

    Parameters
    ----------
    spec : str
        The plan's `student`. An infinitely wide one is trained at a width of 512, or of 64
        channels.
    training : Training, optional
        Batch size and learning rate.
    epochs : float, optional
        By default those that the plan was made for.

    Returns
    -------
    TorchStudent

    Raises
    ------
    StudentError
        If it cannot be trained.
    """
    plain, _, how = spec.replace(";linearise", ",linearise").partition(",linearise=")
    planned = float(how.partition("epochs=")[2] or EPOCHS)
    long = planned if epochs is None else epochs
    long = long if math.isfinite(long) else EPOCHS
    found = student(plain, training=training, epochs=long)
    if isinstance(found, TorchStudent):
        return found
    assert isinstance(found, kernels.Sequential)
    given = dict(item.partition("=")[::2] for item in found.spec.partition(":")[2].split(","))
    if found.spec.startswith("mlp:") and given["activation"] in networks.ACTIVATIONS:
        standard = f"mlp:width={_WIDTH},depth={given['depth']},activation={given['activation']}"
        return network_of(standard, training=training, epochs=long)
    width = _CHANNELS if any(isinstance(layer, kernels.Conv) for layer in found.layers) else _WIDTH
    name = found.spec.replace("width=inf", f"width={width}")
    return TorchStudent(
        wide(found, width), _in_full(name, "warm", long), "warm", training or Training(), long
    )


def _small(family: str, tail: str) -> Factory | None:
    """A network of finite width by name, or None for what the closed forms should read."""
    arguments = dict(item.partition("=")[::2] for item in tail.split(",")) if tail else {}
    if family in FAMILIES and not math.isfinite(_number(arguments.get("width", "inf"))):
        return None
    if family == "mlp":
        return networks.mlp(
            **_whole(arguments, ("width", "depth"), ("activation", "parametrisation"), "mlp")
        )
    if family == "cnn":
        return networks.cnn(**_whole(arguments, ("width",), (), "cnn"))
    if family == "resnet":
        return networks.resnet(**_whole(arguments, ("width", "blocks"), (), "resnet"))
    if family == "resmlp":
        raise StudentError(
            f"A resmlp is known in infinite width only; width={arguments['width']} was given. Leave"
            " the width out, or give a network of your own as package.module:factory."
        )
    return None


def _whole(
    arguments: dict[str, str], numbers: tuple[str, ...], texts: tuple[str, ...], family: str
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in arguments.items():
        if name not in numbers + texts:
            raise StudentError(
                f"A {family} of finite width takes no {name!r}; it takes"
                f" {', '.join(numbers + texts)}."
            )
        if name in numbers and not text.isdecimal():
            raise StudentError(f"The student's {name} is {text!r}; expected a whole number.")
        found[name] = int(text) if name in numbers else text
    return found


def _own(spec: str, module: str, name: str) -> Factory:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        raise StudentError(
            f"The student {spec!r} names the module {module!r}, which cannot be imported"
            f" ({type(error).__name__}: {error}). Expected package.module:factory, found in the"
            f" current folder or installed; or one of {', '.join(FAMILIES)}."
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise StudentError(
            f"The module {module!r} has no function {name!r}; expected package.module:factory."
        )
    factory: Factory = found
    return factory


def _in_full(spec: str, linearise: str, epochs: float) -> str:
    return f"{spec}{',' if '=' in spec else ';'}linearise={linearise},epochs={epochs:g}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf  # for the closed form's reader to complain of
