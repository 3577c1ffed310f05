import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from problems import task
from tutelage import Task
from tutelage.exceptions import OutputError, TaskError


def arrays(n=12, m=6, c=3):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.normal(size=(n, 4)),
        "teacher_logits_train": rng.normal(size=(n, c)),
        "y_train": np.arange(n) % c,
        "x_test": rng.normal(size=(m, 4)),
        "teacher_logits_test": rng.normal(size=(m, c)),
        "y_test": np.arange(m) % c,
    }


PROBABILITIES = torch.softmax(
    torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), 1
).numpy()

BAD = [
    ({"x_train": np.array([["a"] * 4] * 12)}, "x_train holds strings; expected real numbers"),
    (
        {"x_train": np.ones((12, 4), complex) * np.arange(12)[:, None]},
        "x_train holds complex numbers; expected real ones",
    ),
    (
        {"x_train": np.array([[object()]] * 12)},
        "x_train holds Python objects; expected real numbers",
    ),
    ({"x_train": [[1, 2], [3]]}, "x_train cannot be made an array"),
    ({"y_train": np.array(["cat"] * 12)}, "y_train holds strings"),
    (
        {"x_train": np.full((12, 4), np.nan)},
        "x_train holds 48 values that are NaN or infinite (first at index [0, 0])",
    ),
    (
        {"teacher_logits_train": np.where(np.eye(12, 3), np.inf, 0)},
        "teacher_logits_train holds 3 values that are NaN or infinite",
    ),
    ({"x_train": np.ones(12)}, "x_train has shape (12,); expected (n, ...)"),
    ({"x_train": np.ones((12, 0))}, "holds no features"),
    ({"x_train": np.ones((1, 4))}, "x_train holds 1 sample(s); expected at least 2"),
    ({"x_train": np.ones((12, 4))}, "All 12 inputs of x_train are the same"),
    (
        {"teacher_logits_train": np.ones((11, 3)) * -1},
        "teacher_logits_train has shape (11, 3); expected (12,) or (12, C)",
    ),
    (
        {"teacher_logits_train": np.ones((2, 12, 3)) * -1},
        "Give teacher_epochs if the first axis is epochs",
    ),
    ({"y_train": np.arange(11) % 3}, "y_train has shape (11,); expected (12,)"),
    (
        {"y_train": np.arange(12) % 4},
        "y_train holds the label 3 (first at index 3), which is beyond the teacher's 3 classes",
    ),
    (
        {"y_train": np.arange(12) % 3 - 1},
        "y_train holds the label -1 (first at index 0), which is negative",
    ),
    ({"y_train": np.arange(12) / 5}, "y_train holds 0.2 (index 1), which is not a whole number"),
    (
        {"y_train": np.eye(3)[np.arange(12) % 3]},
        (
            "y_train is one-hot, shape (12, 3); expected class indices of shape (12,). Pass"
            " y_train.argmax(1)"
        ),
    ),
    (
        {"teacher_logits_train": PROBABILITIES},
        "teacher_logits_train holds probabilities: every row sums to 1",
    ),
    ({"y_train": np.zeros(12, int)}, "y_train holds one class only (0, 12 times)"),
    ({"x_test": None}, "teacher_logits_test came without x_test"),
    ({"x_test": np.ones((6, 5))}, "x_test has inputs of shape (5,), x_train of (4,)"),
    (
        {"teacher_logits_test": None, "y_test": None},
        "x_test came without teacher_logits_test and y_test",
    ),
    (
        {"teacher_logits_test": np.ones((6, 4)) * -1},
        "teacher_logits_train has 3 column(s), teacher_logits_test 4",
    ),
    ({"teacher_epochs": np.array([3, 2])}, "teacher_epochs is not a list of ascending epochs"),
    (
        {"teacher_epochs": np.array([1, 2])},
        "expected (2, 12) or (2, 12, C), with an axis for teacher_epochs",
    ),
    ({"image_layout": "hwc"}, "image_layout is 'hwc'; expected channels_last or channels_first"),
    (
        {"y_train": np.full((12, 3), 1 / 3)},
        "y_train holds soft labels: rows of shares that sum to 1, shape (12, 3)",
    ),
    (
        {"y_test": np.where(np.arange(6) < 4, -100, 1)},
        "y_test holds 4 times -100, which means not labelled",
    ),
    (
        {"teacher_logits_train": 1 / (1 + np.exp(-arrays()["teacher_logits_train"]))},
        "as of a teacher with a sigmoid for each",
    ),
    (
        {"teacher_logits_train": (100 * PROBABILITIES).round()},
        "teacher_logits_train holds percentages",
    ),
    ({"teacher_logits_train": PROBABILITIES.round(2)}, "teacher_logits_train holds probabilities"),
    ({"x_train": np.ma.masked_less(arrays()["x_train"], 0)}, "x_train has masked values"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m[:40] for _, m in BAD])
