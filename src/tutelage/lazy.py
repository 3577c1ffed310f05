"""Names of a package that load what they need when they are used."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from tutelage.exceptions import MissingExtraError


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
