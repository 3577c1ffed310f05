"""What loss functions are told to be."""

import json
import math
import os

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tutelage as tu
from tutelage import cli
from tutelage.decisions.peers import peers
from tutelage.exceptions import SettingError


def kl(student, teacher, t, reduction="batchmean"):
    rows = F.kl_div(F.log_softmax(student / t, 1), F.softmax(teacher / t, 1), reduction="none")
    return {"batchmean": rows.sum(1).mean(), "mean": rows.mean(), "sum": rows.sum()}[reduction]


def mixed(rho, t, power=2, scale=1.0, reduction="batchmean"):
    def loss(student_logits, teacher_logits, labels):
        soft = t**power * kl(student_logits, teacher_logits, t, reduction)
        return scale * (rho * soft + (1 - rho) * F.cross_entropy(student_logits, labels))

    return loss


@pytest.mark.parametrize("rho", [0.01, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("t", [0.5, 1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize("power", [0, 2])
def test_a_mixture_is_told_by_its_numbers(rho, t, power):
    found = tu.audit(mixed(rho, t, power, scale=0.7), t_power=power, classes=7)
    assert found.mixture
    assert found.soft_ratio == pytest.approx(rho, abs=1e-6)
    assert found.temperature == pytest.approx(t, rel=1e-6)
    assert found.scale == pytest.approx(0.7, rel=1e-5)
    assert found.remarks == ()


def test_either_term_may_be_missing():
    pure, hard = tu.audit(mixed(1.0, 3.0)), tu.audit(mixed(0.0, 3.0))
    assert (pure.soft_ratio, hard.soft_ratio) == (1.0, 0.0)
    assert pure.temperature == pytest.approx(3.0)
    assert hard.temperature is None
    assert hard.words == "It is a mixture with a soft ratio of 0, and a scale of 1."


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_our_own_loss_is_what_it_says(classes):
    found = tu.audit(tu.lab.DistillationLoss(0.25, 4.0), classes=classes)
    assert found.soft_ratio == pytest.approx(0.25, abs=1e-6)
    assert found.temperature == pytest.approx(4.0, rel=1e-5)
    assert found.remarks == ()


def test_another_power_is_the_same_loss_with_other_numbers():
    squared, bare = (tu.audit(mixed(0.5, 4.0), t_power=a) for a in (2, 0))
    assert bare.soft_weight == pytest.approx(squared.soft_weight)
    assert bare.soft_ratio == pytest.approx(16 / 17, abs=1e-6)
    assert "Told with T^0 it has a soft ratio of 0.9412." in squared.words


# The losses of other tools, as their sources have them, given the arguments that a plan names.
TOOLS = {
    "torchdistill": lambda a: (
        lambda s, t, y: (
            a["alpha"] * F.cross_entropy(s, y)
            + a["beta"] * a["temperature"] ** 2 * kl(s, t, a["temperature"])
        )
    ),
    "mdistiller": lambda a: (
        lambda s, t, y: (
            a["KD.LOSS.CE_WEIGHT"] * F.cross_entropy(s, y)
            + a["KD.LOSS.KD_WEIGHT"] * a["KD.TEMPERATURE"] ** 2 * kl(s, t, a["KD.TEMPERATURE"])
        )
    ),
    "RepDistiller": lambda a: (
        lambda s, t, y: (
            a["-r"] * F.cross_entropy(s, y)
            + a["-a"] * kl(s, t, a["--kd_T"], "sum") * a["--kd_T"] ** 2 / len(s)
        )
    ),
    "TextBrewer": lambda a: (
        lambda s, t, y: (
            a["hard_label_weight"] * F.cross_entropy(s, y)
            - a["kd_loss_weight"]
            * (F.softmax(t / a["temperature"], -1) * F.log_softmax(s / a["temperature"], -1))
            .sum(-1)
            .mean()
        )
    ),
    "DistillKit": lambda a: (
        lambda s, t, y: (
            a["loss_functions"][0]["weight"]
            * a["loss_functions"][0]["temperature"] ** 2
            * kl(s, t, a["loss_functions"][0]["temperature"])
            + a["loss_functions"][1]["weight"] * F.cross_entropy(s, y)
        )
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(("rho", "t", "power"), [(0.3, 4.0, 2), (0.8, 2.0, 0), (0.5, 1.0, 2)])
def test_the_arguments_that_a_plan_names_make_the_loss_that_it_means(tool, rho, t, power):
    loss = TOOLS[tool](peers(rho, t, power)[tool])
    found = tu.audit(loss, t_power=power)
    assert found.soft_ratio == pytest.approx(rho, abs=1e-6)
    assert found.temperature == pytest.approx(t, rel=1e-6)


def ce(s, y):
    return F.cross_entropy(s, y)


WRONG = {
    "arguments of KL are swapped": lambda s, t, y: (
        F.kl_div(F.log_softmax(t / 4, 1), F.softmax(s / 4, 1), reduction="batchmean") + ce(s, y)
    ),
    "takes the teacher's logits for probabilities": lambda s, t, y: (
        F.kl_div(F.log_softmax(s / 4, 1), t / 4, reduction="batchmean") + ce(s, y)
    ),
    "log-probabilities for probabilities": lambda s, t, y: (
        F.kl_div(F.log_softmax(s / 4, 1), F.log_softmax(t / 4, 1), reduction="batchmean") + ce(s, y)
    ),
    "gives kl_div the student's probabilities": lambda s, t, y: (
        F.kl_div(F.softmax(s / 4, 1), F.softmax(t / 4, 1), reduction="batchmean") + ce(s, y)
    ),
    "divides the student's logits and not the": lambda s, t, y: (
        F.kl_div(F.log_softmax(s / 4, 1), F.softmax(t, 1), reduction="batchmean") + ce(s, y)
    ),
    "divides the teacher's logits and not the": lambda s, t, y: (
        F.kl_div(F.log_softmax(s, 1), F.softmax(t / 4, 1), reduction="batchmean") + ce(s, y)
    ),
    "in the label's term, too": lambda s, t, y: kl(s, t, 4.0) + ce(s / 4, y),
    "squared difference of logits": lambda s, t, y: F.mse_loss(s, t) + ce(s, y),
    "squared difference of probabilities": lambda s, t, y: (
        F.mse_loss(F.softmax(s / 2, 1), F.softmax(t / 2, 1)) + ce(s, y)
    ),
    "takes the teacher's decisions for labels": lambda s, t, y: ce(s, t.argmax(1)) + 0.3 * ce(s, y),
    "smoothed (label_smoothing)": lambda s, t, y: (
        kl(s, t, 4.0) + F.cross_entropy(s, y, label_smoothing=0.1)
    ),
    "none of those that are known": lambda s, t, y: (s - t).abs().mean() + ce(s, y),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_no_mixture_is_told_for_what_it_is(said):
    found = tu.audit(WRONG[said])
    assert not found.mixture
    assert found.soft_ratio is None
    assert found.temperature is None
    assert said in found.words
    assert found.words.startswith("It is no mixture of a teacher's and a label's cross-entropy.")


REDUCED = {
    "reduction='batchmean', and the soft ratio becomes 0.5 (with T^2)": mixed(
        0.5, 4.0, reduction="mean"
    ),
    "reduced in different ways, one summed and one averaged": mixed(0.5, 4.0, reduction="sum"),
    "Over a batch it is the sum of its samples": lambda s, t, y: len(s) * mixed(0.5, 4.0)(s, t, y),
    "divided by the batch size twice": lambda s, t, y: mixed(0.5, 4.0)(s, t, y) / len(s),
    "computed from the teacher's logits, and teaches the student nothing": lambda s, t, y: (
        kl(s, t, 4.0) + ce(t, y)
    ),
    "The weight of its label's term is negative": lambda s, t, y: kl(s, t, 4.0) - 0.01 * ce(s, y),
}


@pytest.mark.parametrize("said", REDUCED)
def test_what_is_probably_not_meant_is_said(said):
    found = tu.audit(REDUCED[said])
    assert found.mixture
    assert said in found.words


def test_a_mean_over_classes_is_told_by_its_effect():
    found = tu.audit(mixed(0.5, 4.0, reduction="mean"), classes=10)
    assert found.soft_ratio == pytest.approx(0.05 / 0.55, abs=1e-6)


def smooth_l1(s, z):
    return F.smooth_l1_loss(s, z)


def made_up(rng):
    """A loss of terms by chance, of which none is the teacher's cross-entropy as it should be."""
    weights, t = rng.uniform(0.1, 2, 4), float(np.exp(rng.uniform(-1, 2)))
    other = t * float(np.exp(rng.choice([-1, 1]) * rng.uniform(0.1, 1)))
    kinds = [
        lambda s, z: F.kl_div(
            F.log_softmax(s / t, 1), F.softmax(z / other, 1), reduction="batchmean"
        ),
        lambda s, z: kl(s, z, t) + kl(s, z, other),
        smooth_l1,
        lambda s, z: kl(s, z, t) ** 2,
        lambda s, z: kl(s, z, t) + weights[3] * s.square().mean(),
        lambda s, z: 1 - F.cosine_similarity(s, z).mean(),
        lambda s, z: kl(s, z.sort(1).values, t),
        lambda s, z: kl(s * (1 + weights[3]), z, t),
        lambda s, z: kl(s, z, t) * (1 + s.std()),
    ]
    kind = kinds[rng.integers(len(kinds))]
    return lambda s, z, y: weights[0] * kind(s, z) + weights[1] * ce(s, y)


def test_a_made_up_loss_is_never_called_a_mixture():
    rng = np.random.default_rng(0)
    count = int(os.environ.get("TUTELAGE_AUDITS", "60"))
    losses = [(made_up(rng), int(rng.integers(2, 8))) for _ in range(count)]
    assert not any(tu.audit(loss, classes=classes).mixture for loss, classes in losses)


class Module(nn.Module):
    """Its arguments come in another order, and its weights are in single precision."""

    def __init__(self, rho=0.5):
        super().__init__()
        self.rho = rho
        self.register_buffer("weights", torch.ones(10))

    def forward(self, labels, teacher_out, student_out):
        assert student_out.dtype == torch.float32
        hard = F.cross_entropy(student_out, labels, weight=self.weights)
        return self.rho * 9 * kl(student_out, teacher_out, 3.0) + (1 - self.rho) * hard


def test_arguments_go_by_name_and_single_precision_will_do():
    def loss(labels, teacher, student):
        return mixed(0.4, 2.0)(student, teacher, labels)

    assert tu.audit(loss).soft_ratio == pytest.approx(0.4, abs=1e-6)
    found = tu.audit(Module(0.2))
    assert found.soft_ratio == pytest.approx(0.2, abs=1e-3)
    assert found.temperature == pytest.approx(3.0, rel=1e-2)


BROKEN = {
    "The loss fails with ZeroDivisionError": lambda s, t, y: 1 / 0,
    "The loss gave (2,) for a batch": lambda s, t, y: F.cross_entropy(s, y, reduction="none"),
    "The loss gave float for a batch": lambda s, t, y: 1.0,
    "does not depend on the student's logits": lambda s, t, y: torch.tensor(1.0),
    "has gradients that are not finite": lambda s, t, y: s.sum() * math.inf,
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_no_loss_is_said(message):
    with pytest.raises(SettingError) as caught:
        tu.audit(BROKEN[message])
    assert message in str(caught.value)


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_losses.py").write_text(
        "import torch\nfrom tutelage.lab import DistillationLoss\n"
        "kd = DistillationLoss(0.3, 2.0)\n"
        "class Needs(torch.nn.Module):\n    def __init__(self, t):\n        super().__init__()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.run(["audit", "own_losses:kd"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "own_losses:kd, for 10 classes: It is a mixture with a soft ratio of 0.3,"
    )
    assert cli.run(["audit", "own_losses:kd", "--json", "--classes", "3", "--t-power", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["t_power"] == 0
    for arguments, message in (
        (["own_losses"], "The loss is 'own_losses'; expected module:function"),
        (["no_such:kd"], "names the module 'no_such', which cannot be imported"),
        (["own_losses:none"], "has no function 'none'"),
        (["own_losses:Needs"], "is a class that cannot be made without arguments"),
        (["own_losses:kd", "--t-power", "1"], "a t_power of 1; expected"),
    ):
        assert cli.run(["audit", *arguments]) == 2
        assert message in capsys.readouterr().err
