"""Tables written with a teacher's logits are read as they are, and go on where they stopped."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import tutelage as tu
from tutelage import cli
from tutelage.exceptions import SettingError, TaskError

RNG = np.random.default_rng(0)


def network(outputs=3):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, outputs)
    )


def table(n=50, **others):
    x = RNG.normal(size=(n, 4))
    return {"x": list(x), "label": RNG.integers(0, 3, n), "text": [f"t{k}" for k in range(n)]} | (
        others
    )


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_written_is_the_task_of_the_same_logits(tmp_path, dtype):
    rows = table()
    pq.write_table(pa.table(rows), tmp_path / "train.parquet", row_group_size=11)
    teacher = network().train()
    where = tu.lab.write_logits(
        teacher, tmp_path / "train.parquet", tmp_path / "out", rows=20, dtype=dtype
    )
    files = sorted(p.name for p in where.glob("*.parquet"))
    assert files == ["train-00000.parquet", "train-00001.parquet", "train-00002.parquet"]
    task = tu.Task.load(where)
    x = np.stack(rows["x"]).astype(np.float32)
    with torch.no_grad():
        expected = teacher.eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(
        task.teacher_logits_train, expected.astype(dtype), rtol=2e-3, atol=1e-5
    )
    np.testing.assert_array_equal(task.x_train, np.stack(rows["x"]))
    np.testing.assert_array_equal(task.y_train, rows["label"])
    assert task.texts == tuple(rows["text"])


def test_it_goes_on_after_the_last_whole_file(tmp_path):
    import datasets

    rows = {k: [np.asarray(v).tolist() for v in vs] for k, vs in table().items()}
    data = datasets.DatasetDict(
        train=datasets.Dataset.from_dict(rows), test=datasets.Dataset.from_dict(rows)
    )
    teacher, calls = network(), []
    teacher.register_forward_hook(lambda *_: calls.append(1))

    def stop(_, total):
        class Bar:
            def __enter__(self):
                self.done = 0
                return self.advance

            def __exit__(self, *_):
                pass

            def advance(self, steps):
                self.done += steps
                if self.done >= 60:
                    raise KeyboardInterrupt

        assert total == 100
        return Bar()

    with pytest.raises(KeyboardInterrupt):
        tu.lab.write_logits(teacher, data, tmp_path / "out", rows=30, batch_size=10, progress=stop)
    assert len(calls) == 8
    tu.lab.write_logits(teacher, data, tmp_path / "out", rows=30, batch_size=10)
    assert len(calls) == 10
    whole = tu.lab.write_logits(network(), data, tmp_path / "other", rows=7)
    tasks = [tu.Task.load(path) for path in (tmp_path / "out", whole)]
    for name in ("teacher_logits_train", "teacher_logits_test", "x_test", "y_test"):
        np.testing.assert_allclose(*(getattr(t, name) for t in tasks), rtol=1e-5, atol=1e-6)


def test_one_logit_is_a_column_of_numbers(tmp_path):
    where = tu.lab.write_logits(network(1), table(label=RNG.integers(0, 2, 50)), tmp_path / "out")
    assert tu.Task.load(where).teacher_logits_train.shape == (50,)


def test_token_ids_go_by_name_and_images_with_their_channels_first(tmp_path):
    class Reads(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.EmbeddingBag(9, 3, mode="sum")

        def forward(self, input_ids, attention_mask):
            assert input_ids.dtype == torch.int64
            return self.embed(input_ids, per_sample_weights=attention_mask.float())

    ids = [[1, 2, 3], [4, 5], [6]]
    rows = {"input_ids": ids, "label": [0, 1, 2]}
    teacher = Reads()
    where = tu.lab.write_logits(teacher, pa.table(rows), tmp_path / "ids", batch_size=2)
    found = tu.Task.load(where).teacher_logits_train
    weight = teacher.embed.weight.detach().numpy()
    np.testing.assert_allclose(found, [weight[row].sum(0) for row in ids], rtol=1e-5, atol=1e-6)

    class Sees(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            assert x.shape[1:] == (3, 4, 5)
            return self.weight * x.mean((2, 3))

    pixels = RNG.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    where = tu.lab.write_logits(
        Sees(), {"x": pixels, "label": np.arange(6) % 3}, tmp_path / "images"
    )
    found = tu.Task.load(where).teacher_logits_train
    np.testing.assert_allclose(found, pixels.mean((1, 2)) / 255, rtol=1e-5)


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(TaskError, match="has a column teacher_logits already; rename it"):
        tu.lab.write_logits(network(), table(teacher_logits=[[0.0] * 3] * 50), tmp_path / "a")
    rows = table()
    tu.lab.write_logits(network(), rows, tmp_path / "b")
    with pytest.raises(TaskError, match="holds other files than those of this teacher"):
        tu.lab.write_logits(network(2), rows, tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").write_text("")
    with pytest.raises(TaskError, match="choose another folder"):
        tu.lab.write_logits(network(), rows, tmp_path / "c")
    with pytest.raises(SettingError, match="expected 1 or more, and one of float16, float32"):
        tu.lab.write_logits(network(), rows, tmp_path / "d", dtype="int8")
    bad = network()
    bad[0].weight.data[:] = 1e30
    with pytest.raises(TaskError, match=r"for a row of train-00000.parquet; expected finite"):
        tu.lab.write_logits(bad, rows, tmp_path / "e", dtype="float16")
    assert not list((tmp_path / "e").glob("*.parquet"))


def test_the_command_writes_what_plan_reads(tmp_path, capsys, monkeypatch):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "big")
    ids = [RNG.integers(1, 30, k % 4 + 3).tolist() for k in range(60)]
    rows = pa.table({"input_ids": ids, "label": [k % 3 for k in range(60)]})
    pq.write_table(rows, tmp_path / "pool.parquet")
    out = str(tmp_path / "out")
    command = ["logits", str(tmp_path / "pool.parquet"), "--teacher", f"hf:{tmp_path / 'big'}"]
    assert cli.run([*command, "--out", out]) == 0
    assert f"Table: {out}" in capsys.readouterr().out
    assert tu.Task.load(out).teacher_logits_train.shape == (60, 3)
    (tmp_path / "mine.py").write_text("def broken():\n    return 3\n")
    monkeypatch.chdir(tmp_path)
    for teacher, said in (
        ("mine:broken", "gave int; expected a torch.nn.Module"),
        ("mine", "The teacher is 'mine'; expected hf:FOLDER"),
        ("hf:nowhere", "nowhere holds no config.json"),
    ):
        assert cli.run([*command[:3], teacher, "--out", str(tmp_path / "x")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert cli.run(["logits", "mine.py", "--teacher", "mine:broken"]) == 2
    assert "mine.py is no table; expected a parquet file" in capsys.readouterr().err


def test_a_folder_whose_head_is_not_trained_is_no_teacher(tmp_path, capsys):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "body")
    pq.write_table(pa.table({"input_ids": [[1, 2]], "label": [0]}), tmp_path / "t.parquet")
    body, path = f"hf:{tmp_path / 'body'}", str(tmp_path / "t.parquet")
    assert cli.run(["logits", path, "--teacher", body]) == 2
    assert "is no classifier yet; train it on labels first" in capsys.readouterr().err
    config.save_pretrained(tmp_path / "plan")
    assert cli.run(["logits", path, "--teacher", f"hf:{tmp_path / 'plan'}"]) == 2
    assert "holds no model.safetensors; expected a trained network" in capsys.readouterr().err
