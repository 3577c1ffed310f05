"""What only large pools need, imported when it is used."""

from typing import Any

from tutelage.exceptions import MissingExtraError


def dask_array() -> Any:
    """Dask's arrays, with their linear algebra, or the sentence that says how to install them.

    Raises
    ------
    MissingExtraError
        If they are not installed.
    """
    try:
        from dask import array as found
    except ImportError as error:
        raise MissingExtraError(
            "A pool of this size needs Dask, which is not installed: pip install 'tutelage[scale]'"
            " -c constraints.txt"
        ) from error
    return found
