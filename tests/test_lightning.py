"""Distillation in the training loop of Lightning, and audits of such modules."""

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tu
from tutelage.exceptions import SettingError
from tutelage.lightning import DistillationModule, pl

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning gives hints
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(48, 3, generator=GENERATOR)
Y = (X[:, 0] > 0).long()
Z = 3 * torch.stack([-X[:, 0], X[:, 0]], 1)
LOSS = tu.lab.DistillationLoss(0.7, 2.0)


def fitted(module, data, held_out=None, epochs=3):
    trainer = pl.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, batch_size=16), held_out and DataLoader(held_out, 16))
    return trainer


def network():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)


def test_it_takes_the_steps_of_a_plain_loop():
    module = DistillationModule(
        network(), loss=LOSS, optimiser=lambda p: torch.optim.SGD(p, lr=0.1)
    )
    held_out = TensorDataset(X, Y)
    trainer = fitted(module, TensorDataset(X, Y, Z), held_out)
    plain = network()
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(3):
        for k in range(0, 48, 16):
            optimiser.zero_grad()
            loss = LOSS(plain(X[k : k + 16]), Z[k : k + 16], Y[k : k + 16])
            loss.backward()
            optimiser.step()
    torch.testing.assert_close(module.network.weight, plain.weight)
    torch.testing.assert_close(trainer.callback_metrics["loss"], loss.detach())
    wrong = (plain(X).argmax(1) != Y).float().mean()
    torch.testing.assert_close(trainer.callback_metrics["val_error"], wrong)


def test_batches_may_be_dicts_with_labels_where_there_are_some():
    rows = [
        {"x": x, "labels": y, "teacher_logits": z}
        for x, y, z in zip(X, torch.where(torch.arange(48) % 2 == 0, Y, -100), Z, strict=True)
    ]
    module = DistillationModule(network(), loss=LOSS)
    before = copy.deepcopy(module.network.weight)
    fitted(module, rows, epochs=1)
    assert not torch.equal(before, module.network.weight)


def test_what_is_wrong_is_said():
    with pytest.raises(SettingError, match=r"loss is function; expected a DistillationLoss"):
        DistillationModule(network(), loss=lambda *_: 0)
    with pytest.raises(SettingError, match="A batch holds no teacher_logits or teacher_log_probs"):
        fitted(DistillationModule(network(), loss=LOSS), TensorDataset(X, Y))


def mixed(student, teacher, y, reduction="batchmean"):
    t = 4.0
    soft = F.kl_div(
        F.log_softmax(student / t, 1), F.softmax(teacher / t, 1), reduction=reduction
    )  # fmt: skip
    return 0.6 * t * t * soft + 0.4 * F.cross_entropy(student, y)


class WithTeacher(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.student, self.teacher_net = torch.nn.Linear(3, 5), torch.nn.Linear(3, 5)
        self.hard = torch.nn.CrossEntropyLoss()

    def training_step(self, batch, _):
        x, y = batch
        with torch.no_grad():
            z = self.teacher_net(x)
        loss = mixed(self.student(x), z, y)
        self.log("loss", loss)
        return {"loss": loss}


class Stored(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(3, 4), torch.nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.body(x))

    def training_step(self, batch, _):
        x, y, z = batch
        return mixed(self(x), z, y)


class Named(Stored):
    def training_step(self, batch, _):
        logits = self(batch["input_ids"]).logits
        return mixed(logits, batch["teacher_logits"], batch["labels"])


@pytest.mark.parametrize("kind", [WithTeacher, Stored, Named])
def test_a_modules_own_step_is_audited_and_left_as_it_was(kind):
    module = kind()
    children, weights = dict(module.named_children()), copy.deepcopy(module.state_dict())
    found = tu.audit(module, classes=5)
    assert found.soft_ratio == pytest.approx(0.6, abs=1e-6)
    assert found.temperature == pytest.approx(4.0, abs=1e-6)
    assert dict(module.named_children()) == children
    assert "forward" not in vars(module)
    for name, value in module.state_dict().items():
        assert torch.equal(value, weights[name])


def test_ours_is_audited_to_what_it_was_planned_with():
    module = DistillationModule(network(), loss=LOSS)
    found = tu.audit(module, classes=3)
    assert (found.soft_ratio, found.temperature) == pytest.approx((0.7, 2.0), abs=1e-6)


def test_a_step_that_cannot_be_called_is_said():
    class Odd(Stored):
        def training_step(self, batch, _):
            return batch.no_such

    with pytest.raises(SettingError, match=r"training_step of Odd fails with AttributeError"):
        tu.audit(Odd(), classes=5)
