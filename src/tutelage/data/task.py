"""One distillation problem: the checked arrays that everything else starts from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch

from tutelage.data import checks as check
from tutelage.data.checks import NOT_LABELLED, Arrays
from tutelage.data.columns import Given, arguments
from tutelage.data.files import ARRAYS, read_arrays, write_arrays
from tutelage.data.inputs import Inputs, Shape
from tutelage.data.part import Part, decide
from tutelage.data.preprocessing import Preprocessing
from tutelage.data.tables import is_table, tables_at, tables_of
from tutelage.exceptions import TaskError


class Taught:
    """What is known of samples beside their inputs, of a task in memory or of a stream.

    Attributes
    ----------
    teacher_logits_train : array of shape (N,) or (N, C), or (E, N) or (E, N, C)
    y_train : integer array of shape (N,), optional
    teacher_logits_test, y_test : arrays, optional
    teacher_epochs : integer array of shape (E,), optional
    source : str, optional
        Where it was read from.
    class_names : tuple of str, optional
        Of the classes, where labels were text.
    notes : tuple of str
        What was done when it was read.
    columns, classes
        With which it was read.
    """

    teacher_logits_train: np.ndarray
    y_train: np.ndarray | None
    teacher_logits_test: np.ndarray | None
    y_test: np.ndarray | None
    teacher_epochs: np.ndarray | None
    source: str | None
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]
    columns: Given | None
    classes: int | None

    @property
    def n_train(self) -> int:
        """Size N of the pool."""
        raise NotImplementedError

    @property
    def n_test(self) -> int:
        """Number of held-out samples, 0 without a test part."""
        raise NotImplementedError

    @property
    def input_shape(self) -> Shape:
        """Shape of one input; of named inputs one for each name."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """A hash by which curves know the task that they are of."""
        raise NotImplementedError

    def image(self, index: int) -> np.ndarray | None:
        """A pool input as it is stored, with its channels last; None for named inputs."""
        raise NotImplementedError

    def text(self, index: int) -> str | None:
        """What a pool sample says, where texts are known."""
        raise NotImplementedError

    @property
    def n_logits(self) -> int:
        """Outputs of the student: 1 for one binary logit, else C."""
        epoch_axes = 0 if self.teacher_epochs is None else 1
        return (
            1
            if self.teacher_logits_train.ndim - epoch_axes == 1
            else self.teacher_logits_train.shape[-1]
        )

    @property
    def n_classes(self) -> int:
        """Number of classes C, 2 for one binary logit."""
        return max(2, self.n_logits)

    @overload
    def teacher_logits(self, part: Literal["train"]) -> np.ndarray: ...
    @overload
    def teacher_logits(self, part: str) -> np.ndarray | None: ...
    def teacher_logits(self, part: str) -> np.ndarray | None:
        """The teacher's logits of a part with an epoch axis in any case: (E, n, C), C = 1 for one
        logit.
        """
        logits = self._of("teacher_logits", part)
        if logits is None:
            return None
        with_epochs = logits if self.teacher_epochs is not None else logits[None]
        return with_epochs[..., None] if self.n_logits == 1 else with_epochs

    @overload
    def teacher_decisions(self, part: Literal["train"]) -> np.ndarray: ...
    @overload
    def teacher_decisions(self, part: str) -> np.ndarray | None: ...
    def teacher_decisions(self, part: str) -> np.ndarray | None:
        """The class the teacher gives each sample of a part: (E, n)."""
        logits = self.teacher_logits(part)
        if logits is None:
            return None
        return decide(logits)

    @cached_property
    def fill(self) -> float | None:
        """The logit that stands for classes that the teacher has masked, if there is one."""
        return check.fill_value(self.teacher_logits("train"))

    def teacher_accuracy(self, part: str) -> np.ndarray | None:
        """The teacher's accuracy on a part at each epoch, or None without labels: (E,)."""
        decisions, truth = self.teacher_decisions(part), self._of("y", part)
        if decisions is None or truth is None:
            return None
        known = truth != NOT_LABELLED
        return np.asarray((decisions == truth)[..., known].mean(-1))

    def _of(self, key: str, part: str) -> Any:
        return getattr(self, f"{key}_{part}")


