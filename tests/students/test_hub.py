"""Students from folders that transformers wrote."""

import json

import numpy as np
import pytest
import torch

import tutelage as tu
from tutelage import cli
from tutelage.exceptions import StudentError
from tutelage.train._hub import pretrained

IDS = {"input_ids": (6,), "attention_mask": (6,)}


def bert(folder, *, weights=True, labels=5):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8, num_labels=labels,
    )  # fmt: skip
    torch.manual_seed(0)
    network = BertForSequenceClassification(config)
    (network if weights else config).save_pretrained(folder)
    return network


def test_weights_are_kept_and_the_head_is_sized_to_the_task(tmp_path):
    known = bert(tmp_path / "m").state_dict()
    made = pretrained(str(tmp_path / "m"))(IDS, 3)
    assert made.classifier.out_features == 3
    found = made.state_dict()
    same = [name for name in known if not name.startswith("classifier")]
    assert all(torch.equal(found[name], known[name]) for name in same)
    assert len(same) > 10


def test_without_weights_each_network_is_drawn(tmp_path):
    bert(tmp_path / "m", weights=False)
    factory = pretrained(str(tmp_path / "m"))
    torch.manual_seed(1)
    one, other = (factory(IDS, 2).classifier.weight for _ in range(2))
    assert not torch.equal(one, other)
    torch.manual_seed(1)
    assert torch.equal(factory(IDS, 2).classifier.weight, one)


def test_a_network_of_images_is_made_for_inputs_without_token_ids(tmp_path):
    from transformers import ResNetConfig

    config = ResNetConfig(num_channels=1, embedding_size=4, hidden_sizes=[4], depths=[1])
    config.save_pretrained(tmp_path / "m")
    made = pretrained(str(tmp_path / "m"))((1, 8, 8), 3)
    assert made(torch.randn(2, 1, 8, 8)).logits.shape == (2, 3)


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(StudentError, match=r"holds no config\.json"):
        pretrained(str(tmp_path))
    bert(tmp_path / "m", weights=False)
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(StudentError, match=r"weights in pytorch_model\.bin, a pickle, which can"):
        pretrained(str(tmp_path / "m"))
    bert(tmp_path / "t")
    with pytest.raises(StudentError, match="cannot be made a classifier of images"):
        pretrained(str(tmp_path / "t"))((3, 8, 8), 2)


def test_from_a_table_and_a_folder_to_a_plan_and_a_trained_student(tmp_path):
    import pandas as pd

    rng = np.random.default_rng(0)
    for name, n in (("train", 240), ("test", 120)):
        y = rng.integers(0, 2, n)
        ids = [[1, *rng.integers(2 + 10 * k, 14 + 10 * k, 2 + i % 4)] for i, k in enumerate(y)]
        logits = [[1.0 - 2 * k, 2.0 * k - 1] for k in y]
        (tmp_path / "t").mkdir(exist_ok=True)
        rows = {"input_ids": ids, "label": y, "teacher_logits": logits}
        pd.DataFrame(rows).to_parquet(tmp_path / "t" / f"{name}.parquet")
    bert(tmp_path / "m")
    own = ["--student", f"hf:{tmp_path / 'm'}", "--optimiser", "adamw", "--learning-rate", "0.01"]
    how = ["--epochs", "20", "--batch-size", "16", "--soft-ratio", "0.5,1", "--temperature", "1"]
    plan = ["plan", tmp_path / "t", *own, *how, "--out", tmp_path / "p", "--quiet"]
    assert cli.run([str(a) for a in plan]) == 0
    document = json.loads((tmp_path / "p" / "plan.json").read_text())
    assert document["made_for"]["student"]["folder"] == str(tmp_path / "m")
    assert document["cost"]["trainings"] <= 1
    assert document["recommended"]["error"] < 0.3
    assert "attention_mask" in document["task"]["input_shape"]
    distil = ["distil", "--plan", tmp_path / "p", "--out", tmp_path / "s.safetensors", "--quiet"]
    assert cli.run([str(a) for a in distil]) == 0
    assert tu.Plan.load(tmp_path / "p").student.startswith("hf:")
