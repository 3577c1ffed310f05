"""Students by SPEC, and as the data that a plan stores: one grammar, read and written here.

A SPEC is ``family``, ``family:name=value,name=value``, ``package.module:factory`` or ``hf:FOLDER``.
As data, a
student is a dict of plain values: a closed form its layers, a network the function that makes it
and its arguments.
"""

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from tutelage import kernels
from tutelage.exceptions import StudentError, nearest
from tutelage.kernels import Kernel, Residual, Sequential
from tutelage.lazy import named
from tutelage.students._wide import wide
from tutelage.students.network import EPOCHS, TorchStudent
from tutelage.students.start import ClosedForm, Student
from tutelage.train import networks
from tutelage.train._hub import pretrained
from tutelage.train.networks import Factory
from tutelage.train.training import Training

FAMILIES: dict[str, Callable[..., Sequential]] = {
    "mlp": kernels.mlp,
    "resmlp": kernels.resmlp,
    "cnn": kernels.cnn,
    "resnet": kernels.resnet,
}
NETWORKS: dict[str, Callable[..., Factory]] = {
    "mlp": networks.mlp,
    "cnn": networks.cnn,
    "resnet": networks.resnet,
}
_WIDTH, _CHANNELS = 512, 64  # that stand for infinity where a real student is trained

Data = dict[str, Any]


def student(
    spec: str, *, linearise: str = "warm", training: Training | None = None, epochs: float = EPOCHS
) -> Sequential | TorchStudent:
    """Read a SPEC, such as ``mlp:depth=3``, ``mlp:width=512,depth=3`` or ``my_model:factory``.

    Parameters
    ----------
    spec : str
        A family with the keyword arguments of its function in `tutelage.kernels`; or, with a finite
        ``width``, those of a small network. Without a width, or with ``width=inf``, the student is
        the closed form of infinite width. A factory of your own is named as
        ``package.module:factory``; it is called as ``factory(input_shape, n_outputs)``, or with
        those of input_shape, n_outputs and batch (a few inputs) that its parameters name, and
        returns a `torch.nn.Module`. Its module is looked for in the current folder, too.
        ``hf:FOLDER`` is a classifier of transformers that `save_pretrained` wrote, with its weights
        as safetensors or, without weights, from random ones; its head is sized to the task.
    linearise : {"warm", "init"}
        Where a network of finite width is linearised.
    training : Training, optional
        Of the warm start.
    epochs : float
        How long a network itself will be trained, see `TorchStudent`.

    Returns
    -------
    Sequential or TorchStudent

    Raises
    ------
    StudentError
        If it is unknown, or cannot be read.

    Examples
    --------
    >>> student("mlp:depth=2").spec
    'mlp:depth=2,activation=relu,weight_var=2,bias_var=0.1,width=inf'
    >>> student("mlp:width=64").spec
    'mlp:width=64,depth=3,activation=relu,parametrisation=standard,linearise=warm,epochs=60'
    """
    return _made(_read(spec), linearise, training or Training(), epochs)


def specs(text: str) -> list[str]:
    """Read several SPECs between commas: what is ``name=value`` belongs to the one before.

    Examples
    --------
    >>> specs("mlp:width=64,depth=1,cnn:width=16,my_model:factory")
    ['mlp:width=64,depth=1', 'cnn:width=16', 'my_model:factory']
    """
    found: list[str] = []
    for part in (piece.strip() for piece in text.split(",")):
        name = part.split("=")[0]
        if found and "=" in part and ":" not in name:
            found[-1] += f",{part}"
        elif part:
            found.append(part)
    return found


def as_student(
    known: Any,
    *,
    linearise: str = "warm",
    training: Training | None = None,
    epochs: float = EPOCHS,
) -> Student:
    """Give anything that names or makes a student as one.

    Parameters
    ----------
    known : str, Kernel, Student, torch.nn.Module or callable
        A SPEC, see `student`; a kernel, see `tutelage.kernels`; a network, of which every start
        trains a copy from the weights that it has; or a factory of networks,
        ``factory(input_shape, n_outputs) -> torch.nn.Module``.
    linearise, training, epochs
        As for `student`; for students that are ready they do not count.

    Raises
    ------
    StudentError
        If it is nothing of these.

    Examples
    --------
    >>> as_student(kernels.mlp(depth=1)).spec
    'mlp:depth=1,activation=relu,weight_var=2,bias_var=0.1,width=inf'
    >>> as_student(nn.Linear(3, 2)).spec
    'Linear'
    """
    if isinstance(known, str):
        known = student(known, linearise=linearise, training=training, epochs=epochs)
    if isinstance(known, type):
        raise StudentError(
            f"The student is the class {known.__name__}; expected a kernel, such as"
            " tutelage.kernels.mlp(), a network, or a SPEC, such as mlp:width=512."
        )
    if isinstance(known, Student):
        return known
    how = linearise, training or Training(), epochs
    if isinstance(known, nn.Module):
        return TorchStudent(lambda input_shape, n_outputs: known, type(known).__name__, *how)
    if isinstance(known, Kernel):
        return ClosedForm(known)
    if callable(known):
        name = getattr(known, "__name__", type(known).__name__)
        return TorchStudent(known, name, *how, made_by=_found_at(known))
    raise StudentError(
        f"The student is {type(known).__name__}; expected a kernel, such as"
        " tutelage.kernels.mlp(), a network, or a SPEC, such as mlp:width=512."
    )


