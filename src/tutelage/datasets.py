"""Real data sets, from installed packages or from disk."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tutelage.exceptions import TaskError, nearest

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_CIFAR_RECORD = 1 + 3 * 32 * 32


@dataclass(frozen=True)
class Dataset:
    """Inputs and labels of a data set: a training part, and a test part where it has one.

    Attributes
    ----------
    name : str
    x, y : array of shape (n, ...) and (n,)
        Images are channels-last uint8.
    x_test, y_test : array
        Empty where the data set has no test part of its own.
    classes : tuple of str
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]

    def pair(self, first: int, second: int) -> "Dataset":
        """Keep two classes, as labels 0 and 1."""

        def keep(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            chosen = (y == first) | (y == second)
            return x[chosen], (y[chosen] == second).astype(np.int64)

        names = (self.classes[first], self.classes[second])
        return Dataset(
            f"{self.name} {names[0]}/{names[1]}", *keep(self.x, self.y), *keep(self.x_test, self.y_test), names
        )


def digits() -> Dataset:
    """Give scikit-learn's 1,797 digits of 8 × 8 pixels, all as one part.

    Examples
    --------
    >>> digits().x.shape
    (1797, 8, 8)
    """
    data = load_digits()
    x, y = data.images.astype(np.uint8), data.target.astype(np.int64)
    return Dataset("digits", x, y, x[:0], y[:0], tuple(str(c) for c in range(10)))


def fashion_mnist(folder: str | Path = FASHION_MNIST_FOLDER) -> Dataset:
    """Read Fashion-MNIST's idx files, plain or gzipped, from a folder.

    Parameters
    ----------
    folder : str or Path
        By default where Debian's package ``dataset-fashion-mnist`` puts them.

    Raises
    ------
    TaskError
        If a file is missing or is not in idx format.
    """
    parts = [
        _idx(Path(folder), f"{part}-{kind}-ubyte")
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    x, y, x_test, y_test = parts
    names = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
    return Dataset("fashion-mnist", x, y.astype(np.int64), x_test, y_test.astype(np.int64), names)


def cifar10(folder: str | Path) -> Dataset:
    """Read CIFAR-10 in its binary layout (``data_batch_*.bin``, ``test_batch.bin``) from a folder.

    Raises
    ------
    TaskError
        If the folder holds no such files, or one is cut short.
    """
    folder = Path(folder)
    batches = sorted(folder.glob("data_batch_*.bin"))
    if not batches or not (folder / "test_batch.bin").exists():
        raise TaskError(
            f"{folder} does not hold CIFAR-10's binary files; expected data_batch_1.bin … and test_batch.bin."
        )
    train = [_cifar_batch(path) for path in batches]
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    x, y = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    return Dataset("cifar10", x, y, *_cifar_batch(folder / "test_batch.bin"), names)


BUILT_IN = {"digits": digits, "fashion-mnist": fashion_mnist}


def load(name: str) -> Dataset:
    """Load a built-in data set by its name.

    Raises
    ------
    TaskError
        If there is none of that name, or its files are not installed.
    """
    if name not in BUILT_IN:
        raise TaskError(f"There is no data set {name!r}; choose one of {', '.join(BUILT_IN)}{nearest(name, BUILT_IN)}.")
    return BUILT_IN[name]()


def _idx(folder: Path, name: str) -> np.ndarray:
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.exists()), None)
    if path is None:
        raise TaskError(
            f"Fashion-MNIST is not at {folder}: {name} is missing. Install Debian's package dataset-fashion-mnist, or give "
            "the folder of its idx files."
        )
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        axes = raw[3]
        shape = np.frombuffer(raw, ">i4", axes, 4)
        return np.frombuffer(raw, np.uint8, int(np.prod(shape)), 4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise TaskError(f"{path} is not an idx file, or is cut short ({error}); fetch it again.") from error


def _cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    raw = np.fromfile(path, np.uint8)
    if raw.size == 0 or raw.size % _CIFAR_RECORD:
        raise TaskError(
            f"{path} is cut short: {raw.size} bytes are no whole number of records of {_CIFAR_RECORD} bytes."
        )
    records = raw.reshape(-1, _CIFAR_RECORD)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int64)
