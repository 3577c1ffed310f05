"""Distillation in the training loop of transformers."""

import copy

import datasets
import numpy as np
import pytest
import torch

import tutelage as tu
from tutelage.exceptions import SettingError
from tutelage.hf import DistillationTrainer

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, 64)
IDS = [[1, *RNG.integers(2 + 10 * k, 12 + 10 * k, 4)] for k in Y]
Z = np.stack([1.0 - 2 * Y, 2.0 * Y - 1], 1)
ROWS = {"input_ids": IDS, "labels": Y.tolist(), "teacher_logits": Z.tolist()}


def network():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def trainer(folder, rows=ROWS, loss=None, own=None, **arguments):
    from transformers import TrainingArguments

    given = {
        "report_to": [], "disable_tqdm": True, "use_cpu": True, "learning_rate": 0.01,
        "per_device_train_batch_size": 16, "seed": 0, "save_strategy": "no",
        "logging_strategy": "no",
    }  # fmt: skip
    return DistillationTrainer(
        own or network(),
        TrainingArguments(str(folder), **given | arguments),
        train_dataset=datasets.Dataset.from_dict(rows),
        eval_dataset=datasets.Dataset.from_dict(
            {k: v for k, v in rows.items() if k != "teacher_logits"}
        ),
        loss=loss or tu.lab.DistillationLoss(0.5, 2.0),
    )


def test_a_step_is_the_loss_that_was_planned(tmp_path):
    own = network()
    made = trainer(tmp_path, own=own, per_device_train_batch_size=64)
    batch = next(iter(made.get_train_dataloader()))
    assert set(batch) == {"input_ids", "labels", "teacher_logits"}
    logits = own(input_ids=batch["input_ids"]).logits
    expected = tu.lab.DistillationLoss(0.5, 2.0)(
        logits, batch["teacher_logits"].to(logits), batch["labels"]
    )
    assert torch.isclose(made.compute_loss(own, dict(batch)), expected)
    loss, outputs = made.compute_loss(own, dict(batch), return_outputs=True)
    assert torch.isclose(loss, expected)
    assert torch.equal(outputs.logits, logits)


def test_accumulated_steps_are_those_of_the_whole_batch(tmp_path):
    ends = []
    for size, steps in ((32, 1), (8, 4)):
        made = trainer(
            tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=steps,
            max_steps=2, lr_scheduler_type="constant", optim="sgd", max_grad_norm=0.0,
        )  # fmt: skip
        made.train()
        ends.append(made.model.classifier.weight.detach().clone())
    assert torch.allclose(*ends, atol=1e-6)


def test_it_learns_and_is_evaluated_without_the_teacher(tmp_path):
    made = trainer(tmp_path, num_train_epochs=10)
    before = made.evaluate()["eval_loss"]
    made.train()
    assert made.evaluate()["eval_loss"] < 0.5 * before
    found = made.predict(made.eval_dataset)
    assert (found.predictions.argmax(1) == Y).mean() > 0.95


def test_samples_without_labels_learn_from_the_teacher(tmp_path):
    some = ROWS | {"labels": np.where(np.arange(64) % 2, Y, -100).tolist()}
    trainer(tmp_path, some, max_steps=2).train()
    pure = {k: v for k, v in ROWS.items() if k != "labels"}
    trainer(tmp_path, pure, tu.lab.DistillationLoss(1.0, 2.0), max_steps=2).train()


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(SettingError, match="loss is str; expected a DistillationLoss"):
        trainer(tmp_path, loss="kl")
    bare = {k: v for k, v in ROWS.items() if k != "teacher_logits"}
    with pytest.raises(SettingError, match="expected a column teacher_logits or teacher_log_probs"):
        trainer(tmp_path, bare, max_steps=1).train()


def test_a_plan_gives_its_loss():
    task = tu.Task(RNG.normal(size=(64, 3)), Z, Y)
    made = tu.plan(task, soft_ratio=[0.4], temperature=[3.0], t_power=0)
    loss = made.loss()
    assert (loss.soft_ratio, loss.temperature, loss.t_power) == (0.4, 3.0, 0)
    assert copy.deepcopy(loss).t_power == 0
    assert tu.audit(loss, classes=2, t_power=0).soft_ratio == pytest.approx(0.4, abs=1e-5)


@pytest.mark.parametrize("teacher_of_its_own", [False, True])
def test_what_a_trainer_really_weighs_is_told(tmp_path, teacher_of_its_own):
    from transformers import Trainer

    class Own(Trainer):
        """As many write it: the network's own loss, and a mean over classes, too."""

        def compute_loss(self, model, inputs, return_outputs=False, **others):
            told = inputs.pop("teacher_logits")
            outputs = model(**inputs)
            if teacher_of_its_own:
                told = self.teacher(**inputs).logits
            soft = torch.nn.functional.kl_div(
                torch.log_softmax(outputs.logits / 4, -1), torch.softmax(told / 4, -1),
                reduction="none",
            ).mean()  # fmt: skip
            loss = 0.5 * outputs.loss + 0.5 * 16 * soft
            return (loss, outputs) if return_outputs else loss

    made = trainer(tmp_path)
    own = Own(network(), made.args)
    own.teacher = kept = network()
    found = tu.audit(own, classes=10)
    assert found.soft_ratio == pytest.approx(0.05 / 0.55, abs=1e-6)
    assert found.temperature == pytest.approx(4.0, rel=1e-6)
    assert "reduction='batchmean'" in found.words
    assert own.teacher is kept
    ours = tu.audit(made, classes=3)
    assert (round(ours.soft_ratio, 5), round(ours.temperature, 5)) == (0.5, 2.0)
    assert ours.remarks == ()
