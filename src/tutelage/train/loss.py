"""The loss that a plan is about, as a module to train with."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.data.checks import NOT_LABELLED
from tutelage.exceptions import SettingError
from tutelage.theory.effective_logits import check_settings


class DistillationLoss(nn.Module):
    """ρ Tᵃ H(softmax(z_t/T), softmax(z/T)) + (1 - ρ) H(y, softmax(z)), averaged over the batch,
    (1.2).

    With cross-entropy or with Kullback-Leibler divergence in place of H the student's gradient is
    the same. A label of -100 means that the sample is not labelled: its soft ratio is 1.

    Parameters
    ----------
    soft_ratio : float
        ρ in [0, 1], the weight of the teacher's term.
    temperature : float
        T > 0.
    t_power : {0, 2}
        a.

    Raises
    ------
    SettingError
        If a setting lies outside its range.

    Examples
    --------
    >>> import torch
    >>> loss = DistillationLoss(soft_ratio=0.5, temperature=4.0)
    >>> student, teacher, labels = torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([0, 2])
    >>> round(loss(student, teacher, labels).item(), 4)
    9.3382
    """

    def __init__(self, soft_ratio: float, temperature: float, t_power: int = 2) -> None:
        super().__init__()
        check_settings(
            [soft_ratio] if soft_ratio else [], [temperature], t_power
        )  # a ratio of 0 can be trained, if not solved
        self.soft_ratio, self.temperature, self.t_power = soft_ratio, temperature, t_power

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """Give the loss of a batch.

        Parameters
        ----------
        student_logits, teacher_logits : Tensor of shape (n, C), or (n,) or (n, 1) for one logit
            The logits of tokens, (n, T, C), are to be brought to this shape: ``logits[mask]``
            leaves out padding, too.
        labels : integer Tensor of shape (n,), optional
            May be missing at a soft ratio of 1; -100 where a sample has none. At a soft ratio of 0
            such samples do not count.

        Returns
        -------
        Tensor of shape ()

        Raises
        ------
        SettingError
            If the logits are not of one of these shapes, or labels are missing or outside 0 … C -
            1.
        """
        student, teacher = (
            _two_axes(student_logits, "Student"),
            _two_axes(teacher_logits, "Teacher"),
        )
        if self.soft_ratio > 0 and student.shape != teacher.shape:
            raise SettingError(
                f"Student logits have shape {tuple(student.shape)}, teacher logits"
                f" {tuple(teacher.shape)}; expected the same."
            )
        if labels is None and self.soft_ratio < 1:
            raise SettingError("A soft ratio below 1 weighs the labels; pass them.")
        rho, known = self.soft_ratio, None
        if labels is not None and rho < 1:
            known = _known(labels, student)
            if rho == 0 and not bool(known.any()):
                raise SettingError(
                    "No sample is labelled (all labels are -100), and at a soft ratio of 0 nothing"
                    " else counts."
                )
        total = student.new_zeros(())
        if rho > 0:
            soft = self.temperature**self.t_power * _soft(
                student / self.temperature, teacher.to(student.dtype) / self.temperature
            )
            total = total + (soft if known is None else torch.where(known, rho * soft, soft)).mean()
        if known is not None and labels is not None:
            hard = (1 - rho) * _hard(student[known], labels[known]).sum()
            total = total + hard / (len(student) if rho > 0 else int(known.sum()))
        return total

    def extra_repr(self) -> str:
        """What a printed network shows."""
        return (
            f"soft_ratio={self.soft_ratio:g}, temperature={self.temperature:g},"
            f" t_power={self.t_power}"
        )


def _two_axes(logits: Tensor, whose: str) -> Tensor:
    if logits.ndim not in (1, 2):
        raise SettingError(
            f"{whose} logits have shape {tuple(logits.shape)}; expected (n, C), or (n,) for one"
            " logit. Of tokens pass those that count, one a row: logits[mask], or"
            " logits.flatten(0, 1)."
        )
    return logits[:, None] if logits.ndim == 1 else logits


def _known(labels: Tensor, logits: Tensor) -> Tensor:
    """Which samples are labelled."""
    classes = max(2, logits.shape[1])
    if labels.shape != logits.shape[:1]:
        raise SettingError(
            f"Labels have shape {tuple(labels.shape)}; expected ({len(logits)},), class indices."
        )
    known: Tensor = labels != NOT_LABELLED
    outside = known & (
        (labels < 0)
        | (labels >= classes)
        | (labels != labels.round() if labels.is_floating_point() else False)
    )
    if bool(outside.any()):
        raise SettingError(
            f"The label {labels[outside][0].item():g} is outside 0 … {classes - 1}; expected class"
            f" indices, or {NOT_LABELLED} for none."
        )
    return known


def _soft(student: Tensor, teacher: Tensor) -> Tensor:
    """Of each sample, (n,)."""
    if student.shape[1] == 1:
        binary = functional.binary_cross_entropy_with_logits(
            student, torch.sigmoid(teacher), reduction="none"
        )
        return binary[:, 0]
    return functional.cross_entropy(student, torch.softmax(teacher, 1), reduction="none")


def _hard(student: Tensor, labels: Tensor) -> Tensor:
    """Of each sample, (n,)."""
    if student.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(
            student[:, 0], labels.to(student.dtype), reduction="none"
        )
    return functional.cross_entropy(student, labels.long(), reduction="none")
