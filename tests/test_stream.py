"""Streams beside the exact path, from every kind of file, in this process and on a cluster."""

import dataclasses
import json
import re
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import tutelage as tu
from tutelage import cli
from tutelage.data.source import StreamTask, open_source
from tutelage.exceptions import SettingError, TaskError, TutelageError
from tutelage.solve import Landmarks
from tutelage.train import Training

GRID = ([0.3, 1.0], [1.0, 4.0])
AXES = dict(zip(("soft_ratio", "temperature"), GRID, strict=True))
KERNEL = tu.kernels.mlp(depth=1)


def stream(source, kernel, soft_ratio, temperature, **options):
    """In features, without a second pass, and without the dim of orderings."""
    plain = {"features": 4096, "dtype": "float32", "left_out": False}
    plain["scale"] = tu.Scale(scheduler=options.pop("scheduler", None))
    axes = {"soft_ratio": soft_ratio, "temperature": temperature}
    return tu.curves(source, kernel, **axes, **(plain | options)).isel(ordering=0)


def arrays(n=1600, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8)).astype(np.float32)
    truth = np.tanh(x @ np.random.default_rng(9).normal(size=(8, classes)))
    z = (3 * truth + rng.normal(size=truth.shape) / 2).astype(np.float32)
    y = truth.argmax(1) if classes > 1 else (truth[:, 0] > 0).astype(int)
    return x, z[:, 0] if classes == 1 else z, y


def folder_of(path, n=1600, classes=3, test=True, labels=True):
    path.mkdir()
    parts = {
        "train": arrays(n, classes),
        **({"test": arrays(400, classes, seed=1)} if test else {}),
    }
    for part, values in parts.items():
        for name, value in zip(("x", "teacher_logits", "y"), values, strict=True):
            if labels or name != "y":
                np.save(path / f"{name}_{part}.npy", value)
    return path


def changed(folder, name, part):
    np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[part])
    return folder


@pytest.mark.parametrize("classes", [1, 3])
def test_with_a_landmark_in_every_second_sample_it_is_near_the_exact_path(tmp_path, classes):
    folder = folder_of(tmp_path / "t", classes=classes)
    found = stream(open_source(folder), KERNEL, *GRID, sizes=[100, 1500], features=800)
    whole = tu.Task.load(folder)
    for n, near in ((100, 0.015), (1500, 0.03)):
        first = dataclasses.replace(
            whole,
            x_train=whole.x_train[:n],
            teacher_logits_train=whole.teacher_logits_train[:n],
            y_train=whole.y_train[:n],
        )
        exact = tu.curves(first, KERNEL, **AXES, sizes=[n], orderings=1).isel(ordering=0, n=0)
        for name in ("error", "transfer_risk"):
            assert abs(found[name].sel(n=n) - exact[name]).max() < near
        apart = found.expected_transfer_risk.sel(n=n) - exact.expected_transfer_risk
        assert abs(apart).max() < 0.04
        if n == 100:
            inefficiency = exact.data_inefficiency
            np.testing.assert_allclose(found.data_inefficiency.sel(n=n), inefficiency, rtol=0.04)
    assert found.attrs["apart_error"] < 0.03
    assert found.attrs["exact_at"] == 1520  # 80 of 1,600 choose the ridge
    assert np.isnan(found.data_inefficiency.sel(n=1500)).all()


def test_more_samples_than_features_make_no_peak(tmp_path):
    """Without a ridge the error at n = D would be far above that at n = D/2."""
    found = stream(
        open_source(folder_of(tmp_path / "t")),
        KERNEL,
        *GRID,
        sizes=[100, 200, 400, 1500],
        features=200,
    )
    error = found.error.sel(soft_ratio=1.0, temperature=1.0).values
    assert (np.diff(error) < 0.02).all()


