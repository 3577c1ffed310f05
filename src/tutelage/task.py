"""One distillation problem: the checked arrays that everything else starts from."""

import hashlib
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from torch import Tensor

from tutelage import task_checks as check
from tutelage.exceptions import TaskError
from tutelage.task_files import ARRAYS, read_arrays, write_arrays


@dataclass(frozen=True, eq=False)
class Task:
    """The inputs, teacher logits and labels of one distillation problem.

    Parameters
    ----------
    x_train : array of shape (N, ...)
        The pool: the inputs a student may be trained on. Vectors, images or anything of fixed
        shape.
    teacher_logits_train : array of shape (N,) or (N, C), or (E, N) or (E, N, C)
        The teacher's raw scores; with a leading axis for each of `teacher_epochs`.
    y_train : integer array of shape (N,), optional
        True labels. Without them only a soft ratio of 1 can be analysed.
    x_test, teacher_logits_test, y_test : arrays, optional
        The same for held-out samples. Without them errors come from the pool itself.
    teacher_epochs : integer array of shape (E,), optional
        The teacher's stopping epochs, ascending.
    image_layout : {"channels_last", "channels_first"}, optional
        Where the channels of images and volumes stand in the inputs. By default last; inputs whose
        shape speaks against that are refused without it.

    source : str, optional
        Where it was read from, for `tutelage verify` to find it again.

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

    x_train: np.ndarray
    teacher_logits_train: np.ndarray
    y_train: np.ndarray | None = None
    x_test: np.ndarray | None = None
    teacher_logits_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    teacher_epochs: np.ndarray | None = None
    image_layout: str = None  # type: ignore[assignment]  # a layout is always there once the task is checked
    warnings: tuple[str, ...] = ()
    source: str | None = field(default=None, compare=False)
    copy_of: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            self._set(f"x_{part}", check.inputs, f"x_{part}")
        object.__setattr__(
            self,
            "image_layout",
            check.image_layout(self.image_layout, "image_layout", self.x_train.shape),
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

    def _set(self, name: str, checked: Any, *arguments: Any) -> None:
        if getattr(self, name) is not None:
            object.__setattr__(self, name, checked(getattr(self, name), *arguments))

    def _of(self, key: str, part: str) -> Any:
        return getattr(self, f"{key}_{part}")

    def __repr__(self) -> str:
        return (
            f"Task(n_train={self.n_train}, n_test={self.n_test}, n_classes={self.n_classes},"
            f" n_logits={self.n_logits}, input_shape={self.input_shape},"
            f" labels={self.y_train is not None})"
        )

    @classmethod
    def load(cls, path: str | Path) -> "Task":
        """Read a task from .npz, .safetensors or a folder of .npy; pickles are never loaded.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Task

        Raises
        ------
        TaskError
            If there is no such file, or it does not hold a task.
        """
        return cls(
            **cast(dict[str, Any], read_arrays(Path(path))), source=str(Path(path).absolute())
        )

    def save(self, path: str | Path) -> None:
        """Write the task to .npz, .safetensors, or (a name without an ending) a folder of .npy.

        Raises
        ------
        OutputError
            If it cannot be written; nothing half-written is left.
        """
        write_arrays(
            Path(path),
            {key: getattr(self, key) for key in ARRAYS if getattr(self, key) is not None},
            self.image_layout,
        )

    @property
    def n_train(self) -> int:
        """Size N of the pool."""
        return len(self.x_train)

    @property
    def n_test(self) -> int:
        """Number of held-out samples, 0 without a test part."""
        return 0 if self.x_test is None else len(self.x_test)

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

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, as stored."""
        return self.x_train.shape[1:]

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
        return (logits[..., 0] > 0).astype(np.int64) if self.n_logits == 1 else logits.argmax(-1)

    @cached_property
    def fill(self) -> float | None:
        """The logit that stands for classes that the teacher has masked, if there is one."""
        return check.fill_value(self.teacher_logits("train"))

    def teacher_accuracy(self, part: str) -> np.ndarray | None:
        """The teacher's accuracy on a part at each epoch, or None without labels: (E,)."""
        decisions, truth = self.teacher_decisions(part), self._of("y", part)
        return None if decisions is None or truth is None else (decisions == truth).mean(-1)

    def inputs(
        self, dtype: torch.dtype, *, standardise: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Pool and test inputs as tensors, images channels-first.

        Standardised inputs have the pool's mean removed from each feature, and share one scale, so
        that the pool's features have a mean square of one.
        """
        pool, test = (
            None if x is None else channels_first(tensor_of(x).to(dtype), self.image_layout)
            for x in (self.x_train, self.x_test)
        )
        assert pool is not None
        if standardise:
            mean = pool.mean(0)
            pool = pool - mean
            scale = 1 / torch.linalg.vector_norm(pool).div(pool.numel() ** 0.5)
            pool, test = pool.mul_(scale), None if test is None else (test - mean).mul_(scale)
        for key, part in (("x_train", pool), ("x_test", test)):
            length = 1.0 if part is None else float(torch.linalg.vector_norm(part))
            if not 0 < length < float("inf"):
                raise TaskError(
                    f"{key} cannot be scaled in {str(dtype).removeprefix('torch.')}: its values are"
                    " too large or too small. Bring them to ordinary numbers, such as 0 to 1."
                )
        return pool, test

    @property
    def fingerprint(self) -> str:
        """A hash of all arrays, by which curves know the task that they are of."""
        digest = hashlib.blake2b(self.image_layout.encode(), digest_size=16)
        for key in ARRAYS:
            value = getattr(self, key)
            digest.update(
                key.encode() if value is None else f"{key}{value.dtype}{value.shape}".encode()
            )
            if value is not None:
                digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)
            if f.compare
        )

    __hash__ = None  # type: ignore[assignment]


def channels_first(x: Tensor, image_layout: str) -> Tensor:
    """Images and volumes, samples first, as torch has them."""
    return (
        x.movedim(-1, 1).contiguous() if x.ndim in (4, 5) and image_layout == "channels_last" else x
    )


def tensor_of(array: np.ndarray) -> Tensor:
    """The array as a tensor, without a copy where it can be written to."""
    return torch.as_tensor(np.require(array, requirements="W"))
