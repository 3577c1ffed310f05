"""What only the lab needs, imported when it is used."""

from typing import Any

from tutelage.exceptions import MissingExtraError


def lightning() -> Any:
    """Lightning, or the sentence that says how to install it.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import lightning as found
    except ImportError as error:
        raise MissingExtraError(
            "Training a student needs Lightning, which is not installed: pip install"
            " 'tutelage[lab]' -c constraints.txt"
        ) from error
    return found
