"""Real data sets, from installed packages or from disk."""

import gzip
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.exceptions import MissingExtraError, TaskError, nearest

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR_HASH = "md5:c32a1d4ab5d03f1284b67883e8d87530"


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

    Examples
    --------
    >>> threes_and_eights = digits().pair(3, 8)
    >>> threes_and_eights.name, threes_and_eights.classes, len(threes_and_eights.x)
    ('digits 3/8', ('3', '8'), 357)
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
            f"{self.name} {names[0]}/{names[1]}",
            *keep(self.x, self.y),
            *keep(self.x_test, self.y_test),
            names,
        )


def digits() -> Dataset:
    """Give scikit-learn's 1,797 digits of 8 × 8 pixels, all as one part.

    Examples
    --------
    >>> digits().x.shape
    (1797, 8, 8)
    """
    from sklearn.datasets import load_digits

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

    Examples
    --------
    >>> import tempfile
    >>> x, y = np.zeros((5, 28, 28), np.uint8), np.arange(5, dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("train", "t10k"):
    ...         for kind, of in (("images-idx3", x), ("labels-idx1", y)):
    ...             head = bytes([0, 0, 8, of.ndim]) + np.array(of.shape, ">i4").tobytes()
    ...             _ = Path(folder, f"{part}-{kind}-ubyte").write_bytes(head + of.tobytes())
    ...     data = fashion_mnist(folder)
    >>> data.x.shape, [data.classes[k] for k in data.y[:2]]
    ((5, 28, 28), ['t-shirt', 'trouser'])
    """
    parts = [
        _idx(Path(folder), f"{part}-{kind}-ubyte")
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    x, y, x_test, y_test = parts
    names = (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    return Dataset("fashion-mnist", x, y.astype(np.int64), x_test, y_test.astype(np.int64), names)


def cifar10(folder: str | Path | None = None) -> Dataset:
    """Read CIFAR-10 from a folder, in its binary (``data_batch_1.bin``) or its python layout
    (``data_batch_1``).

    The python layout is made of pickles; they are taken apart for their pixels and labels, and
    never executed.

    Parameters
    ----------
    folder : str or Path, optional
        Without one it is downloaded once (162 MB), its checksum checked, and kept in the user's
        cache.

    Raises
    ------
    TaskError
        If the folder holds no such files, one is cut short, or it cannot be downloaded.
    MissingExtraError
        If there is no folder, and pooch is not installed.

    Examples
    --------
    >>> import tempfile
    >>> record = bytes([6]) + bytes(3 * 32 * 32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("data_batch_1.bin", "test_batch.bin"):
    ...         _ = Path(folder, name).write_bytes(2 * record)
    ...     data = cifar10(folder)
    >>> data.x.shape, [data.classes[k] for k in data.y]
    ((2, 32, 32, 3), ['frog', 'frog'])
    """
    folder = _downloaded() if folder is None else Path(folder)
    for pattern, test, read in (
        ("data_batch_*.bin", "test_batch.bin", _cifar_batch),
        ("data_batch_?", "test_batch", _cifar_pickle),
    ):
        batches = sorted(folder.glob(pattern))
        if batches and (folder / test).exists():
            x, y = (np.concatenate(arrays) for arrays in zip(*map(read, batches), strict=True))
            names = (
                "airplane",
                "automobile",
                "bird",
                "cat",
                "deer",
                "dog",
                "frog",
                "horse",
                "ship",
                "truck",
            )
            return Dataset("cifar10", x, y, *read(folder / test), names)
    raise TaskError(
        f"{folder} does not hold CIFAR-10; expected data_batch_1.bin … and test_batch.bin (binary),"
        " or data_batch_1 … and test_batch (python)."
    )


def gaussian_mixture(
    n: int = 2000,
    n_test: int = 2000,
    *,
    classes: int = 2,
    features: int = 2,
    distance: float = 2.0,
    seed: int = 0,
) -> tuple[Dataset, Callable[[np.ndarray], np.ndarray]]:
    """Draw from a mixture of unit Gaussians whose centres are that far apart, and give Bayes' rule.

    Parameters
    ----------
    n, n_test : int
    classes : int
        At most `features`, or 2.
    features : int
    distance : float
        Between any two centres. Two classes err on Φ(-distance / 2) at best.
    seed : int

    Returns
    -------
    Dataset
    callable
        From inputs (n, features) to the logits (n, classes) of the perfect teacher:
        log-probabilities of the classes.

    Raises
    ------
    TaskError
        If so many centres do not fit.

    Examples
    --------
    >>> data, bayes = gaussian_mixture(seed=1)
    >>> float((bayes(data.x).argmax(1) != data.y).mean())
    0.1495
    """
    if classes > max(2, features) or classes < 2 or features < 1:
        raise TaskError(
            f"{classes} centres at one distance do not fit in {features} features; expected 2 to"
            f" {max(2, features)}."
        )
    centres = np.eye(classes, max(classes, features)) * distance / 2**0.5
    if features == 1:
        centres = np.array([[-distance / 2], [distance / 2]])
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n + n_test)
    x = centres[y] + rng.normal(size=(n + n_test, features))

    def bayes(inputs: np.ndarray) -> np.ndarray:
        scores: np.ndarray = -((inputs[:, None] - centres) ** 2).sum(-1) / 2
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    return (
        Dataset(
            "gaussian-mixture", x[:n], y[:n], x[n:], y[n:], tuple(str(c) for c in range(classes))
        ),
        bayes,
    )


def waves(n: int = 4000, n_test: int = 1000, *, noise: float = 0.2, seed: int = 0) -> Dataset:
    """Draw one-dimensional "digits" in the manner of MNIST-1D (Greydanus 2020): 40 points, 10
    classes.

    Each class is a smooth shape; a sample is the shape stretched, moved along and scaled, under
    noise.

    Examples
    --------
    >>> data = waves(n=100, n_test=20)
    >>> data.x.shape, data.x_test.shape, len(data.classes)
    ((100, 40), (20, 40), 10)
    """
    shapes, rng = np.random.default_rng(1).normal(size=(10, 4)), np.random.default_rng(seed)
    y = rng.integers(0, 10, n + n_test)
    count = len(y)
    width, left = rng.uniform(12, 24, (count, 1)), rng.uniform(0, 16, (count, 1))
    t = (np.arange(40) - left) / width
    harmonics = np.einsum("ntk,nk->nt", np.sin(np.pi * t[..., None] * np.arange(1, 5)), shapes[y])
    signal = np.where((t >= 0) & (t <= 1), harmonics, 0.0) * rng.uniform(0.6, 1.4, (count, 1))
    x = signal + noise * rng.normal(size=signal.shape)
    return Dataset("waves", x[:n], y[:n], x[n:], y[n:], tuple(str(c) for c in range(10)))


@dataclass(frozen=True)
class Split:
    """Which samples of a data set teach, which are the pool, and the test part.

    Attributes
    ----------
    taught, pool : integer array
        Indices into the data set's training part; they have nothing in common unless asked for.
    x_test, y_test : array
    in_sample : bool
        Whether the pool is a part of what the teacher was taught.

    Examples
    --------
    >>> found = split(digits(), teacher=900, pool=400, test=400, in_sample=True)
    >>> set(found.pool) <= set(found.taught), len(found.x_test), sorted(found.as_dict())
    (True, 400, ['in_sample', 'pool', 'taught'])
    """

    taught: np.ndarray
    pool: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    in_sample: bool

    def as_dict(self) -> dict[str, Any]:
        """What can be written down: the indices."""
        return {
            "in_sample": self.in_sample,
            "taught": self.taught.tolist(),
            "pool": self.pool.tolist(),
        }


def split(
    data: Dataset,
    *,
    teacher: int,
    pool: int,
    test: int = 2000,
    seed: int = 0,
    in_sample: bool = False,
) -> Split:
    """Split a data set by seed into what teaches, the pool, and a test part.

    Parameters
    ----------
    data : Dataset
    teacher, pool, test : int
        Numbers of samples. The test part comes from the data set's own where it has one.
    seed : int
    in_sample : bool
        Let the pool be a part of what teaches, and the other way round: a teacher scored on its own
        training set hides its errors.

    Raises
    ------
    TaskError
        If there are not so many samples.

    Examples
    --------
    >>> found = split(digits(), teacher=900, pool=400, test=400)
    >>> len(set(found.taught) & set(found.pool))
    0
    """
    order = np.random.default_rng(seed).permutation(len(data.x))
    own = len(data.x_test) > 0
    left = len(order) if own else len(order) - test
    needed = max(teacher, pool) if in_sample else teacher + pool
    if min(teacher, pool, test) < 1 or needed > left or (own and test > len(data.x_test)):
        raise TaskError(
            f"{data.name} has {len(data.x)} samples and {len(data.x_test)} of a test part of its"
            f" own; {teacher} to teach, {pool} as the pool and {test} to test do not fit. Ask for"
            " fewer."
        )
    held, order = (None, order) if own else (order[:test], order[test:])
    taught, chosen = order[:teacher], order[:pool] if in_sample else order[teacher : teacher + pool]
    if held is None:
        some = np.random.default_rng([seed, 1]).permutation(len(data.x_test))[:test]
        return Split(taught, chosen, data.x_test[some], data.y_test[some], in_sample)
    return Split(taught, chosen, data.x[held], data.y[held], in_sample)


BUILT_IN = ("digits", "fashion-mnist")  # those with a quick teacher
NAMES = (*BUILT_IN, "cifar10", "waves")


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """Load a data set by its name, from a folder where it is one that lies in files.

    Raises
    ------
    TaskError
        If there is none of that name, or its files are not installed.

    Examples
    --------
    >>> load("digits").x.shape
    (1797, 8, 8)
    """
    if name not in NAMES:
        raise TaskError(
            f"There is no data set {name!r}; choose one of"
            f" {', '.join(NAMES)}{nearest(name, NAMES)}."
        )
    if name == "cifar10":
        return cifar10(folder)
    if name == "fashion-mnist":
        return fashion_mnist(folder or FASHION_MNIST_FOLDER)
    if folder is not None:
        raise TaskError(f"The data set {name!r} does not lie in a folder; leave the folder out.")
    return digits() if name == "digits" else waves()


def _idx(folder: Path, name: str) -> np.ndarray:
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.exists()), None)
    if path is None:
        raise TaskError(
            f"Fashion-MNIST is not at {folder}: {name} is missing. Install Debian's package"
            " dataset-fashion-mnist, or give the folder of its idx files."
        )
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        axes = raw[3]
        shape = np.frombuffer(raw, ">i4", axes, 4)
        return np.frombuffer(raw, np.uint8, int(np.prod(shape)), 4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise TaskError(
            f"{path} is not an idx file, or is cut short ({error}); fetch it again."
        ) from error


def _cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    raw = np.fromfile(path, np.uint8)
    if raw.size == 0 or raw.size % _CIFAR_RECORD:
        raise TaskError(
            f"{path} is cut short: {raw.size} bytes are no whole number of records of"
            f" {_CIFAR_RECORD} bytes."
        )
    records = raw.reshape(-1, _CIFAR_RECORD)
    return _cifar_images(records[:, 1:]), records[:, 0].astype(np.int64)


def _cifar_images(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _cifar_pickle(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The longest string of a pickle are the pixels, the integers after the word "labels" the
    labels; nothing is executed.
    """
    pixels, labels, collecting = b"", [], False
    try:
        for operation, argument, _ in pickletools.genops(path.read_bytes()):
            if isinstance(argument, str | bytes | bytearray) and operation.name not in (
                "GLOBAL",
                "PROTO",
            ):
                text = argument.encode("latin-1") if isinstance(argument, str) else bytes(argument)
                pixels = max(pixels, text, key=len)
                collecting = text == b"labels"
            elif collecting and isinstance(argument, int) and "INT" in operation.name:
                labels.append(argument)
            elif collecting and operation.name in ("APPENDS", "SETITEM", "SETITEMS"):
                collecting = False
    except (ValueError, EOFError, UnicodeError) as error:
        raise TaskError(
            f"{path} is not a batch of CIFAR-10's python layout ({error}); fetch it again."
        ) from error
    if not labels or len(pixels) != len(labels) * (_CIFAR_RECORD - 1):
        raise TaskError(
            f"{path} holds {len(pixels)} bytes of pixels and {len(labels)} labels; expected 3,072"
            " for each. Fetch it again."
        )
    return _cifar_images(np.frombuffer(pixels, np.uint8)), np.array(labels, np.int64)


def _downloaded() -> Path:
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError(
            "Downloading CIFAR-10 needs pooch, which is not installed: pip install 'tutelage[data]'"
            " -c constraints.txt. Or give the folder that it lies in."
        ) from error
    try:
        files = pooch.retrieve(
            _CIFAR_URL,
            known_hash=_CIFAR_HASH,
            path=pooch.os_cache("tutelage"),
            processor=pooch.Untar(),
            progressbar=False,
        )
    except (OSError, ValueError) as error:
        raise TaskError(
            f"CIFAR-10 cannot be downloaded ({error}); give the folder that it lies in."
        ) from error
    return Path(files[0]).parent
