import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from tutelage.decisions.peers import peers

GRID = [(0.3, 1.0, 2), (0.9, 4.0, 2), (0.5, 2.0, 0), (1.0, 3.0, 2), (0.2, 0.5, 0)]


def gradient(loss, student):
    (g,) = torch.autograd.grad(loss, student)
    return g


def soft(student, teacher, t):
    return kl_div(log_softmax(student / t, 1), softmax(teacher / t, 1), reduction="batchmean")


@pytest.mark.parametrize(("rho", "t", "a"), GRID)
def test_every_tools_loss_pulls_in_the_direction_of_ours(rho, t, a):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    y = torch.arange(5) % 4
    kl, ce = soft(student, teacher, t), cross_entropy(student, y)
    ours = gradient(rho * t**a * soft(student, teacher, t) + (1 - rho) * ce, student)
    kl, ce = (
        gradient(soft(student, teacher, t), student),
        gradient(cross_entropy(student, y), student),
    )
    found = peers(rho, t, a)
    theirs = {  # the formulas of the tools, as their sources have them
        "torchdistill": lambda p: p["alpha"] * ce + p["beta"] * t**2 * kl,
        "mdistiller": lambda p: p["KD.LOSS.CE_WEIGHT"] * ce + p["KD.LOSS.KD_WEIGHT"] * t**2 * kl,
        "RepDistiller": lambda p: p["-r"] * ce + p["-a"] * t**2 * kl,
        "TextBrewer": lambda p: p["hard_label_weight"] * ce + p["kd_loss_weight"] * kl,
        "NVIDIA Model Optimizer": (
            lambda p: (1 - p["kd_loss_weight"]) * ce + p["kd_loss_weight"] * t**2 * kl
        ),
        "keras.distillation": (
            lambda p: p["student_loss_weight"] * ce + (1 - p["student_loss_weight"]) * t**2 * kl
        ),
        "DistillKit": lambda p: (
            p["loss_functions"][1]["weight"] * ce + p["loss_functions"][0]["weight"] * t**2 * kl
        ),
        "torchtune": lambda p: (1 - p["kd_ratio"]) * ce + p["kd_ratio"] * kl,
        "TRL GKDTrainer": lambda p: kl,
    }
    assert set(theirs) == set(found)
    for tool, loss in theirs.items():
        if found[tool] is not None:
            pull = loss(found[tool])
            torch.testing.assert_close(
                pull / pull.norm(), ours / ours.norm(), rtol=1e-8, atol=1e-10
            )


def test_a_tool_that_cannot_express_a_setting_says_so():
    assert peers(0.5, 4.0, 2)["torchtune"] is None
    assert peers(0.5, 1.0, 2)["torchtune"] == {"kd_ratio": 0.5}
    assert peers(1.0, 2.0, 2)["TRL GKDTrainer"] is None