def _found_at(factory: Callable[..., Any]) -> Data | None:
    """Where a function of a module can be found again; one of a script or a notebook cannot."""
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", "")
    known = getattr(sys.modules.get(str(module)), name, None)
    return {"factory": f"{module}:{name}"} if known is factory and module != "__main__" else None


def to_dict(known: Kernel | Student) -> Data:
    """Give a student as data, to be stored and read back by `from_dict`.

    Parameters
    ----------
    known : Kernel or Student

    Returns
    -------
    dict
        Of a student that no data can tell of, such as a function of the user's own: its name only.

    Examples
    --------
    >>> to_dict(student("mlp:depth=0"))["layers"]
    [{'Flatten': {}}, {'Dense': {'weight_var': 2.0, 'bias_var': 0.1}}]
    """
    if isinstance(known, ClosedForm):
        known = known.kernel
    if isinstance(known, TorchStudent):
        how = {"linearise": known.linearise}
        return {"name": known.spec} | how if known.made_by is None else dict(known.made_by) | how
    if isinstance(known, Sequential):
        layers = [_layer_to_dict(layer) for layer in known.layers]
        if all(layer is not None for layer in layers):
            return ({} if known.name is None else {"name": known.name}) | {"layers": layers}
    return {"name": str(getattr(known, "spec", type(known).__name__))}


def from_dict(
    data: Mapping[str, Any], *, training: Training | None = None, epochs: float = EPOCHS
) -> Sequential | TorchStudent:
    """Make a student from its data.

    Parameters
    ----------
    data : mapping
        From `to_dict`.
    training, epochs
        As for `student`.

    Raises
    ------
    StudentError
        If the data does not say how it is made.

    Examples
    --------
    >>> known = student("mlp:depth=2")
    >>> from_dict(to_dict(known)) == known
    True
    >>> from_dict({"family": "mlp", "width": 64, "depth": 1}, epochs=5).epochs
    5
    """
    if "layers" in data:
        return Sequential(*map(_layer_from_dict, data["layers"]), spec=data.get("name"))
    if not {"family", "factory", "folder"} & set(data):
        raise StudentError(
            f"The student {data.get('name')!r} was made in Python, and the plan cannot say how."
            " Give a student that can be trained (--student SPEC)."
        )
    made = {name: value for name, value in data.items() if name != "linearise"}
    return _made(made, data.get("linearise", "warm"), training or Training(), epochs)


def network_of(
    known: str | Mapping[str, Any] | Kernel | TorchStudent,
    *,
    training: Training | None = None,
    epochs: float | None = None,
) -> TorchStudent:
    """Give a network that can be trained for a student.

    Parameters
    ----------
    known : str, mapping, Kernel or TorchStudent
        A SPEC, the data of a student, or a student. An infinitely wide one is trained at a width of
        512, or of 64 channels.
    training : Training, optional
        Batch size and learning rate.
    epochs : float, optional
        By default 60.

    Returns
    -------
    TorchStudent

    Raises
    ------
    StudentError
        If it cannot be trained.

    Examples
    --------
    >>> network_of("mlp:depth=2").spec
    'mlp:width=512,depth=2,activation=relu,parametrisation=standard,linearise=warm,epochs=60'
    """
    long = EPOCHS if epochs is None or math.isinf(epochs) else epochs
    given = training or Training()
    if isinstance(known, str):
        known = student(known, training=given, epochs=long)
    elif isinstance(known, Mapping):
        known = from_dict(known, training=given, epochs=long)
    if isinstance(known, TorchStudent):
        return known
    if not isinstance(known, Sequential):
        raise StudentError(
            f"The student {getattr(known, 'spec', known)} is a kernel, and cannot be trained. Give"
            " a network (--student SPEC)."
        )
    standard = _as_mlp(known)
    if standard is not None:
        return student(standard, training=given, epochs=long)  # type: ignore[return-value]
    convolves = any(isinstance(layer, kernels.Conv) for layer in known.layers)
    width = _CHANNELS if convolves else _WIDTH
    name = known.spec.replace("width=inf", f"width={width}")
    return TorchStudent(wide(known, width), _labelled(name, "warm", long), "warm", given, long)


