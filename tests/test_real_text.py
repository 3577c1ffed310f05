"""docs/how-to/text.md: lines of text, parquet, a plan for a small BERT, Trainer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tutelage as tu
from tutelage import cli

ROOT = Path(__file__).parents[1]
TEXTS = ROOT.parent / "shared" / "data" / "debtext" / "debtext.tsv.gz"


@pytest.mark.skipif(not TEXTS.exists(), reason="the texts lie beside the repository only")
def test_from_lines_of_text_to_a_plan_and_a_trained_student(tmp_path):
    made = ["--labels", "net", "games", "science", "--most", "900"]
    example = [sys.executable, ROOT / "examples" / "text.py", TEXTS, tmp_path / "text", *made]
    subprocess.run(example, check=True, capture_output=True)
    own = ["--student", f"hf:{tmp_path / 'text' / 'student'}", "--optimiser", "adamw"]
    how = ["--learning-rate", "0.001", "--batch-size", "32", "--epochs", "4", "--warmup", "0.1"]
    grid = ["--soft-ratio", "0.2,0.9", "--temperature", "1", "--out", tmp_path / "plan", "--quiet"]
    plan = ["plan", tmp_path / "text" / "data", *own, *how, *grid]
    assert cli.run([str(a) for a in plan]) == 0
    document = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert document["task"]["input_shape"] == {"attention_mask": [64], "input_ids": [64]}
    assert document["cost"]["trainings"] <= 1
    assert any("0 games, 1 net, 2 science" in note for note in document["notes"])
    assert "<p>" in (tmp_path / "plan" / "report.html").read_text()
    assert document["recommended"]["error"] < 2 / 3
    _train(tmp_path)


def _train(folder):
    import datasets
    from transformers import (  # fmt: skip
        AutoModelForSequenceClassification,
        AutoTokenizer,
        BertConfig,
        DataCollatorWithPadding,
        TrainingArguments,
    )

    from tutelage.hf import DistillationTrainer

    student = folder / "text" / "student"
    plan = tu.Plan.load(folder / "plan")
    train = datasets.Dataset.from_parquet(
        str(folder / "text" / "data" / "train.parquet"), cache_dir=str(folder / "cache")
    )
    names = sorted(set(train["label"]))
    train = train.map(lambda row: {"label": names.index(row["label"])})
    arguments = TrainingArguments(
        str(folder / "out"), max_steps=20, learning_rate=0.001, per_device_train_batch_size=32,
        report_to=[], disable_tqdm=True, use_cpu=True, save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    trainer = DistillationTrainer(
        AutoModelForSequenceClassification.from_config(
            BertConfig.from_pretrained(student, num_labels=3)
        ),
        arguments,
        train_dataset=train.select(range(500)),
        eval_dataset=train.select(range(500, 590)),
        data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(student)),
        loss=plan.loss(),
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