def test_the_ridge_is_small_where_the_teacher_is_smooth_and_large_where_it_is_noise(tmp_path):
    folder, (x, _, _) = folder_of(tmp_path / "t"), arrays()
    noise = np.random.default_rng(5).normal(size=(1600, 3))
    for logits, ridge in ((x[:, :3], 0.01), (noise, 1.0)):
        np.save(folder / "teacher_logits_train.npy", logits.astype(np.float32))
        found = stream(open_source(folder), KERNEL, [1.0], [1.0], sizes=[1500], features=200)
        assert found.ridge.sel(n=1500).item() == ridge


def test_chunks_do_not_show(tmp_path, monkeypatch):
    source = open_source(folder_of(tmp_path / "t"))
    whole = stream(source, KERNEL, *GRID, sizes=[700], features=100)
    monkeypatch.setattr(sys.modules["tutelage.solve.in_features"], "CHUNK", 123)
    for name, values in stream(source, KERNEL, *GRID, sizes=[700], features=100).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-5, atol=3e-3, err_msg=name)


def test_zarr_parquet_and_a_cluster_give_what_a_folder_gives(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet
    import zarr
    from distributed import Client, LocalCluster

    folder = folder_of(tmp_path / "t", test=False)
    whole = stream(open_source(folder), KERNEL, *GRID, sizes=[700], features=100)
    x, z, y = (
        np.load(folder / f"{name}.npy") for name in ("x_train", "teacher_logits_train", "y_train")
    )
    table = pyarrow.table({"x_train": list(x), "teacher_logits_train": list(z), "y_train": y})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=333)
    sources = [tmp_path / "t.parquet"]
    for name, value in (("x_train", x), ("teacher_logits_train", z), ("y_train", y)):
        zarr.save_array(str(tmp_path / "t.zarr" / name), value)
    sources.append(tmp_path / "t.zarr")
    for path in sources:
        found = stream(open_source(path), KERNEL, *GRID, sizes=[700], features=100)
        for name, values in found.items():
            np.testing.assert_allclose(values, whole[name], atol=1e-6, err_msg=f"{path} {name}")
    monkeypatch.setattr(
        sys.modules["tutelage.solve.in_features"], "CHUNK", 123
    )  # so that sums of many are added up
    with (
        warnings.catch_warnings(action="ignore"),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as running,
        Client(running, set_as_default=False),
    ):
        found = stream(
            open_source(folder),
            KERNEL,
            *GRID,
            sizes=[700],
            features=100,
            scheduler=running.scheduler_address,
        )
    for name, values in found.items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-5, atol=3e-3, err_msg=name)


def test_without_labels_only_the_teacher_is_followed(tmp_path):
    found = stream(
        open_source(folder_of(tmp_path / "t", labels=False)),
        KERNEL,
        *GRID,
        sizes=[700],
        features=100,
    )
    assert found.soft_ratio.values.tolist() == [1.0]
    assert "error" not in found


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_images_are_read_as_they_are_laid_out(tmp_path, layout):
    (tmp_path / "t").mkdir()
    images = (
        np.random.default_rng(0).normal(size=(300, 2, 4, 3)).astype("float32")
    )  # channels first
    task = {
        "x_train": images,
        "teacher_logits_train": images[:, 0, 0],
        "y_train": images[:, 0, 0].argmax(1),
    }
    if layout == "channels_last":
        task["x_train"] = np.moveaxis(images, 1, -1)
    else:
        task["image_layout"] = np.array(layout)
    task["teacher_logits_train"] = np.ascontiguousarray(task["teacher_logits_train"])
    for name, value in task.items():
        np.save(tmp_path / "t" / f"{name}.npy", value)
    source = open_source(tmp_path / "t")
    np.testing.assert_array_equal(source.rows(3, 7)[0], images[3:7])
    found = stream(source, tu.kernels.cnn(depth=1), *GRID, sizes=[200], features=100)
    assert np.isfinite(found.error).all()


