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
    """Anything the person using tutelage can mend.

    Examples
    --------
    >>> import tutelage as tu
    >>> try:
    ...     tu.Task.load("no-such-task.npz")
    ... except tu.TutelageError as error:
    ...     type(error).__name__
    'TaskError'
    """


class TaskError(TutelageError, ValueError):
    """The task's arrays, or the file they come from, cannot be used.

    Examples
    --------
    >>> import tutelage as tu
    >>> tu.Task([[0.0], [1.0]], teacher_logits_train=[1.0])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tutelage.exceptions.TaskError: teacher_logits_train has shape (1,); expected (2,) or ...
    """


class SettingError(TutelageError, ValueError):
    """A soft ratio, temperature, size or label lies outside what the theory covers.

    Examples
    --------
    >>> from tutelage.lab import Training
    >>> Training(optimiser="adam")
    Traceback (most recent call last):
        ...
    tutelage.exceptions.SettingError: The optimiser is 'adam'; expected one of sgd, adamw.
    """


class StudentError(TutelageError, ValueError):
    """The student is unknown, malformed, or cannot take these inputs.

    Examples
    --------
    >>> from tutelage.students import student
    >>> student("mlp:depth=deep")
    Traceback (most recent call last):
        ...
    tutelage.exceptions.StudentError: The student's depth is 'deep'; expected a whole number.
    """


class NumericsError(TutelageError, ArithmeticError):
    """A matrix cannot be factored, or a sample does not converge.

    Examples
    --------
    >>> import torch
    >>> from tutelage.kernels import empirical
    >>> x = torch.tensor([[1.0], [torch.inf]])
    >>> empirical(torch.nn.Linear(1, 1))(x)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tutelage.exceptions.NumericsError: The network's logits are not all finite numbers. ...
    """


class MissingExtraError(TutelageError, ImportError):
    """What was asked for needs an extra that is not installed.

    Examples
    --------
    >>> from unittest import mock
    >>> from tutelage import datasets
    >>> with mock.patch.dict("sys.modules", pooch=None):  # doctest: +ELLIPSIS
    ...     datasets.cifar10()  # as where pooch is not installed
    Traceback (most recent call last):
        ...
    tutelage.exceptions.MissingExtraError: Downloading CIFAR-10 needs pooch, which is ...
    """


class OutputError(TutelageError, OSError):
    """A result cannot be written where it should go.

    Examples
    --------
    >>> import tempfile, tutelage as tu, xarray as xr
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
    ...     tu.save_curves(xr.Dataset(), folder)
    Traceback (most recent call last):
        ...
    tutelage.exceptions.OutputError: ... cannot be written: a folder of that name stands there. ...
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, as a clause to append to a message.

    Examples
    --------
    >>> nearest("ylabels_train", ["y_train", "x_train"])
    ' (did you mean y_train?)'
    >>> nearest("banana", ["y_train"])
    ''
    """
    names = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), list(names), n=1)
    return f" (did you mean {names[close[0]]}?)" if close else ""
