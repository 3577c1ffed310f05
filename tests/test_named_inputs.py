"""Inputs by name: token ids and masks, from a task file to a network's forward."""

import inspect
import sys

import numpy as np
import pytest
import torch
from torch import nn

import tutelage as tu
from tutelage import cli
from tutelage.data.preprocessing import Preprocessing
from tutelage.exceptions import StudentError, TaskError

VOCABULARY, LENGTH = 20, 6
GRID = {"soft_ratio": [0.3, 1.0], "temperature": [1.0, 4.0], "orderings": 1}


class Words(nn.Module):
    """Embeddings, averaged over what the mask keeps, and a number beside them."""

    def __init__(self, n_outputs):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 8)
        self.out = nn.Linear(9, n_outputs)

    def forward(self, input_ids, attention_mask, age=None):
        kept = attention_mask[..., None].to(self.words.weight.dtype)
        mean = (self.words(input_ids) * kept).sum(1) / kept.sum(1)
        age = mean.new_zeros(len(mean), 1) if age is None else age
        return {"logits": self.out(torch.cat([mean, age], 1))}


def words(input_shape, n_outputs):
    assert set(input_shape.values()) <= {(LENGTH,), (1,), (4,)}
    return Words(n_outputs)


def arrays(n=160, m=60, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, VOCABULARY, (n + m, LENGTH))
    mask = (np.arange(LENGTH) < rng.integers(2, LENGTH + 1, (n + m, 1))).astype(np.int64)
    age = rng.normal(50, 20, (n + m, 1))
    score = ((ids < 10) * mask).sum(1) / mask.sum(1) - 0.5 + (age[:, 0] - 50) / 100
    z = np.stack([8 * score, -8 * score], 1)
    y = (score < 0).astype(int)
    named = {"input_ids": ids, "attention_mask": mask, "age": age}
    pool, test = ({k: v[part] for k, v in named.items()} for part in (slice(n), slice(n, None)))
    return {
        "x_train": pool, "teacher_logits_train": z[:n], "y_train": y[:n],
        "x_test": test, "teacher_logits_test": z[n:], "y_test": y[n:],
    }  # fmt: skip


def student(**changes):
    return tu.lab.TorchStudent(
        words, "words", training=tu.lab.Training(6, 0.1, 16), epochs=20, **changes
    )


@pytest.mark.parametrize("name", ["t.npz", "t.safetensors", "t"])
def test_named_inputs_go_through_task_files(tmp_path, name):
    task = tu.Task(**arrays())
    task.save(tmp_path / name)
    again = tu.Task.load(tmp_path / name)
    assert again == task
    assert again.fingerprint == task.fingerprint
    assert again.x_train["input_ids"].dtype == np.int64
    assert again.input_shape == {"input_ids": (6,), "attention_mask": (6,), "age": (1,)}


def test_ids_stay_whole_numbers_and_floats_are_standardised():
    given = arrays()
    pool, test = tu.Task(**given).inputs(torch.float32)
    assert torch.equal(pool["input_ids"], torch.as_tensor(given["x_train"]["input_ids"]))
    assert pool["attention_mask"].dtype == torch.int64
    assert pool["age"].dtype == torch.float32
    assert abs(float(pool["age"].mean())) < 1e-5
    assert float(pool["age"].square().mean()) == pytest.approx(1, abs=1e-4)
    mean, scale = given["x_train"]["age"].mean(), given["x_train"]["age"].std()
    np.testing.assert_allclose(test["age"], (given["x_test"]["age"] - mean) / scale, rtol=1e-4)


def test_a_plain_input_of_whole_numbers_stays_so_if_it_is_to_be_left_as_it_is():
    ids = np.arange(12).reshape(4, 3)
    grey = ids.astype(np.uint8)
    for x, how, kind in (
        (ids, {"standardise": False, "ids": True}, torch.int64),
        (ids, {"standardise": True, "ids": True}, torch.float64),
        (ids, {"standardise": False}, torch.float64),
        (grey, {"standardise": False, "ids": True}, torch.float64),
    ):
        _, ready = Preprocessing.fitted(x, "channels_last", torch.float64, **how)
        assert ready.dtype == kind
    assert tu.lab.student("tutelage.train.networks:cnn").takes_ids
    assert not tu.lab.student("mlp:width=8").takes_ids
    assert not tu.students.as_student("mlp").takes_ids