def _read(spec: str) -> Data:
    """Give what a SPEC says as data, all arguments of its family in full."""
    family, _, tail = spec.partition(":")
    if family == "hf" and tail:
        return {"folder": str(Path(tail).absolute())}
    if family not in FAMILIES:
        if tail.isidentifier():
            return {"factory": spec}
        raise StudentError(
            f"The student {family!r} is not known; choose one of {', '.join(FAMILIES)},"
            f" hf:FOLDER or package.module:factory{nearest(family, FAMILIES)}."
        )
    given: dict[str, str] = {}
    for item in tail.split(",") if tail else []:
        name, equals, text = item.partition("=")
        if not equals or not text:
            raise StudentError(
                f"The student {spec!r} cannot be read at {item!r}; expected"
                f" {family}:name=value,name=value."
            )
        if name in given:
            raise StudentError(f"The student {spec!r} gives {name} twice; give it once.")
        given[name] = text
    width = given.pop("width", "inf")
    if _is_infinite(width):
        return {"family": family} | _arguments(family, FAMILIES[family], given, "width")
    if family not in NETWORKS:
        raise StudentError(
            f"A {family} is known in infinite width only; width={width} was given. Leave the width"
            " out, or give a network of your own as package.module:factory."
        )
    return {"family": family} | _arguments(family, NETWORKS[family], {"width": width} | given)


def _is_infinite(width: str) -> bool:
    try:
        return math.isinf(float(width))
    except ValueError:
        raise StudentError(
            f"The student's width is {width!r}; expected a whole number, or inf."
        ) from None


def _arguments(
    family: str, make: Callable[..., Any], given: Mapping[str, str], *others: str
) -> Data:
    """Read the keyword arguments of a function, those that are not given by default."""
    parameters = inspect.signature(make).parameters
    known = [*parameters, *others]
    for name in given:
        if name not in parameters:
            finite = " of finite width" if "width" in parameters else ""
            raise StudentError(
                f"The student {family}{finite} takes no {name!r}{nearest(name, known)}; it takes"
                f" {', '.join(known)}."
            )
    return {
        name: (
            _value(name, given[name], parameter.annotation) if name in given else parameter.default
        )
        for name, parameter in parameters.items()
    }


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


def _made(
    data: Mapping[str, Any], linearise: str, training: Training, epochs: float
) -> Sequential | TorchStudent:
    if "factory" in data:
        spec = str(data["factory"])
        factory, label = _own(spec), f"{spec};linearise={linearise},epochs={epochs:g}"
        return TorchStudent(factory, label, linearise, training, epochs, made_by=data)
    if "folder" in data:
        folder = str(data["folder"])
        label = f"hf:{folder};linearise={linearise},epochs={epochs:g}"
        return TorchStudent(pretrained(folder), label, linearise, training, epochs, made_by=data)
    family = data["family"]
    arguments = {name: value for name, value in data.items() if name != "family"}
    if "width" not in data:
        return FAMILIES[family](**arguments)
    said = ",".join(f"{name}={value}" for name, value in arguments.items())
    label = _labelled(f"{family}:{said}", linearise, epochs)
    factory = NETWORKS[family](**arguments)
    return TorchStudent(factory, label, linearise, training, epochs, made_by=data)


def _labelled(spec: str, linearise: str, epochs: float) -> str:
    return f"{spec},linearise={linearise},epochs={epochs:g}"


def _own(spec: str) -> Factory:
    factory: Factory = named(
        spec,
        f"The student {spec!r}",
        "package.module:factory, found in the current folder or installed; or one of"
        f" {', '.join(FAMILIES)}",
        StudentError,
    )
    return factory


def _as_mlp(known: Sequential) -> str | None:
    """A fully-connected closed form as the SPEC of the network that people train in its place."""
    inner = [layer for layer in known.layers if not isinstance(layer, kernels.Flatten)]
    weights, between = inner[::2], inner[1::2]
    plain = all(isinstance(layer, kernels.Dense) for layer in weights)
    names = {_ACTIVATIONS.get(type(layer)) for layer in between}
    if not plain or len(weights) != len(between) + 1 or len(names) != 1 or None in names:
        return None
    return f"mlp:width={_WIDTH},depth={len(between)},activation={names.pop()}"


_ACTIVATIONS: dict[type, str] = {kernels.Relu: "relu", kernels.Gelu: "gelu"}  # that networks have
_LAYERS = {
    made.__name__: made for made in vars(kernels).values() if inspect.isclass(made)
}  # those of `Layer`, by name


def _layer_to_dict(layer: Any) -> Data | None:
    """A layer by its class and what it is made with, or None where that holds a function."""
    if isinstance(layer, Residual):
        parts = {
            name: [_layer_to_dict(inner) for inner in getattr(layer, name)]
            for name in ("branch", "shortcut")
        }
        return None if None in parts["branch"] + parts["shortcut"] else {"Residual": parts}
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    if any(callable(value) for value in values.values()) or type(layer).__name__ not in _LAYERS:
        return None
    return {type(layer).__name__: values}


def _layer_from_dict(data: Mapping[str, Any]) -> Any:
    [(name, values)] = data.items()
    if name == "Residual":
        branch, shortcut = (
            tuple(map(_layer_from_dict, values[part])) for part in ("branch", "shortcut")
        )
        return Residual(*branch, shortcut=shortcut)
    return _LAYERS[name](**values)
