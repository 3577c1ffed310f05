"""What can go wrong, as one tree.

    TutelageError                  anything the person using tutelage can mend
    ├── TaskError                  the task's arrays or its file
    ├── SettingError               soft ratios, temperatures, sizes, labels given to the theory
    ├── StudentError               the student: its SPEC, its activation, the inputs it can take
    ├── NumericsError              a matrix that cannot be factored, a sample that does not converge
    ├── MissingExtraError          an optional part of tutelage that is not installed
    └── OutputError                a place that cannot be written

Every message says what came, what was expected and what to do. Anything else that escapes is a
defect of tutelage.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TutelageError(Exception):
    """Anything the person using tutelage can mend."""


class TaskError(TutelageError, ValueError):
    """The task's arrays, or the file they come from, cannot be used."""


class SettingError(TutelageError, ValueError):
    """A soft ratio, temperature, size or label lies outside what the theory covers."""


class StudentError(TutelageError, ValueError):
    """The student is unknown, malformed, or cannot take these inputs."""


class NumericsError(TutelageError, ArithmeticError):
    """A matrix cannot be factored, or a sample does not converge."""


class MissingExtraError(TutelageError, ImportError):
    """What was asked for needs an extra that is not installed."""


class OutputError(TutelageError, OSError):
    """A result cannot be written where it should go."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, as a clause to append to a message.

    Examples
    --------
    >>> nearest("ylabels_train", ["y_train", "x_train"])
    ' (did you mean y_train?)'
    >>> nearest("banana", ["y_train"])
    ''
    """
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