def test_bad_arrays_are_said_in_a_sentence(change, message):
    with pytest.raises(TaskError) as caught:
        Task(**(arrays() | change))
    assert message in str(caught.value)


def test_probabilities_of_one_class_are_said_too():
    x = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(
        TaskError, match=r"lies between 0 and 1 everywhere.*pass log\(p / \(1 - p\)\)"
    ):
        Task(x, np.linspace(0.01, 0.99, 20))


def test_a_teacher_that_sees_one_class_only_has_nothing_to_distil():
    x = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(TaskError, match="The teacher gives class 1 to every sample"):
        Task(x, 1 + x[:, 0] ** 2)


def test_every_way_to_lay_out_an_array_is_read_alike():
    given = arrays()
    given["x_train"], given["teacher_logits_train"] = (
        given[k].astype(np.float32) for k in ("x_train", "teacher_logits_train")
    )
    expected = Task(**given).inputs(torch.float64)[0]
    wide = np.zeros((24, 8), np.float32)
    wide[::2, ::2] = given["x_train"]
    readonly = given["x_train"].copy()
    readonly.setflags(write=False)
    for x in (
        given["x_train"][::-1].copy()[::-1],
        given["x_train"].astype(">f4"),
        np.asfortranarray(given["x_train"]),
        wide[::2, ::2],
        readonly,
        given["x_train"].tolist(),
        torch.as_tensor(given["x_train"]).T.contiguous().T,
        np.ma.masked_array(given["x_train"]),
    ):
        found = Task(**(given | {"x_train": x}))
        assert torch.equal(found.inputs(torch.float64)[0], expected)
        assert found.x_train.flags.c_contiguous
    for z in (
        given["teacher_logits_train"].copy()[::-1][::-1],
        given["teacher_logits_train"].astype(">f8"),
        np.asfortranarray(given["teacher_logits_train"]),
    ):
        np.testing.assert_array_equal(
            Task(**(given | {"teacher_logits_train": z})).teacher_logits_train,
            given["teacher_logits_train"],
        )
    for y in (
        given["y_train"][:, None],
        given["y_train"][::-1].copy()[::-1],
        given["y_train"].astype(">i2"),
        given["y_train"].astype("u1"),
    ):
        assert Task(**(given | {"y_train": y})).y_train.tolist() == given["y_train"].tolist()
    reversed_ = Task(**{k: v[::-1] for k, v in given.items()})
    np.testing.assert_array_equal(reversed_.x_train, given["x_train"][::-1])


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_small_floats_are_read(dtype):
    given = arrays()
    z = torch.as_tensor(given["teacher_logits_train"]).to(dtype)
    found = Task(**(given | {"teacher_logits_train": z})).teacher_logits_train
    np.testing.assert_array_equal(found, z.float().numpy())


@pytest.mark.parametrize("shape", [(3, 14, 14), (1, 28, 28), (4, 9, 7), (64, 7, 7), (1, 6, 8, 10)])
def test_images_whose_shape_speaks_against_the_layout_are_refused(shape):
    x = np.random.default_rng(0).normal(size=(18, *shape))
    given = arrays() | {"x_train": x[:12], "x_test": x[12:]}
    with pytest.raises(
        TaskError,
        match=r"looks like images with their channels first.*Give image_layout: channels_first",
    ):
        Task(**given)
    first = Task(**given, image_layout="channels_first")
    assert first.inputs(torch.float32, standardise=False)[0].shape[1:] == shape
    assert Task(**given, image_layout="channels_last").inputs(torch.float32)[0].shape[1:] == (
        shape[-1],
        *shape[:-1],
    )


@pytest.mark.parametrize(
    "shape", [(14, 14, 3), (28, 28, 1), (7, 7, 64), (6, 8, 10, 1), (4, 3, 2), (3, 50), (5, 5, 5)]
)
def test_other_shapes_have_their_channels_last(shape):
    one = Task(
        **(
            arrays()
            | {
                "x_train": np.random.default_rng(0).normal(size=(12, *shape)),
                "x_test": None,
                "teacher_logits_test": None,
                "y_test": None,
            }
        )
    )
    assert one.image_layout == "channels_last"
    found = one.inputs(torch.float32)[0].shape[1:]
    assert found == ((shape[-1], *shape[:-1]) if len(shape) > 2 else shape)