@dataclass(frozen=True, eq=False)
class Task(Taught):
    """The inputs, teacher logits and labels of one distillation problem.

    Parameters
    ----------
    x_train : array of shape (N, ...), or dict of such arrays
        The pool: the inputs a student may be trained on. Vectors, images or anything of fixed
        shape; by name, each for one argument of the student's `forward`, such as token ids and
        their mask.
    teacher_logits_train : array of shape (N,) or (N, C), or (E, N) or (E, N, C)
        The teacher's raw scores; with a leading axis for each of `teacher_epochs`.
    y_train : integer array of shape (N,), optional
        True labels; -100 where a sample has none, which then learns from the teacher alone at
        every setting. Without any only a soft ratio of 1 can be analysed.
    x_test, teacher_logits_test, y_test : arrays, optional
        The same for held-out samples. Without them errors come from the pool itself.
    teacher_epochs : integer array of shape (E,), optional
        The teacher's stopping epochs, ascending.
    image_layout : {"channels_last", "channels_first"}, optional
        Where the channels of images and volumes stand in the inputs. By default last; inputs whose
        shape speaks against that are refused without it.

    source : str, optional
        Where it was read from, for `tutelage verify` to find it again.
    notes : tuple of str
        What was done when it was read.
    texts : tuple of str, optional
        Of the pool's samples, as the report shows them.
    class_names : tuple of str, optional
        Of the classes, where labels were text.
    columns, classes
        With which tables were read, see `of`.

    Attributes
    ----------
    warnings : tuple of str
        What deserves a look, such as duplicate inputs with different targets, or a test part that
        is in the pool.
    copy_of : array of shape (N,)
        For each sample of the pool the first one with the same inputs: itself, where none comes
        before it.

    Raises
    ------
    TaskError
        If the arrays cannot be what they are said to be; the message says which, and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(6, 3))
    >>> task = Task(x_train=x, teacher_logits_train=3 * x[:, 0], y_train=(x[:, 0] > 0).astype(int))
    >>> task
    Task(n_train=6, n_test=0, n_classes=2, n_logits=1, input_shape=(3,), labels=True)
    """

    x_train: Arrays
    teacher_logits_train: np.ndarray
    y_train: np.ndarray | None = None
    x_test: Arrays | None = None
    teacher_logits_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    teacher_epochs: np.ndarray | None = None
    # A layout is always there once the task is checked.
    image_layout: str = None  # type: ignore[assignment]
    warnings: tuple[str, ...] = ()
    source: str | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    texts: tuple[str, ...] | None = field(default=None, compare=False, repr=False)
    class_names: tuple[str, ...] | None = field(default=None, compare=False, repr=False)
    columns: Given | None = field(default=None, compare=False)
    classes: int | None = field(default=None, compare=False)
    copy_of: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            self._set(f"x_{part}", check.inputs, f"x_{part}")
        object.__setattr__(
            self,
            "image_layout",
            check.image_layout(self.image_layout, "image_layout", self.x_train),
        )
        self._set("teacher_epochs", check.epochs)
        check.test_part(self.x_train, self.x_test, self.teacher_logits_test, self.y_test)
        for part, n in (("train", self.n_train), ("test", self.n_test)):
            self._set(
                f"teacher_logits_{part}",
                check.teacher_logits,
                f"teacher_logits_{part}",
                n,
                self.teacher_epochs,
            )
        logits = self.teacher_logits("train")
        check.same_classes(logits, self.teacher_logits("test"))
        for part, n in (("train", self.n_train), ("test", self.n_test)):
            self._set(f"y_{part}", check.labels, f"y_{part}", n, self.n_classes)
        check.labelled_test(self.y_test)
        labelled = self.labelled
        if not labelled.any():
            object.__setattr__(self, "y_train", None)
            self._note("No sample of the pool is labelled: all learn from the teacher alone.")
        elif not labelled.all():
            self._note(
                f"{int(labelled.sum()):,} of {self.n_train:,} pool samples are labelled; the others"
                " learn from the teacher alone at every setting."
            )
        check.more_than_one_class(self.y_train, self.teacher_decisions("train")[-1], logits[-1])
        first = check.copies(*(x for x in (self.x_train, self.x_test) if x is not None))
        object.__setattr__(self, "copy_of", first[: self.n_train])
        object.__setattr__(
            self,
            "warnings",
            check.clashes(self.copy_of, logits, self.y_train)
            + check.overlap(first, self.n_train)
            + check.shifted(self.x_train, self.x_test)
            + check.units(self.x_train),
        )

    @property
    def labelled(self) -> np.ndarray:
        """Which samples of the pool have a label, (N,)."""
        y = self.y_train
        return np.zeros(self.n_train, bool) if y is None else np.asarray(y != NOT_LABELLED)

    def _note(self, text: str) -> None:
        object.__setattr__(self, "notes", tuple(dict.fromkeys([*self.notes, text])))

    def _set(self, name: str, checked: Any, *arguments: Any) -> None:
        if getattr(self, name) is not None:
            object.__setattr__(self, name, checked(getattr(self, name), *arguments))

    def __repr__(self) -> str:
        return (
            f"Task(n_train={self.n_train}, n_test={self.n_test}, n_classes={self.n_classes},"
            f" n_logits={self.n_logits}, input_shape={self.input_shape},"
            f" labels={self.y_train is not None})"
        )

    @classmethod
    def load(
        cls, path: str | Path, *, columns: Given | None = None, classes: int | None = None
    ) -> "Task":
        """Read a task; pickles are never loaded.

        Parameters
        ----------
        path : str or Path
            A .npz or .safetensors file, a folder of .npy files; a parquet file, a folder of them,
            or what `datasets` wrote with `save_to_disk`, with splits train and, if there is one,
            test or validation.
        columns, classes
            Of tables, see `of`.

        Returns
        -------
        Task

        Raises
        ------
        TaskError
            If there is no such file, or it does not hold a task.
        """
        path = Path(path)
        source = str(path.absolute())
        if is_table(path):
            found = arguments(tables_at(path), columns, classes)
            return cls(**found, source=source, columns=columns, classes=classes)
        if columns or classes:
            raise TaskError(f"{path} is no table; columns and classes are those of tables.")
        return cls(**read_arrays(path), source=source)

    @classmethod
    def of(
        cls, data: Any, test: Any = None, *, columns: Given | None = None,
        classes: int | None = None,
    ) -> "Task":  # fmt: skip
        """Make a task of tables in memory.

        Parameters
        ----------
        data : datasets.Dataset or DatasetDict, frame of pandas or Polars, pyarrow.Table, DataLoader
            The pool. Of a DatasetDict `train` is the pool, `test` or `validation` the test part.
            The batches of a DataLoader are dicts, or tuples of inputs, labels and teacher logits.
        test : the same, optional
            The test part.
        columns : mapping, optional
            Which column is what, if not by its name: `x` (one or several), `labels` (or label, y),
            and `teacher_logits`, `teacher_log_probs`, or `teacher_indices` and `teacher_values`,
            the largest log-probabilities. Of several teachers' logits or log-probabilities the mean
            is taken in probability, with weights if they are given as a mapping, {"large": 2,
            "small": 1}. All other columns with numbers in them are inputs.
            Several inputs, and input_ids, go to the student's `forward` by name.
        classes : int, optional
            Of the teacher, where only its largest log-probabilities are there.

        Returns
        -------
        Task

        Raises
        ------
        TaskError
            If columns are missing or could be more than one thing, or are not what they should be.

        Examples
        --------
        >>> import pandas as pd
        >>> rows = {"x": [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], "label": [0, 1, 1],
        ...         "teacher_logits": [[1.0, -1.0], [-2.0, 2.0], [-1.0, 1.0]]}
        >>> Task.of(pd.DataFrame(rows)).input_shape
        (2,)
        """
        return cls(**arguments(tables_of(data, test), columns, classes))

    def save(self, path: str | Path) -> None:
        """Write the task to .npz, .safetensors, or (a name without an ending) a folder of .npy.

        Raises
        ------
        OutputError
            If it cannot be written; nothing half-written is left.
        """
        write_arrays(
            Path(path),
            self._arrays(),
            self.image_layout,
        )

    @property
    def n_train(self) -> int:
        """Size N of the pool."""
        return _count(self.x_train)

    @property
    def n_test(self) -> int:
        """Number of held-out samples, 0 without a test part."""
        return 0 if self.x_test is None else _count(self.x_test)

    @property
    def input_shape(self) -> Shape:
        """Shape of one input, as stored; of named inputs one for each name."""
        if isinstance(self.x_train, Mapping):
            return {name: array.shape[1:] for name, array in self.x_train.items()}
        return self.x_train.shape[1:]

    def inputs(
        self, dtype: torch.dtype, *, standardise: bool = True, ids: bool = False
    ) -> tuple[Inputs, Inputs | None]:
        """Pool and test inputs as students see them, see `Preprocessing`."""
        prepare, pool = self.prepared(dtype, standardise=standardise, ids=ids)
        return pool, None if self.x_test is None else prepare(self.x_test, "x_test")

    def prepared(
        self, dtype: torch.dtype, *, standardise: bool = True, ids: bool = False
    ) -> tuple[Preprocessing, Inputs]:
        """What is done to inputs, fitted to the pool, and the pool after it."""
        layout = self.image_layout
        return Preprocessing.fitted(self.x_train, layout, dtype, standardise=standardise, ids=ids)

    def part(self, name: str, x: Inputs) -> Part:
        """The pool ("train") or the test part ("test"), its inputs prepared."""
        logits, labels = self.teacher_logits(name), self._of("y", name)
        return Part(
            x,
            None if logits is None else torch.as_tensor(logits).movedim(0, 1),
            None if labels is None else torch.as_tensor(labels),
        )

    def image(self, index: int) -> np.ndarray | None:
        """A pool input with its channels last, if it has any; None for named inputs."""
        if isinstance(self.x_train, Mapping):
            return None
        x = self.x_train[index]
        first = x.ndim == 3 and self.image_layout == "channels_first"
        return np.moveaxis(x, 0, -1) if first else x

    def text(self, index: int) -> str | None:
        """See `Taught`."""
        return None if self.texts is None else self.texts[index]

    @property
    def fingerprint(self) -> str:
        """A hash of all arrays, by which curves know the task that they are of."""
        digest = hashlib.blake2b(self.image_layout.encode(), digest_size=16)
        arrays = self._arrays()
        for key in ARRAYS:
            named = {k: v for k, v in arrays.items() if k == key or k.startswith(f"{key}.")}
            if not named:
                digest.update(key.encode())
            for name, value in named.items():
                digest.update(f"{name}{value.dtype}{value.shape}".encode())
                digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        mine, others = self._arrays(), other._arrays()
        same = mine.keys() == others.keys() and self.image_layout == other.image_layout
        return same and all(np.array_equal(mine[key], others[key]) for key in mine)

    def _arrays(self) -> dict[str, np.ndarray]:
        """Every array that is there under its key in a task file."""
        found: dict[str, np.ndarray] = {}
        for key in ARRAYS:
            value = getattr(self, key)
            if isinstance(value, Mapping):
                found |= {f"{key}.{name}": array for name, array in value.items()}
            elif value is not None:
                found[key] = value
        return found

    __hash__ = None  # type: ignore[assignment]


def _count(x: Arrays) -> int:
    return len(next(iter(x.values()))) if isinstance(x, Mapping) else len(x)
