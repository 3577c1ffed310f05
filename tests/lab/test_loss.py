import pytest
import torch
from torch.nn import functional

import tutelage as tu
from tutelage.exceptions import SettingError
from tutelage.lab import DistillationLoss


@pytest.mark.parametrize("t_power", [0, 2])
@pytest.mark.parametrize("classes", [1, 4])
def test_the_effective_logits_are_where_it_is_least(t_power, classes):
    torch.manual_seed(0)
    teacher = 3 * torch.randn(6, classes, dtype=torch.float64)
    labels = torch.randint(0, max(2, classes), (6,))
    flat = teacher[:, 0] if classes == 1 else teacher
    solved = tu.effective_logits(
        flat, labels, soft_ratio=0.3, temperature=2.5, t_power=t_power
    ).reshape(6, -1)
    student = solved.clone().requires_grad_()
    DistillationLoss(0.3, 2.5, t_power)(student, teacher, labels).backward()
    assert student.grad.abs().max() < 1e-10
    off = (solved + 0.1 * torch.eye(6, classes, dtype=torch.float64)).requires_grad_()
    DistillationLoss(0.3, 2.5, t_power)(off, teacher, labels).backward()
    assert off.grad.abs().max() > 1e-4


def test_its_gradient_is_that_of_the_kullback_leibler_form_of_other_tools():
    torch.manual_seed(0)
    student, teacher, labels = (
        torch.randn(5, 3, requires_grad=True),
        torch.randn(5, 3),
        torch.tensor([0, 1, 2, 0, 1]),
    )
    ours = torch.autograd.grad(DistillationLoss(0.7, 4.0)(student, teacher, labels), student)[0]
    soft = functional.kl_div(
        torch.log_softmax(student / 4, 1), torch.softmax(teacher / 4, 1), reduction="batchmean"
    )
    theirs = torch.autograd.grad(
        0.7 * 16 * soft + 0.3 * functional.cross_entropy(student, labels), student
    )[0]
    torch.testing.assert_close(ours, theirs)


def test_labels_may_be_missing_only_at_a_soft_ratio_of_one():
    logits = torch.randn(4, 3)
    assert torch.isfinite(DistillationLoss(1.0, 1.0)(logits, logits))
    with pytest.raises(ValueError, match="weighs the labels"):
        DistillationLoss(0.5, 1.0)(logits, logits)


def test_a_soft_ratio_of_zero_trains_on_labels_alone():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    found = DistillationLoss(0.0, 4.0)(logits, torch.randn(4, 3), labels)
    torch.testing.assert_close(found, functional.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 1.0), "soft ratio of 1.5"),
        ((-0.1, 1.0), "soft ratio of -0.1"),
        ((0.5, 0.0), "temperature of 0"),
        ((0.5, 1.0, 1), "t_power is 1"),
    ],
)
def test_settings_are_checked(arguments, message):
    with pytest.raises(SettingError, match=message):
        DistillationLoss(*arguments)


def test_samples_without_a_label_have_a_soft_ratio_of_one():
    torch.manual_seed(0)
    student, teacher, labels = (
        torch.randn(5, 3),
        torch.randn(5, 3),
        torch.tensor([0, -100, 2, -100, 1]),
    )
    known = labels >= 0
    expected = 3 * DistillationLoss(0.3, 2.0)(student[known], teacher[known], labels[known])
    expected = (expected + 2 * DistillationLoss(1.0, 2.0)(student[~known], teacher[~known])) / 5
    torch.testing.assert_close(DistillationLoss(0.3, 2.0)(student, teacher, labels), expected)
    none = torch.full((5,), -100)
    torch.testing.assert_close(
        DistillationLoss(0.3, 2.0)(student, teacher, none),
        DistillationLoss(1.0, 2.0)(student, teacher),
    )
    one = torch.randn(5), torch.randn(5)
    torch.testing.assert_close(
        DistillationLoss(0.3, 2.0)(*one, none), DistillationLoss(1.0, 2.0)(*one)
    )


def test_at_a_soft_ratio_of_zero_they_do_not_count():
    torch.manual_seed(0)
    student, labels = torch.randn(5, 3), torch.tensor([0, -100, 2, -100, 1])
    found = DistillationLoss(0.0, 2.0)(student, student, labels)
    torch.testing.assert_close(found, functional.cross_entropy(student, labels))
    with pytest.raises(SettingError, match="No sample is labelled"):
        DistillationLoss(0.0, 2.0)(student, student, torch.full((5,), -100))


@pytest.mark.parametrize(
    ("student", "teacher", "labels", "message"),
    [
        ((2, 4, 9), (2, 4, 9), [0, 1], r"Student logits have shape \(2, 4, 9\).*logits\[mask\]"),
        ((2, 3), (2, 4), [0, 1], "expected the same"),
        ((2, 3), (2, 3), [[0], [1]], r"Labels have shape \(2, 1\)"),
        ((2, 3), (2, 3), [0, 3], "The label 3 is outside 0 … 2"),
        ((2, 3), (2, 3), [0, -1], "The label -1 is outside 0 … 2"),
        ((2,), (2,), [0, 2], "The label 2 is outside 0 … 1"),
        ((2,), (2,), [0.0, 0.5], "The label 0.5 is outside 0 … 1"),
    ],
)
def test_what_is_no_batch_is_said(student, teacher, labels, message):
    with pytest.raises(SettingError, match=message):
        DistillationLoss(0.5, 2.0)(torch.randn(student), torch.randn(teacher), torch.tensor(labels))