def test_a_test_part_without_labels_tells_of_agreement(tmp_path):
    folder = folder_of(tmp_path / "t")
    (folder / "y_test.npy").unlink()
    with pytest.raises(TaskError, match="the test part has none \\(y_test\\)"):
        stream(open_source(folder), KERNEL, *GRID, sizes=[700], features=100)
    found = stream(open_source(folder), KERNEL, [1.0], [1.0], sizes=[700], features=100)
    assert "error" not in found
    assert found.attrs["apart_transfer_risk"] < 0.05
    whole = stream(
        open_source(folder_of(tmp_path / "u")), KERNEL, [1.0], [1.0], sizes=[700], features=100
    )
    np.testing.assert_allclose(found.transfer_risk, whole.transfer_risk, atol=1e-9)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (
            50,
            r"x_train holds 1 values that are NaN or infinite \(first at index \[50, 2\]\)",
        ),  # a landmark
        (1200, r"\(first at index \[1200, 2\]\)"),
        (1590, r"\(first at index \[1590, 2\]\)"),  # kept apart
    ],
)
def test_an_input_that_is_no_number_is_named(tmp_path, monkeypatch, number, message):
    monkeypatch.setattr(sys.modules["tutelage.solve.in_features"], "CHUNK", 500)
    monkeypatch.setattr(sys.modules["tutelage._stream"], "EXACT", (200, 200))
    folder = folder_of(tmp_path / "t")
    x = np.load(folder / "x_train.npy")
    x[number, 2] = np.nan
    np.save(folder / "x_train.npy", x)
    with pytest.raises(TutelageError, match=message):
        stream(open_source(folder), KERNEL, *GRID, sizes=[700], features=100)


@pytest.mark.parametrize("test", [True, False])
def test_a_held_out_sample_is_named_by_its_number_in_the_file(tmp_path, test):
    folder = folder_of(tmp_path / "t", test=test)
    name = "x_test" if test else "x_train"
    x = np.load(folder / f"{name}.npy")
    x[-3, 1] = np.inf
    np.save(folder / f"{name}.npy", x)
    with pytest.raises(
        TaskError, match=rf"{name} holds 1 values .*\(first at index \[{len(x) - 3}, 1\]\)"
    ):
        stream(open_source(folder), KERNEL, *GRID, sizes=[700], features=100)


def test_samples_that_are_held_out_too_are_counted_and_said(tmp_path, capsys):
    folder = folder_of(tmp_path / "t", test=False)
    x = np.load(folder / "x_train.npy")
    assert (
        stream(open_source(folder), KERNEL, *GRID, sizes=[700], features=100).attrs["in_test_too"]
        == 0
    )
    x[200:210] = x[-10:]
    np.save(folder / "x_train.npy", x)
    made = tu.plan(open_source(folder), soft_ratio=[1.0], temperature=[1.0], features=100)
    assert "10 samples of the pool are held out, too" in " ".join(made.warnings)


def test_samples_that_lie_in_an_order_are_said(tmp_path):
    folder = folder_of(tmp_path / "t")
    by_class = np.argsort(np.load(folder / "y_train.npy"))
    grid = {"soft_ratio": [1.0], "temperature": [1.0], "features": 100}
    plain = tu.plan(open_source(folder), **grid)
    for name in ("x_train", "teacher_logits_train", "y_train"):
        changed(folder, name, by_class)
    given = tu.plan(open_source(folder), **grid)
    assert "they do not lie in a random order" in " ".join(given.warnings)
    assert "random order" not in " ".join(plain.warnings)


