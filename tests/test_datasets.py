import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tutelage import datasets
from tutelage.exceptions import TaskError
from tutelage.lab import quick_task

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


def idx(path, array, packed):
    raw = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if packed else raw)


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_plain_or_packed(tmp_path, packed):
    images, labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([4, 6], np.uint8)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            idx(tmp_path / f"{part}-{name}-ubyte{'.gz' if packed else ''}", array, packed)
    found = datasets.fashion_mnist(tmp_path)
    np.testing.assert_array_equal(found.x, images)
    np.testing.assert_array_equal(found.y_test, [4, 6])
    pair = found.pair(4, 6)
    assert (pair.name, pair.y.tolist(), pair.classes) == ("fashion-mnist coat/shirt", [0, 1], ("coat", "shirt"))


def test_files_that_are_missing_or_cut_are_said(tmp_path):
    with pytest.raises(TaskError, match="Install Debian's package dataset-fashion-mnist"):
        datasets.fashion_mnist(tmp_path)
    for part in ("train", "t10k"):
        for name in ("images-idx3", "labels-idx1"):
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(b"\0\0")
    with pytest.raises(TaskError, match="not an idx file, or is cut short"):
        datasets.fashion_mnist(tmp_path)
    with pytest.raises(TaskError, match="does not hold CIFAR-10's binary files"):
        datasets.cifar10(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(b"123")
    (tmp_path / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(TaskError, match="3 bytes are no whole number of records"):
        datasets.cifar10(tmp_path)
    with pytest.raises(TaskError, match=r"choose one of digits, fashion-mnist \(did you mean digits\?\)"):
        datasets.load("digit")


def test_cifar_records_are_channels_last_images(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (3, 32, 32)).astype(np.uint8)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(bytes([7]) + image.tobytes())
    found = datasets.cifar10(tmp_path)
    assert found.y.tolist() == [7]
    np.testing.assert_array_equal(found.x[0], image.transpose(1, 2, 0))


@pytest.mark.skipif(not CIFAR.exists(), reason="CIFAR-10 lies outside the repository")
def test_the_real_cifar_is_read():
    found = datasets.cifar10(CIFAR)
    assert found.x.shape == (20000, 32, 32, 3)
    assert np.bincount(found.y_test).min() > 400


def test_the_quick_teacher_is_real_gets_better_and_has_not_seen_the_pool():
    task = quick_task("digits")
    accuracy = task.teacher_accuracy("test")
    assert accuracy[0] < 0.85
    assert accuracy[-1] > 0.93
    assert abs(task.teacher_accuracy("train")[-1] - accuracy[-1]) < 0.04
    taught = {x.tobytes() for x in datasets.digits().x}
    assert len({x.tobytes() for x in (*task.x_train, *task.x_test)} & taught) > 800
    assert not {x.tobytes() for x in task.x_train} & {x.tobytes() for x in task.x_test}
