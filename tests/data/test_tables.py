"""Tables: every kind gives the same task, and what is wrong with one is said."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tu
from tutelage import cli
from tutelage.data.tables import Parquet
from tutelage.exceptions import TaskError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Z = RNG.normal(size=(40, 4)).astype(np.float32)
Y = Z.argmax(1)
TASK = tu.Task(X[:30], Z[:30], Y[:30], X[30:], Z[30:], Y[30:])


def rows(part=slice(None), **others):
    return {
        "x": list(X[part]), "labels": Y[part], "teacher_logits": list(Z[part]),
        "id": [f"n{k}" for k in range(40)][part],
    } | others  # fmt: skip


POOL, TEST = slice(30), slice(30, None)


def hub(part, **others):
    import datasets

    found = {k: [np.asarray(v).tolist() for v in vs] for k, vs in rows(part, **others).items()}
    return datasets.Dataset.from_dict(found)


def write(path, part=POOL, **others):
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {k: list(v) for k, v in rows(part, **others).items() if v is not None}
    pq.write_table(pa.table(found), path, row_group_size=7)
    return path


def test_frames_data_sets_and_loaders_of_the_same_rows_are_the_same_task():
    import datasets
    import polars

    frames = [pd.DataFrame(rows(part)) for part in (POOL, TEST)]
    mappings = [{"x": X[p], "label": Y[p], "teacher_logits": torch.tensor(Z[p])}
                for p in (POOL, TEST)]  # fmt: skip
    tensors = [TensorDataset(*map(torch.tensor, (X[p], Y[p], Z[p]))) for p in (POOL, TEST)]
    named = [
        [{"x": X[i], "y": Y[i], "teacher_logits": Z[i]} for i in range(40)][p] for p in (POOL, TEST)
    ]
    both = datasets.DatasetDict(train=hub(POOL), validation=hub(TEST))
    found = [
        tu.Task.of(*frames),
        tu.Task.of(*map(polars.from_pandas, frames)),
        tu.Task.of(*map(pa.Table.from_pandas, frames)),
        tu.Task.of(*mappings),
        tu.Task.of(*(DataLoader(data, batch_size=7) for data in tensors)),
        tu.Task.of(*(DataLoader(data, batch_size=7) for data in named)),
        tu.Task.of(both),
        tu.Task.of(hub(POOL), hub(TEST)),
    ]
    assert all(task == TASK for task in found)


def test_rows_that_were_chosen_of_a_data_set_are_those_that_are_read():
    chosen = hub(slice(None)).shuffle(seed=0).select(range(25))
    found = tu.Task.of(chosen)
    assert np.array_equal(found.y_train, chosen["labels"])
    assert np.array_equal(found.x_train, np.array(chosen["x"]))


def test_a_file_a_folder_splits_and_what_save_to_disk_wrote(tmp_path):
    import datasets

    pool = tu.Task(X[:30], Z[:30], Y[:30])
    assert tu.Task.load(write(tmp_path / "a.parquet")) == pool
    write(tmp_path / "two" / "0.parquet", slice(11))
    write(tmp_path / "two" / "1.parquet", slice(11, 30))
    assert tu.Task.load(tmp_path / "two") == pool
    for k, (name, part) in enumerate([("train", POOL), ("test", TEST)]):
        write(tmp_path / "hub" / f"{name}-00000-of-00001.parquet", part)
        write(tmp_path / "deep" / "data" / f"{name}-0000{k}-of-00001.parquet", part)
        write(tmp_path / "split" / name / "0.parquet", part)
        hub(part).save_to_disk(tmp_path / "saved" / name)
    datasets.DatasetDict(train=hub(POOL), test=hub(TEST)).save_to_disk(tmp_path / "dict")
    for name in ("hub", "deep", "split", "saved", "dict"):
        assert tu.Task.load(tmp_path / name) == TASK, name
    assert tu.Task.load(tmp_path / "dict").source == str(tmp_path / "dict")


def test_row_groups_are_read_where_they_begin_and_end(tmp_path):
    paths = (
        write(tmp_path / "0.parquet", slice(20)), write(tmp_path / "1.parquet", slice(20, 40)),
    )  # fmt: skip
    table = Parquet(paths)
    assert table.n == 40
    for start, stop in [(0, 40), (0, 1), (6, 8), (19, 21), (13, 33), (39, 40), (5, 5)]:
        assert table.arrow(["labels"], start, stop)["labels"].to_pylist() == Y[start:stop].tolist()


def test_token_ids_are_padded_and_go_by_name(tmp_path):
    ids = [list(RNG.integers(1, 9, size=1 + k % 5)) for k in range(40)]
    found = tu.Task.of(
        *(pd.DataFrame(rows(p, x=None, input_ids=ids[p])).drop(columns="x") for p in (POOL, TEST))
    )
    assert found.input_shape == {"attention_mask": (5,), "input_ids": (5,)}
    assert np.array_equal(found.x_train["attention_mask"].sum(1), [len(i) for i in ids[:30]])
    assert found.x_train["input_ids"][3].tolist() == [*ids[3], 0]
    assert found.notes[0].startswith("Token ids of different lengths were padded with 0 to 5")
    assert "An attention_mask was made" in found.notes[1]


def test_parts_that_are_padded_to_different_lengths_get_one():
    ids = [[1] * (2 + (k >= 30)) for k in range(40)]
    masks = [[1] * len(i) for i in ids]
    frames = [
        pd.DataFrame(rows(p, input_ids=ids[p], attention_mask=masks[p])).drop(columns="x")
        for p in (POOL, TEST)
    ]
    frames = [f.assign(k=list(X[p])) for f, p in zip(frames, (POOL, TEST), strict=True)]
    found = tu.Task.of(*frames)
    assert found.input_shape == {"attention_mask": (3,), "input_ids": (3,), "k": (3,)}
    assert not found.x_train["attention_mask"][:, 2].any()


def encoded(images, kind="PNG"):
    from PIL import Image

    found = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, kind)
        found.append(file.getvalue())
    return found


def test_images_are_decoded(tmp_path):
    import datasets

    grey = RNG.integers(0, 255, size=(30, 6, 5), dtype=np.uint8)
    colour = RNG.integers(0, 255, size=(30, 6, 5, 3), dtype=np.uint8)
    for images, shape in ((grey, (6, 5, 1)), (colour, (6, 5, 3))):
        files = encoded(images)
        write(tmp_path / "t.parquet", x=files)
        found = tu.Task.load(tmp_path / "t.parquet")
        assert found.input_shape == shape
        assert np.array_equal(found.x_train.reshape(images.shape), images)
        records = {k: list(v) for k, v in rows(POOL).items() if k != "x"}
        records = {k: [np.asarray(v).tolist() for v in vs] for k, vs in records.items()}
        data = datasets.Dataset.from_dict(records | {"image": [{"bytes": f} for f in files]})
        data.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "saved")
        assert np.array_equal(tu.Task.load(tmp_path / "saved").x_train, found.x_train)


def test_images_with_their_channels_first_are_seen_to_be_so():
    pixels = RNG.normal(size=(30, 3, 8, 8)).astype(np.float32)
    found = tu.Task.of(rows(POOL) | {"x": pixels})
    assert found.image_layout == "channels_first"
    assert "channels first" in found.notes[0]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_log_probabilities_are_logits(kind):
    told = np.log(np.exp(Z) / np.exp(Z).sum(1, keepdims=True)).astype(kind)
    data = {k: v for k, v in rows(POOL).items() if k != "teacher_logits"}
    found = tu.Task.of(data | {"teacher_log_probs": told[:30]})
    assert np.allclose(found.teacher_logits_train, told[:30], atol=1e-6)


def test_what_the_largest_leave_is_spread_evenly():
    told = torch.log_softmax(torch.tensor(Z[:30]), -1)
    values, indices = told.topk(2)
    data = {k: v for k, v in rows(POOL).items() if k != "teacher_logits"}
    top = {"teacher_indices": indices.numpy(), "teacher_values": values.numpy()}
    found = tu.Task.of(data | top, classes=4)
    p = np.exp(found.teacher_logits_train)
    assert np.allclose(p.sum(1), 1, atol=1e-6)
    assert np.allclose(np.take_along_axis(p, indices.numpy(), 1), values.exp())
    assert np.array_equal(p.argmax(1), told.argmax(1))
    assert "Of the teacher's 4 classes the largest are stored" in found.notes[0]
    assert tu.Task.of(data | top).n_classes == 4  # counted
    assert tu.Task.of(data | top, classes=7).n_classes == 7


def test_no_class_that_was_left_out_stands_above_one_that_was_kept():
    data = {k: v for k, v in rows(POOL).items() if k != "teacher_logits"}
    indices, values = np.tile([[2, 0]], (30, 1)), np.log(np.tile([[0.2, 0.1]], (30, 1)))
    indices[::2] = [[0, 2]]
    found = tu.Task.of(data | {"teacher_indices": indices, "teacher_values": values}, classes=4)
    p = np.exp(found.teacher_logits_train)
    assert np.allclose(p[0], [0.2, 0.1, 0.1, 0.1])  # the rest would be 0.35 each
    assert np.allclose(p[1], [0.1, 0.1, 0.2, 0.1])


def test_labels_that_are_text_are_numbered_in_sorted_order():
    words = np.array(["pear", "apple", "fig", "kiwi"])
    found = tu.Task.of(
        pd.DataFrame(rows(POOL, labels=words[Y[:30]])),
        pd.DataFrame(rows(TEST, labels=pd.Categorical(words[Y[30:]]))),
    )
    order = np.sort(words)
    assert np.array_equal(order[found.y_train], words[Y[:30]])
    assert np.array_equal(order[found.y_test], words[Y[30:]])
    said = "Labels are text, and were numbered in sorted order: 0 apple, 1 fig, 2 kiwi, 3 pear."
    assert found.notes == (said,)


def test_the_report_shows_samples_by_their_text(tmp_path):
    words = np.array(["apple", "fig", "<kiwi>", "pear"])
    wrong = np.where(np.arange(30) < 5, (Y[:30] + 1) % 4, Y[:30])
    texts = ["<script>alert(1)</script> & more", "a" + " long" * 100, *["short"] * 28]
    frame = pd.DataFrame(rows(POOL, labels=words[wrong], description=texts))
    task = tu.Task.of(frame)
    assert task.texts == tuple(texts)
    order = np.argsort(words)
    made = tu.plan(
        tu.Task.of(frame.assign(teacher_logits=list(Z[:30][:, order]))), soft_ratio=[0.5, 1.0]
    )
    made.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "<script>alert(1)" not in page
    assert "long long …</p>" in page
    assert any(f"label {word}" in page for word in ("apple", "fig", "&lt;kiwi&gt;", "pear"))


def test_columns_can_be_named():
    data = pd.DataFrame(rows(POOL)).rename(columns={"x": "a", "labels": "b", "teacher_logits": "c"})
    found = tu.Task.of(data, columns={"x": "a", "labels": "b", "teacher_logits": "c"})
    assert found == tu.Task(X[:30], Z[:30], Y[:30])


def top(indices, values):
    return {"teacher_logits": None, "teacher_indices": indices, "teacher_values": values}


def test_what_is_named_comes_before_what_is_known_and_nothing_leaks_into_the_inputs():
    noise = RNG.normal(size=(30, 4))
    other = {
        "label": Y[POOL][::-1].copy(),
        "teacher_log_probs": list(noise),
        "pixels": list(X[:30]),
    }
    frame = pd.DataFrame(rows(POOL) | other).drop(columns="x")
    given = {"labels": "labels", "teacher_logits": "teacher_logits"}
    assert tu.Task.of(frame, columns=given) == tu.Task(X[:30], Z[:30], Y[:30])


WRONG = [
    ({"teacher_logits": None}, {}, "nothing of the teacher; expected a column teacher_logits"),
    ({"label": Y[POOL]}, {}, "labels and label; say which are the labels: --columns labels=labels"),
    ({"teacher_log_probs": list(Z[POOL])}, {}, "expected what the teacher says once"),
    ({}, {"labels": "klass"}, "has no column klass"),
    ({}, {"lables": "labels"}, "knows no 'lables' (did you mean labels?)"),
    ({"x": ["some text"] * 30}, {}, "has no column of inputs. x is text"),
    ({"x": ["some text"] * 30}, {"x": "x"}, "x of The pool holds text"),
    ({"x": [[1.0]] * 29 + [[1.0, 2.0]]}, {}, "x holds lists of 1 to 2 values"),
    ({"x": [*X[:29], None]}, {}, "x has no value in sample 29"),
    ({"teacher_logits": None, "teacher_log_probs": list(Z[POOL])}, {}, "are no log-probabilities"),
    ({"teacher_logits": None, "teacher_indices": [[0, 1]] * 30}, {}, "and no other half"),
    (
        top([[1, 1]] * 30, [[-1.0, -2.0]] * 30),
        {}, "in sample 0 an index twice",
    ),
    (
        top([[0, 1]] * 30, [[-2.0, -1.0]] * 30),
        {}, "in sample 0 values that do not fall",
    ),
    (
        top([[0, 1]] * 30, [[2.0, 1.0]] * 30),
        {}, "have 10.1 as the sum of their exponentials",
    ),
    (
        {"input_ids": [[1, 2]] * 30, "attention_mask": [[1, 1]] * 29 + [[0, 0]], "x": None},
        {}, "attention_mask of The pool is 0 everywhere in sample 29",
    ),
    ({"x": [b"no image"] * 30}, {}, "no image that can be read"),
    (
        {"x": encoded([np.zeros((4, 4), np.uint8)] * 29 + [np.zeros((4, 5), np.uint8)])},
        {}, "images of different sizes (4 × 4 × 1 in sample 0, 4 × 5 × 1 in sample 29)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("others", "columns", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_what_is_wrong_with_a_table_is_said(others, columns, message):
    found = {k: v for k, v in rows(POOL, **others).items() if v is not None}
    data = pa.table({k: list(v) for k, v in found.items()})
    with pytest.raises(TaskError) as caught:
        tu.Task.of(data, columns=columns)
    assert message in str(caught.value)


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    for name, file, message in (
        ("pickles", "model.bin", "model.bin, pickled Python objects"),
        ("script", "squad.py", "is a data set that is a script (squad.py), which is never run"),
        ("tasks", "a.npz", "is a folder with a.npz; expected one task. Name the file."),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(b"x")
        with pytest.raises(TaskError) as caught:
            tu.Task.load(tmp_path / name)
        assert message in str(caught.value)
    write(tmp_path / "lone" / "test-0.parquet")
    with pytest.raises(TaskError, match="has the splits test; expected train, which is the pool"):
        tu.Task.load(tmp_path / "lone")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(TaskError, match=r"broken\.parquet cannot be read"):
        tu.Task.load(tmp_path / "broken.parquet")


def test_what_is_no_table_is_said():
    import datasets

    with pytest.raises(TaskError, match="The pool is a list; expected a"):
        tu.Task.of([1, 2])
    with pytest.raises(TaskError, match="IterableDataset, whose rows have no numbers"):
        tu.Task.of(hub(POOL).to_iterable_dataset())
    with pytest.raises(TaskError, match="whose batches are Tensor"):
        tu.Task.of(DataLoader(torch.randn(5, 2)))
    with pytest.raises(TaskError, match="two tensors that could be labels"):
        tu.Task.of(DataLoader(TensorDataset(*map(torch.tensor, (X, Y, Y)))))
    with pytest.raises(TaskError, match="has its own test part"):
        tu.Task.of(datasets.DatasetDict(train=hub(POOL)), hub(TEST))


def test_the_command_reads_tables_and_finds_them_again(tmp_path):
    names = {"x": "a", "labels": "b"}
    for name, part in (("train", POOL), ("test", TEST)):
        frame = pd.DataFrame(rows(part)).rename(columns=names)
        (tmp_path / "t").mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / "t" / f"{name}.parquet")
    plan = ["plan", tmp_path / "t", "--columns", "x=a,labels=b", "--out", tmp_path / "p"]
    assert cli.run([str(a) for a in [*plan, "--quiet"]]) == 0
    document = json.loads((tmp_path / "p" / "plan.json").read_text())
    assert document["task"]["columns"] == {"x": ["a"], "labels": ["b"]}
    assert document["task"]["n_test"] == 10
    again = [tu.Plan.load(tmp_path / "p", **given) for given in ({}, {"task": TASK})]
    assert again[0].recommended == again[1].recommended


def test_distil_takes_columns_as_plan_does(tmp_path, capsys):
    path = tmp_path / "t"
    for name, part in (("train", POOL), ("test", TEST)):
        write(path / f"{name}.parquet", part, teacher_logits=None, mine=list(Z[part]))
    pa_only = ["distil", str(path), "--student", "mlp:width=8,depth=1", "--epochs", "2"]
    more = ["--learning-rate", "0.05", "--seeds", "1", "--out", str(tmp_path / "s"), "--quiet"]
    named = ["--columns", "x=x,labels=labels,teacher_logits=mine"]
    assert cli.run([*pa_only, *more, *named]) == 0
    assert (tmp_path / "s" / "students.nc").exists()
    assert cli.run([*pa_only, *more]) == 2
    assert "nothing of the teacher" in capsys.readouterr().err
    assert cli.run([*pa_only, "--plan", str(tmp_path), *named]) == 2
    assert "--columns and --classes are the plan's" in capsys.readouterr().err
