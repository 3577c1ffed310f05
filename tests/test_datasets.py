import gzip
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.neural_network import MLPClassifier

from tutelage import datasets
from tutelage.exceptions import MissingExtraError, TaskError
from tutelage.lab import quick_task

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10"


def idx(path, array, packed):
    raw = (
        struct.pack(">BBBB", 0, 0, 8, array.ndim)
        + struct.pack(f">{array.ndim}i", *array.shape)
        + array.tobytes()
    )
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
    assert (pair.name, pair.y.tolist(), pair.classes) == (
        "fashion-mnist coat/shirt",
        [0, 1],
        ("coat", "shirt"),
    )


def test_files_that_are_missing_or_cut_are_said(tmp_path):
    with pytest.raises(TaskError, match="Install Debian's package dataset-fashion-mnist"):
        datasets.fashion_mnist(tmp_path)
    for part in ("train", "t10k"):
        for name in ("images-idx3", "labels-idx1"):
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(b"\0\0")
    with pytest.raises(TaskError, match="not an idx file, or is cut short"):
        datasets.fashion_mnist(tmp_path)
    with pytest.raises(TaskError, match="does not hold CIFAR-10"):
        datasets.cifar10(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(b"123")
    (tmp_path / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(TaskError, match="3 bytes are no whole number of records"):
        datasets.cifar10(tmp_path)
    with pytest.raises(
        TaskError,
        match=r"choose one of digits, fashion-mnist, cifar10, waves \(did you mean digits\?\)",
    ):
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


def python_layout(folder, protocol, n=7):
    """CIFAR-10 as its python version is pickled: byte keys, an array of pixels, a list of
    labels."""
    rng = np.random.default_rng(0)
    made = {}
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        pixels, labels = (
            rng.integers(0, 256, (n, 3072), dtype=np.uint8),
            rng.integers(0, 10, n).tolist(),
        )
        batch = {
            b"batch_label": b"a batch",
            b"labels": labels,
            b"data": pixels,
            b"filenames": [b"a.png"] * n,
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
        made[name] = pixels, labels
    return made


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cifars_python_layout_is_read_without_executing_it(tmp_path, protocol):
    made = python_layout(tmp_path, protocol)
    found = datasets.cifar10(tmp_path)
    assert found.x.shape == (14, 32, 32, 3)
    assert found.y.tolist() == made["data_batch_1"][1] + made["data_batch_2"][1]
    assert np.array_equal(found.x_test[0, :, :, 2].ravel(), made["test_batch"][0][0, 2048:])


def test_a_pickle_that_would_run_something_runs_nothing(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path(tmp_path / "harm").touch, ())

    python_layout(tmp_path, 4)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"labels": [1], b"data": Harmful()}))
    with pytest.raises(TaskError, match="labels; expected 3,072 for each"):
        datasets.cifar10(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"no pickle")
    with pytest.raises(TaskError, match="is not a batch of CIFAR-10"):
        datasets.cifar10(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_a_download_that_fails_is_said(monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(TaskError, match=r"cannot be downloaded \(no network\); give the folder"):
        datasets.cifar10()
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match="pip install 'tutelage"):
        datasets.cifar10()


def test_a_download_is_checked_and_unpacked(monkeypatch, tmp_path):
    def retrieve(url, known_hash, **_):
        assert url.startswith("https://")
        assert known_hash == "md5:c32a1d4ab5d03f1284b67883e8d87530"
        return [str(tmp_path / "data_batch_1")]

    python_layout(tmp_path, 4)
    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert len(datasets.cifar10().x) == 14


@pytest.mark.parametrize(("features", "classes"), [(1, 2), (2, 2), (5, 4)])
def test_bayes_rule_of_a_mixture_is_the_best_there_is(features, classes):
    data, bayes = datasets.gaussian_mixture(
        20000, 10, classes=classes, features=features, distance=2.0, seed=3
    )
    logits = bayes(data.x)
    np.testing.assert_allclose(np.exp(logits).sum(1), 1)
    error = (logits.argmax(1) != data.y).mean()
    if classes == 2:
        assert error == pytest.approx(norm.cdf(-1.0), abs=0.01)
    sure = np.exp(logits).max(1)
    assert error == pytest.approx(1 - sure.mean(), abs=0.01)  # its probabilities are calibrated


def test_waves_can_be_learnt_but_not_by_their_mean():
    data = datasets.waves(2000, 500)
    assert data.x.shape == (2000, 40)
    network = MLPClassifier((100,), early_stopping=True, random_state=0).fit(data.x, data.y)
    assert network.score(data.x_test, data.y_test) > 0.6
    assert np.array_equal(datasets.waves(5, 1, seed=1).x, datasets.waves(5, 1, seed=1).x)


@pytest.mark.parametrize("own", [True, False])
def test_a_split_has_nothing_in_common(own):
    data = datasets.gaussian_mixture(300, 100)[0] if own else datasets.digits()
    found = datasets.split(data, teacher=150, pool=100, test=50, seed=2)
    assert not set(found.taught) & set(found.pool)
    if not own:
        seen = {x.tobytes() for x in data.x[np.concatenate([found.taught, found.pool])]}
        assert not [x for x in found.x_test if x.tobytes() in seen]
    assert np.array_equal(
        found.pool, datasets.split(data, teacher=150, pool=100, test=50, seed=2).pool
    )
    inside = datasets.split(data, teacher=150, pool=100, test=50, in_sample=True)
    assert set(inside.pool) <= set(inside.taught)
    with pytest.raises(TaskError, match="do not fit"):
        datasets.split(data, teacher=10**6, pool=10, test=5)
    with pytest.raises(TaskError, match="do not fit"):
        datasets.split(data, teacher=1, pool=1, test=10**5)


def test_names_of_data_sets():
    with pytest.raises(TaskError, match="does not lie in a folder"):
        datasets.load("digits", "somewhere")
    with pytest.raises(TaskError, match="no data set 'cifar'"):
        datasets.load("cifar")
    with pytest.raises(TaskError, match="centres at one distance do not fit"):
        datasets.gaussian_mixture(classes=5, features=2)