def test_copies_are_not_left_out_against_each_other():
    """Labels that are noise cannot be predicted, unless a copy of the sample tells."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 6))
    y = rng.integers(0, 2, 150)
    z = rng.normal(size=(150, 2)) * 3
    alone = tu.Task(np.concatenate([x, x[:60]]), np.concatenate([z, z[:60]]), np.r_[y, y[:60]])
    made = tu.plan(alone, student=KERNEL, soft_ratio=[0.1], temperature=[1.0], features=80)
    left_out = made.curves.decision_loo.squeeze().values
    known = left_out >= 0
    # Known are those whose copy is held out or kept apart.
    assert known[np.r_[0:60, 150:210]].mean() < 0.3
    assert known.sum() > 60
    assert 0.3 < float(made.curves.error_loo.squeeze()) < 0.7
    assert any("60 of 210 pool samples are copies of others" in w for w in made.warnings)


def test_a_plan_in_features_is_read_back_and_verified(tmp_path, capsys):
    import pyarrow as pa
    import pyarrow.parquet

    folder = folder_of(tmp_path / "t", n=400)
    small = ["--soft-ratio", "0.3,1", "--temperature", "1", "--features", "60"]
    out = tmp_path / "o"
    assert cli.run([str(a) for a in ("plan", folder, *small, "--out", out)]) == 0
    made = tu.Plan.load(out)
    assert made.made_for.features == 60
    verify = ["verify", out, "--seeds", "1", "--epochs", "1", "--learning-rate", "0.01", "--quiet"]
    assert cli.run([str(a) for a in verify]) == 0
    x, z, y = arrays(400)
    table = {"x_train": x.tolist(), "teacher_logits_train": z.tolist(), "y_train": y.tolist()}
    pyarrow.parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    plan = ["plan", tmp_path / "t.parquet", *small, "--out", tmp_path / "p"]
    assert cli.run([str(a) for a in plan]) == 0
    again = tu.Plan.load(tmp_path / "p")
    assert again == tu.Plan.load(tmp_path / "p", task=open_source(tmp_path / "t.parquet"))
    assert again.made_for.features == 60
    capsys.readouterr()
    assert cli.run(["verify", str(tmp_path / "p")]) == 2
    assert "real students are trained on a task in memory" in capsys.readouterr().err


def test_a_test_part_without_logits_is_not_dropped_in_silence(tmp_path):
    folder = folder_of(tmp_path / "t")
    (folder / "teacher_logits_test.npy").unlink()
    with pytest.raises(TaskError, match="has x_test and no teacher_logits_test; the test part of"):
        tu.curves(open_source(folder), KERNEL, features=50)


def test_features_that_are_too_few_are_warned_of(tmp_path):
    folder = folder_of(tmp_path / "t")
    grid = {"soft_ratio": [0.3], "temperature": [1.0]}
    few, many = (tu.plan(open_source(folder), **grid, features=d) for d in (4, 900))
    assert "points off those of the exact path. Give more features" in " ".join(few.warnings)
    assert "Give more features" not in " ".join(many.warnings)


def variants():
    """Ways to store the same arrays, each of which a task file may hold."""
    return {
        "big-endian": lambda x, z, y: (x.astype(">f8"), z.astype(">f4"), y.astype(">i8")),
        "float16": lambda x, z, y: (x, z.astype("f2"), y.astype("u1")),
        "labels in a column": lambda x, z, y: (x, z, y[:, None]),
        "Fortran order": lambda x, z, y: (np.asfortranarray(x), np.asfortranarray(z), y),
    }


@pytest.mark.parametrize("name", variants())
def test_streams_read_what_plans_read(tmp_path, name):
    folder, (x, z, y) = folder_of(tmp_path / "t"), arrays()
    z = z.astype(np.float16).astype(np.float32)
    np.save(folder / "teacher_logits_train.npy", z)
    expected = stream(open_source(folder), KERNEL, *GRID, sizes=[700], features=100)
    for key, value in zip(
        ("x_train", "teacher_logits_train", "y_train"), variants()[name](x, z, y), strict=True
    ):
        np.save(folder / f"{key}.npy", value)
    found = stream(open_source(folder), KERNEL, *GRID, sizes=[700], features=100)
    for variable, values in found.items():
        np.testing.assert_allclose(values, expected[variable], atol=1e-6, err_msg=variable)


def test_parquet_columns_of_every_kind_of_list_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    x, z, y = arrays(300)
    z[:, 0] += 1
    flat = pa.FixedSizeListArray.from_arrays(x.ravel(), 8)
    columns = {
        "lists": (pa.array(list(x)), pa.array(list(z)), pa.array(y)),
        "fixed, one column": (flat, pa.array(list(z[:, :1])), pa.array((y > 0).astype(int))),
        "nested": (
            pa.array(x.reshape(300, 2, 4).tolist()),
            pa.array(list(z)),
            pa.array([[int(v)] for v in y]),
        ),
    }
    for name, (inputs, logits, labels) in columns.items():
        table = pa.table({"x_train": inputs, "teacher_logits_train": logits, "y_train": labels})
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=77)
        rows = open_source(tmp_path / f"{name}.parquet").rows(70, 160)
        np.testing.assert_array_equal(rows[0].reshape(90, 8), x[70:160], err_msg=name)
        np.testing.assert_array_equal(
            rows[1], (z[:, 0] if name.startswith("fixed") else z)[70:160].astype(rows[1].dtype)
        )
        np.testing.assert_array_equal(rows[2], ((y > 0) if name.startswith("fixed") else y)[70:160])


def test_a_column_of_hugging_faces_arrays_is_read(tmp_path):
    hugging = pytest.importorskip("datasets")
    x, z, y = arrays(300)
    features = hugging.Features(
        x_train=hugging.Array2D((2, 4), "float32"),
        teacher_logits_train=hugging.Sequence(hugging.Value("float32")),
        y_train=hugging.Value("int64"),
    )
    rows = {"x_train": list(x.reshape(300, 2, 4)), "teacher_logits_train": list(z), "y_train": y}
    hugging.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "t.parquet")
    found = open_source(tmp_path / "t.parquet").rows(5, 9)
    np.testing.assert_array_equal(found[0], x.reshape(300, 2, 4)[5:9])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": lambda y: np.eye(3)[y]}, "y_train is one-hot, shape"),
        (
            {"y_train": lambda y: np.array(list("abc"))[y]},
            "y_train holds strings; expected real numbers",
        ),
        ({"y_train": lambda y: y + 0.5}, "which is not a whole number"),
        (
            {"y_train": lambda y: y + (np.arange(1600) == 1300) * 7},
            r"\(first at index 1300\), which is beyond the teacher's 3",
        ),
        (
            {"teacher_logits_train": lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)},
            "holds probabilities",
        ),
        (
            {"teacher_logits_train": lambda z: z[None].repeat(1600, 0)[:, :4]},
            "teacher_logits_train has shape",
        ),
        ({"teacher_logits_train": lambda z: z * 1e8}, "expected raw scores within"),
        ({"x_train": lambda x: x[:, 0]}, r"expected \(n, ...\), one row a sample"),
        ({"x_train": lambda x: x + 0j}, "x_train holds complex numbers"),
    ],
)
def test_what_a_plan_refuses_a_stream_refuses_in_the_same_words(tmp_path, change, message):
    folder = folder_of(tmp_path / "t", test=False)
    for name, make in change.items():
        np.save(folder / f"{name}.npy", make(np.load(folder / f"{name}.npy")))
    with pytest.raises(TaskError, match=message):
        stream(open_source(folder), KERNEL, *GRID, sizes=[700], features=100)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "y_train",
            lambda y: [*y[:-1].tolist(), None],
            r"1 of the stream's last 30 samples are not labelled \(-100\), and without a test part",
        ),
        ("x_train", lambda x: [*x[:-1].tolist(), None], "x_train has no value in sample 299"),
        (
            "x_train",
            lambda x: [*x[:-1].tolist(), [1.0] * 7 + [None]],
            "x_train has no value in sample 299",
        ),
        ("x_train", lambda x: [*x[:-1].tolist(), [1.0]], "x_train holds lists of 1 to 8 values"),
    ],
)
def test_holes_in_parquet_are_said(tmp_path, column, values, message):
    import pyarrow as pa
    import pyarrow.parquet

    x, z, y = arrays(300)
    table = {"x_train": x.tolist(), "teacher_logits_train": z.tolist(), "y_train": y.tolist()}
    table[column] = values({"x_train": x, "y_train": y}[column])
    pyarrow.parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(TaskError, match=message):
        stream(open_source(tmp_path / "t.parquet"), KERNEL, *GRID, sizes=[200], features=100)


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(9, 4)
        self.out = torch.nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask[..., None]
        return self.out((self.embed(input_ids) * mask).sum(1) / mask.sum(1))


def sentences(path, n=9000, tested=200):
    """Token ids of lengths that grow from chunk to chunk, and labels that are text."""
    import pyarrow as pa
    import pyarrow.parquet

    rng = np.random.default_rng(0)
    path.mkdir()
    for part, count in (("train", n), ("test", tested)):
        ids = [rng.integers(1, 9, size=2 + (k > 0.94 * n)).tolist() for k in range(count)]
        y = np.array([np.mean(i) > 4 for i in ids])
        z = np.stack([-2.0 * y, 2.0 * y], 1) + rng.normal(size=(count, 2))
        table = {"input_ids": ids, "label": [["=no", "yes"][k] for k in y.astype(int)]}
        table |= {"teacher_logits": z.tolist(), "text": [" ".join(map(str, i)) for i in ids]}
        pyarrow.parquet.write_table(pa.table(table), path / f"{part}.parquet", row_group_size=1000)
    return path


def test_a_stream_of_tokens_is_the_task_in_parts(tmp_path):
    source = open_source(sentences(tmp_path / "t"))
    task, known = tu.Task.load(tmp_path / "t"), StreamTask(source, 10)
    assert known.input_shape == task.input_shape == {"attention_mask": (3,), "input_ids": (3,)}
    for start, stop in ((0, 50), (8490, 8600)):
        x, z, y = source.rows(start, stop)
        for name, array in x.items():
            np.testing.assert_array_equal(array, task.x_train[name][start:stop])
        np.testing.assert_array_equal(z, task.teacher_logits_train[start:stop])
        np.testing.assert_array_equal(y, task.y_train[start:stop])
    np.testing.assert_array_equal(known.test[0]["input_ids"], task.x_test["input_ids"])
    assert known.class_names == task.class_names == ("=no", "yes")
    assert known.text(8600) == task.text(8600)
    assert known.image(0) is None
    assert known.notes == task.notes


def test_a_stream_of_tokens_is_planned_for(tmp_path):
    given = {"labels": "label", "x": ["input_ids"]}
    source = open_source(sentences(tmp_path / "t", n=700), columns=given)
    student = tu.lab.TorchStudent(lambda *_: Words(), "words", epochs=4, training=Training(4, 0.5))
    found = tu.plan(source, student=student, soft_ratio=[0.5, 1.0], temperature=[1.0], sizes=[600],
                    features=150)  # fmt: skip
    assert found.recommended.error < 0.1
    assert "Labels are text" in found.notes[0]
    found.save(tmp_path / "o")
    assert found.task["columns"] == given
    again = tu.Plan.load(tmp_path / "o")
    assert again.recommended == found.recommended
    assert "=no" in (tmp_path / "o" / "report.html").read_text(encoding="utf-8")


def test_tokens_that_are_missing_are_said(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    ids = [[1, 2], *([[1, 2, 3]] * 8300), None]
    table = pa.table({"input_ids": ids, "teacher_logits": [[-1.0, 3.0]] * len(ids)})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    with pytest.raises(TaskError, match=r"input_ids of .* has no value in sample 8301; expected"):
        source.rows(8200, 8302)


def test_landmarks_are_exact_at_themselves():
    x = torch.randn(60, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    marks = Landmarks.of(KERNEL, x[:30], torch.float64, torch.device("cpu"))
    phi = marks(x)
    torch.testing.assert_close(phi[:30] @ phi.mT, KERNEL(x[:30], x), rtol=1e-6, atol=1e-6)
    assert marks.left(x, phi)[:30].max() < 1e-6
    assert marks.left(x, phi)[30:].min() > 0


def test_a_pool_of_any_size_is_planned_for_with_a_report(tmp_path, capsys):
    folder = folder_of(tmp_path / "t")
    given = ["--soft-ratio", "0.3,1", "--temperature", "1,4", "--sizes", "50,700"]
    plan = ["plan", folder, "--features", "100", *given, "--out", tmp_path / "o"]
    assert cli.run([str(a) for a in plan]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert {p.name for p in (tmp_path / "o").iterdir()} == {
        "plan.json", "curves.nc", "report.html", "suspect_labels.csv",
    }  # fmt: skip
    document = json.loads((tmp_path / "o" / "plan.json").read_text())
    found = tu.load_curves(tmp_path / "o" / "curves.nc")
    assert found.attrs["features"] == 100
    assert found.n.values.tolist() == [50, 700, 1520]
    assert f"error by at most {100 * found.attrs['apart_error']:.2f} and" in out
    best = document["recommended"]
    at = found.error.isel(ordering=0, n=-1)
    assert best["error"] == pytest.approx(
        float(at.sel(soft_ratio=best["soft_ratio"], temperature=best["temperature"]))
    )
    assert best["error"] - float(at.min()) <= best["error_se"]
    assert best["risk_bound"] is None
    assert "in features" in found.risk_bound.attrs["lacking"]
    lists = ("label_corrects_teacher", "teacher_corrects_label", "undecided")
    listed = sorted(i for name in lists for i in document["teacher"][name])
    _, z, y = arrays()
    assert listed == np.flatnonzero(z.argmax(1) != y).tolist()
    assert sum(len(document["teacher"][name]) for name in lists[:2]) > 0.5 * len(listed)
    assert "not known" in (tmp_path / "o" / "report.html").read_text()


def test_the_earlier_name_of_a_stream_says_the_new_one(tmp_path, capsys):
    folder = folder_of(tmp_path / "t")
    given = ["--soft-ratio", "0.3,1", "--temperature", "1", "--features", "100"]
    stream = ["stream", folder, *given, "--out", tmp_path / "o"]
    assert cli.run([str(a) for a in stream]) == 0
    assert "tutelage stream is tutelage plan --features 100 now" in capsys.readouterr().err
    assert (tmp_path / "o" / "report.html").exists()
    with pytest.warns(FutureWarning, match=r"tutelage\.curves\(source, student, features=D\) now"):
        found = tu.stream(open_source(folder), KERNEL, [0.3, 1.0], [1.0], features=100)
    assert found.error.dims == ("soft_ratio", "temperature", "n")


def test_a_task_in_memory_is_planned_for_in_features(tmp_path):
    x, z, y = arrays(600)
    test = dict(zip(("x_test", "teacher_logits_test", "y_test"), arrays(300, seed=1), strict=True))
    whole = tu.Task(x, z, y, **test)
    for known, held_out in ((whole, 300), (tu.Task(x, z, y), 60)):
        made = tu.plan(known, student=KERNEL, **AXES, features=200)
        assert made.curves.attrs["n_test"] == held_out
        assert made.curves.decision_loo.sizes["pool_sample"] == 600
        assert made.recommended.error < 0.2
        exact = tu.plan(known, student=KERNEL, **AXES)
        assert abs(made.recommended.error - exact.recommended.error) < 0.05
    loo = abs(made.curves.error_loo - exact.curves.error_loo)
    assert float(loo.max()) < 0.05


def test_epochs_of_a_teacher_are_told_apart_in_features():
    x, z, y = arrays(600)
    rng = np.random.default_rng(0)
    worse = z + rng.normal(size=z.shape).astype(np.float32) * 3
    known = tu.Task(x, np.stack([worse, z]), y, teacher_epochs=np.array([1, 9]))
    made = tu.plan(known, student=KERNEL, **AXES, features=200)
    assert made.teacher.recommended_epoch == 9


def test_a_network_of_finite_training_time_is_planned_for_in_features():
    """(8.1) in features, beside the exact path from the same start."""
    x, z, y = arrays(500)
    test = dict(zip(("x_test", "teacher_logits_test", "y_test"), arrays(400, seed=1), strict=True))
    known = tu.Task(x, z, y, **test)
    student = tu.lab.student(
        "mlp:width=16,depth=1", training=tu.lab.Training(5, 0.05, 32), epochs=10
    )
    found = tu.curves(known, student, **AXES, features=300, sizes=[300])
    assert found.attrs["apart_error"] < 0.02
    assert found.attrs["finite"] == 1
    plain = tu.curves(known, student, **AXES, orderings=1)
    last = (v.error.isel(n=-1).drop_vars("n") for v in (found, plain))
    assert float(abs(next(last) - next(last)).max()) < 0.1


def test_what_it_will_cost_is_said_first(tmp_path, monkeypatch):
    source, said = open_source(folder_of(tmp_path / "t")), []

    @contextmanager
    def listen(name, total):
        said.append((name, total))
        yield lambda steps: None

    stream(source, KERNEL, *GRID, sizes=[700], features=100, progress=listen)
    assert re.fullmatch(
        r"1,520 samples, 100 features: stream path, about \d+ s, 13\.\d MB of memory", said[0][0]
    )
    assert said[0][1] == 0
    assert said[-1] == ("stream of 1,520 samples", 1520)
    monkeypatch.setattr(sys.modules["tutelage._stream"], "free_memory", lambda: 1.65e7)
    with pytest.raises(SettingError) as caught:
        stream(source, KERNEL, *GRID, sizes=[700], features=100)
    assert re.fullmatch(
        r"A stream in 100 features needs 13\.\d MB of memory, and 13\.2 MB may be used here\. "
        r"Give fewer features \(about \d\d fit\)\.",
        str(caught.value),
    )
    monkeypatch.setattr(sys.modules["tutelage._stream"], "free_memory", lambda: 1e6)
    with pytest.raises(
        SettingError, match=r"0\.8 MB may be used here\. Fewer features would not fit either\."
    ):
        stream(source, KERNEL, *GRID, sizes=[700], features=100)


@pytest.mark.parametrize("outputs", ["mean", 0])
def test_a_network_of_torch_is_streamed_by_its_kernel(tmp_path, outputs):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.ReLU(), torch.nn.Linear(256, 3))
    kernel = tu.kernels.empirical(network, outputs=outputs)
    found = stream(
        open_source(folder_of(tmp_path / "t")), kernel, *GRID, sizes=[400], pool=400, features=400
    )
    assert found.attrs["exact_at"] == 400
    assert found.attrs["apart_error"] < 0.01  # every sample is a landmark


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: open_source(p / "none"), "There is no pool at"),
        (
            lambda p: open_source(folder_of(p / "t") / "x_train.npy"),
            "cannot be streamed; expected a folder of .npy files",
        ),
        (open_source, "has no x_train; a stream needs x_train and teacher_logits_train"),
        (
            lambda p: open_source(folder_of(p / "t", n=50)),
            "holds 50 samples; a stream has 100 or more.",
        ),
        (
            lambda p: open_source(changed(folder_of(p / "t"), "y_train", slice(0, 9))),
            "teacher_logits_train 1,600, y_train 9)",
        ),
        (
            lambda p: open_source(changed(folder_of(p / "t"), "x_test", np.s_[:, :5])),
            "a sample of x_test has shape (5,), and one of x_train (8,); they have to be alike.",
        ),
    ],
)
def test_what_cannot_be_streamed_is_said(tmp_path, make, message):
    with pytest.raises(TaskError) as caught:
        make(tmp_path)
    assert message in str(caught.value)


def test_too_many_features_are_refused(tmp_path):
    with pytest.raises(SettingError, match="2000 features were asked for; expected 2 … 1,520"):
        stream(open_source(folder_of(tmp_path / "t")), KERNEL, *GRID, features=2000)