@pytest.mark.parametrize("linearise", ["warm", "init"])
def test_a_network_of_words_is_planned_for_in_memory_in_tiles_and_in_features(linearise):
    task = tu.Task(**arrays())
    known = student(linearise=linearise)
    dense = tu.curves(task, known, **GRID)
    tiles = tu.curves(task, known, **GRID, scale=tu.Scale("dask"))
    for name in ("error", "transfer_risk", "expected_transfer_risk"):
        np.testing.assert_allclose(tiles[name].values, dense[name].values, atol=1e-5)
    made = tu.plan(task, curves=dense)
    assert made.recommended.error < 0.2
    assert made.task["input_shape"]["age"] == [1]
    wide = tu.curves(task, known, **GRID | {"orderings": None}, features=100)
    assert abs(float(wide.error.min()) - float(dense.error.isel(n=-1).min())) < 0.1


def test_transformers_of_hugging_face_are_planned_for():
    from transformers import BertConfig, BertForSequenceClassification

    def bert(input_shape, n_outputs):
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = BertConfig(
            vocab_size=VOCABULARY, intermediate_size=8, num_labels=n_outputs, **sizes
        )
        return BertForSequenceClassification(config)

    given = arrays(60, 30)
    for part in ("x_train", "x_test"):
        given[part] = {k: v for k, v in given[part].items() if k != "age"}
    known = tu.lab.TorchStudent(bert, "bert", training=tu.lab.Training(2, 0.05, 16), epochs=5)
    made = tu.plan(tu.Task(**given), student=known, **GRID)
    assert made.recommended.error is not None
    assert made.predict(given["x_test"]).shape == (30, 2)


def test_real_students_take_inputs_by_name(tmp_path):
    task = tu.Task(**arrays())
    found = tu.lab.distil(task, student(), [(0.5, 2.0)], seeds=1)
    assert float(found.error.squeeze()) < 0.2


def changed(part, **values):
    given = arrays(60, 30)
    given[part] = {k: v for k, v in (given[part] | values).items() if v is not None}
    return given


IDS = arrays(60, 30)["x_train"]["input_ids"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            changed("x_train", input_ids=IDS[:50]),
            "(x_train.age 60, x_train.attention_mask 60, x_train.input_ids 50)",
        ),
        (changed("x_test", age=None), "x_train has the inputs age, attention_mask, input_ids, x_t"),
        (changed("x_test", input_ids=IDS[:30, :4]), "x_test.input_ids has inputs of shape (4,)"),
        (changed("x_train", input_ids=IDS.astype(object)), "x_train.input_ids holds Python obj"),
        (changed("x_train", **{"not a name": IDS}), "has inputs of the names 'input_ids', 'atten"),
        ({**arrays(60, 30), "x_train": {}}, "x_train has inputs of the names none; expected"),
        ({**arrays(60, 30), "x_test": IDS[:30]}, "x_test no names; expected the same names"),
    ],
)
def test_what_is_wrong_with_named_inputs_is_said(given, message):
    with pytest.raises(TaskError) as caught:
        tu.Task(**given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs_ids": IDS, "input_ids": None},
            (
                "an input inputs_ids, which the network's forward does not take; it takes"
                " input_ids, attention_mask, age (did you mean input_ids?)"
            ),
        ),
        (
            {"attention_mask": None},
            (
                "needs attention_mask, and the task has no input of that name"
                " (x_train.attention_mask); it has age, input_ids"
            ),
        ),
        (
            {"input_ids": IDS + 0.5},
            "of its inputs these hold floating-point numbers: age, input_ids.",
        ),
        (
            {"input_ids": IDS + 30},
            (
                "The largest value of input_ids is 49, and the network's tables of embeddings have"
                " 20 rows"
            ),
        ),
        ({"input_ids": IDS - 30}, "input_ids holds -"),
        (
            {"attention_mask": np.ones((60, 4), int)},
            "age (3, 1), attention_mask (3, 4), input_ids (3, 6) with RuntimeError",
        ),
    ],
)
def test_what_does_not_fit_the_network_is_said(tmp_path, monkeypatch, capsys, changes, message):
    given = changed("x_train", **changes)
    rows = {k: v if v is None else v[:30] for k, v in changes.items()}
    given["x_test"] = {k: v for k, v in (given["x_test"] | rows).items() if v is not None}
    task = tu.Task(**given)
    with pytest.raises(StudentError) as caught:
        tu.plan(task, student=student(), **GRID)
    assert message in " ".join(str(caught.value).split())
    task.save(tmp_path / "t.npz")
    (tmp_path / "own_words.py").write_text(
        f"import torch\nfrom torch import nn\nVOCABULARY = {VOCABULARY}\n"
        f"{inspect.getsource(Words)}\n"
        "def make(input_shape, n_outputs):\n    return Words(n_outputs)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_words", raising=False)
    code = cli.run(["plan", "t.npz", "--student", "own_words:make", "--warm-starts", "1"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert message.split(";")[0] in " ".join(err.split())