def test_a_test_part_that_is_in_the_pool_is_warned_of():
    given = arrays()
    given["x_test"][[1, 4]] = given["x_train"][[7, 0]]
    [warning] = Task(**given).warnings
    assert (
        "2 of 6 test samples are in the pool, too (test and pool samples 1 and 7, 4 and 0)"
        in warning
    )
    given["x_train"] = given["x_train"].round(1)
    given["x_test"] = given["x_train"][:6].astype(np.float32).astype(np.float64).round(1)
    assert "6 of 6 test samples are in the pool, too" in Task(**given).warnings[0]


def test_columns_in_units_of_their_own_are_warned_of():
    from sklearn.datasets import load_wine

    x = load_wine().data
    z = np.random.default_rng(0).normal(size=(len(x), 3))
    [warning] = Task(x, z).warnings
    assert (
        "The columns of x_train have very different scales: one has a standard deviation of 314,"
        " half have at most 0.8" in warning
    )
    assert "mean, std = x_train.mean(0), x_train.std(0)" in warning
    assert Task((x - x.mean(0)) / x.std(0), z).warnings == ()


@pytest.mark.parametrize(
    "change", [lambda x: x / 255, lambda x: 255 * x, lambda x: x + 5 * x.std()]
)
def test_a_test_part_on_another_scale_is_warned_of(change):
    given = arrays(n=100, m=60)
    assert Task(**given).warnings == ()
    given["x_test"] = change(given["x_test"])
    [warning] = Task(**given).warnings
    assert "The test part lies on another scale than the pool" in warning


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    "fill",
    [-1e4, -100.0, -np.inf, float(np.finfo(np.float16).min), float(np.finfo(np.float32).min)],
)
def test_masked_logits_are_recognised(fill, dtype):
    given = arrays(n=100, m=20, c=6)
    for key in ("teacher_logits_train", "teacher_logits_test"):
        z = given[key].astype(np.float32)
        with np.errstate(over="ignore"):  # in half precision the least float32 is minus infinity
            given[key] = np.where(z < np.sort(z, 1)[:, -3:].min(1, keepdims=True), fill, z).astype(
                dtype
            )
    masked = Task(**given)
    assert masked.fill is not None
    assert (masked.teacher_logits("train") <= masked.fill).sum() == 300
    assert (masked.teacher_logits("test") <= masked.fill).sum() == 60
    assert Task(**arrays(n=100, c=6)).fill is None
    given["teacher_logits_train"] = np.where(
        np.arange(600).reshape(100, 6) == 7, -1e4, given["teacher_logits_train"].clip(-9, 9)
    )
    given["teacher_logits_test"] = np.clip(given["teacher_logits_test"], -9, 9)
    assert Task(**given).fill is None  # one outlier is none


def test_whole_floats_booleans_columns_and_tensors_are_taken_for_what_they_are():
    given = arrays(c=2)
    one = Task(
        torch.as_tensor(given["x_train"]),
        torch.as_tensor(given["teacher_logits_train"][:, :1]).half(),
        given["y_train"] == 1,
    )
    assert one.n_logits == 1
    assert one.y_train.tolist() == given["y_train"].tolist()
    assert Task(**(arrays() | {"y_train": np.arange(12) % 3 + 0.0})).y_train.dtype == np.int64


def test_duplicate_inputs_with_different_targets_are_warned_of():
    given = arrays()
    given["x_train"][7] = given["x_train"][2]
    warning = Task(**given).warnings[0]
    assert (
        "1 pair(s) of pool inputs are identical but have different targets (samples 2 and 7)"
        in warning
    )
    given["teacher_logits_train"][7], given["y_train"][7] = (
        given["teacher_logits_train"][2],
        given["y_train"][2],
    )
    assert Task(**given).warnings == ()


def test_standardised_inputs_have_no_mean_and_one_scale():
    given = arrays()
    given["x_train"] = given["x_train"] * [1, 10, 1, 1] + 5
    pool, test = Task(**given).inputs(torch.float64)
    torch.testing.assert_close(pool.mean(0), torch.zeros(4, dtype=torch.float64))
    assert pool.square().mean() == pytest.approx(1)
    scale = (given["x_train"] - given["x_train"].mean(0)).std()
    np.testing.assert_allclose(test, (given["x_test"] - given["x_train"].mean(0)) / scale)
    plain, _ = Task(**given).inputs(torch.float64, standardise=False)
    np.testing.assert_array_equal(plain, given["x_train"])


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_images_come_channels_first(layout):
    given = arrays()
    images = np.random.default_rng(0).integers(0, 255, (18, 5, 6, 3)).astype(np.uint8)
    first = np.moveaxis(images, -1, 1)
    stored = images if layout == "channels_last" else first
    one = Task(**(given | {"x_train": stored[:12], "x_test": stored[12:], "image_layout": layout}))
    pool, test = one.inputs(torch.float32, standardise=False)
    np.testing.assert_array_equal(pool, first[:12])
    np.testing.assert_array_equal(test, first[12:])


