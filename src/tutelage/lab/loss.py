"""The loss that a plan is about, as a module to train with."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.theory.effective_logits import check_settings


class DistillationLoss(nn.Module):
    """ρ Tᵃ H(softmax(z_t/T), softmax(z/T)) + (1 - ρ) H(y, softmax(z)), averaged over the batch, (1.2).

    With cross-entropy or with Kullback-Leibler divergence in place of H the student's gradient is the same.

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

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None) -> Tensor:
        """Give the loss of a batch.

        Parameters
        ----------
        student_logits, teacher_logits : Tensor of shape (n, C), or (n,) or (n, 1) for one logit
        labels : integer Tensor of shape (n,), optional
            May be missing at a soft ratio of 1.

        Returns
        -------
        Tensor of shape ()
        """
        student, teacher = (_two_axes(z) for z in (student_logits, teacher_logits))
        rho, t = self.soft_ratio, self.temperature
        total = student.new_zeros(())
        if rho > 0:
            total = total + rho * t**self.t_power * _soft(student / t, teacher.to(student.dtype) / t)
        if rho < 1:
            if labels is None:
                raise ValueError("A soft ratio below 1 weighs the labels; pass them.")
            total = total + (1 - rho) * _hard(student, labels)
        return total

    def extra_repr(self) -> str:
        """What a printed network shows."""
        return f"soft_ratio={self.soft_ratio:g}, temperature={self.temperature:g}, t_power={self.t_power}"


def _two_axes(logits: Tensor) -> Tensor:
    return logits[:, None] if logits.ndim == 1 else logits


def _soft(student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(student, torch.sigmoid(teacher))
    return functional.cross_entropy(student, torch.softmax(teacher, 1))


def _hard(student: Tensor, labels: Tensor) -> Tensor:
    if student.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(student[:, 0], labels.to(student.dtype))
    return functional.cross_entropy(student, labels)
