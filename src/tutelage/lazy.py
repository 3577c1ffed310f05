"""Names of a package that load what they need when they are used."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from tutelage.exceptions import MissingExtraError, TutelageError


def loader(package: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """Give a package's `__getattr__`, see PEP 562.

    Parameters
    ----------
    package : str
    where : mapping
        From each name to the module that has it; to the empty string where it is a module itself.
    """

    def find(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not where[name]:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(where[name]), name)

    return find


def extra(module: str, what: str, of: str) -> Any:
    """Import what an extra brings, when it is used.

    Parameters
    ----------
    module : str
    what : str
        What needs what, the beginning of a sentence: ``A parquet file needs pyarrow``.
    of : str
        The extra.

    Raises
    ------
    MissingExtraError
        If it is not installed; it says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what}, which is not installed: pip install 'tutelage[{of}]' -c constraints.txt"
        ) from error


def named(spec: str, what: str, expected: str, kind: type[TutelageError]) -> Callable[..., Any]:
    """Import something that can be called, by ``package.module:name``; also from the current
    folder.

    Parameters
    ----------
    spec : str
    what : str
        What names it, the beginning of a sentence.
    expected : str
        The end of one.
    kind : type of TutelageError

    Raises
    ------
    TutelageError
        Of that kind, if it cannot be imported, or not be called.
    """
    module, _, name = spec.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        if module.endswith(".py"):
            raise kind(
                f"{what} names a file; expected its module, {Path(module).stem}:{name}, in the"
                " folder where the file is."
            ) from error
        raise kind(
            f"{what} names the module {module!r}, which cannot be imported"
            f" ({type(error).__name__}: {error}). Expected {expected}."
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise kind(f"The module {module!r} has no function {name!r}; expected {expected}.")
    return cast("Callable[..., Any]", found)