@pytest.mark.parametrize("name", ["task.npz", "task.safetensors", "folder"])
@pytest.mark.parametrize(
    "problem", [task(), task(n_classes=2, epochs=[1, 2, 5]), task(labels=False, test=False)]
)
def test_what_is_saved_is_loaded_again(tmp_path, name, problem):
    problem.save(tmp_path / name)
    assert Task.load(tmp_path / name) == problem
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("key", [*arrays(), "teacher_epochs", "image_layout"])
def test_tasks_that_differ_in_one_value_are_not_equal_and_have_other_fingerprints(key):
    given = arrays() | {"teacher_epochs": np.array([1, 2]), "image_layout": "channels_last"}
    for part in ("train", "test"):
        logits = given[f"teacher_logits_{part}"]
        given[f"teacher_logits_{part}"] = np.stack([logits, 2 * logits])
    changes = {"teacher_epochs": np.array([1, 3]), "image_layout": "channels_first"}
    other = given | {key: changes.get(key, np.copy(given[key]))}
    if key not in changes:
        other[key][-1] = other[key][0]
    one, same, another = Task(**given), Task(**given), Task(**other)
    assert one == same
    assert one.fingerprint == same.fingerprint
    assert one != another
    assert one.fingerprint != another.fingerprint


def test_saving_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder should"):
        task().save(tmp_path / "file" / "task.npz")


def broken(tmp_path):
    good = tmp_path / "good.npz"
    task().save(good)
    raw = good.read_bytes()
    (tmp_path / "cut.npz").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "noise.npz").write_bytes(b"\x00" * 500)
    (tmp_path / "empty.npz").write_bytes(b"")
    corrupt = bytearray(raw)
    middle = len(raw) // 3
    corrupt[middle : middle + 64] = bytes(64)
    (tmp_path / "corrupt.npz").write_bytes(corrupt)
    np.savez(
        tmp_path / "pickled.npz",
        x_train=np.ones((3, 2)),
        teacher_logits_train=np.array([{}, {}, {}], object),
    )
    np.savez(tmp_path / "lacking.npz", x_train=np.ones((3, 2)))
    np.savez(tmp_path / "unknown.npz", **{**arrays(), "ytrain": 1})
    np.save(tmp_path / "single.npy", np.ones(3))
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    save_file({"x_train": torch.ones(3, 2)}, tmp_path / "lacking.safetensors")
    (tmp_path / "hollow").mkdir()
    (tmp_path / "table.csv").write_text("1,2")
    with zipfile.ZipFile(tmp_path / "foreign.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    return tmp_path


FILES = [
    ("missing.npz", "There is no task at"),
    ("goood.npz", "(did you mean good.npz?)"),
    ("cut.npz", "truncated, corrupted, or not what its name says"),
    ("noise.npz", "truncated, corrupted, or not what its name says"),
    ("empty.npz", "truncated, corrupted, or not what its name says"),
    ("corrupt.npz", "truncated, corrupted, or not what its name says"),
    ("pickled.npz", "holds pickled Python objects"),
    ("lacking.npz", "lacks teacher_logits_train"),
    ("unknown.npz", "has a key 'ytrain' that no task has (did you mean y_train?)"),
    ("foreign.npz", "has a key 'readme.txt' that no task has"),
    ("single.npy", "is a single array"),
    ("cut.safetensors", "truncated, corrupted, or not what its name says"),
    ("lacking.safetensors", "lacks teacher_logits_train"),
    ("hollow", "holds no .npy or .parquet files"),
    ("table.csv", "is a table as text; read it with pandas"),
]


@pytest.mark.parametrize(("name", "message"), FILES)
def test_a_bad_file_is_said_in_a_sentence(tmp_path, name, message):
    folder = broken(tmp_path)
    with pytest.raises(TaskError) as caught:
        Task.load(folder / name)
    assert message in str(caught.value)
    assert json.dumps(str(caught.value)).count("\\n") == 0


def test_arrays_that_cannot_be_written_to_are_read_without_a_word():
    x = np.random.default_rng(0).normal(size=(6, 2))
    x.setflags(write=False)
    pool, test = Task(
        x, np.arange(6.0) - 2, x_test=x, teacher_logits_test=np.arange(6.0) - 2
    ).inputs(torch.float64)
    assert torch.equal(pool, test)
