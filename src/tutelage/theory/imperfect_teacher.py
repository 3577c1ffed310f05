"""The imperfect teacher: what hard labels correct, and whether that helps (docs/theory.md §6)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.data.checks import NOT_LABELLED
from tutelage.theory.factor import inner_products


@dataclass(frozen=True)
class Angles:
    """Cosines between the teacher's weights, their correction and a reference direction, (sizes,
    ...).

    Attributes
    ----------
    teacher_reference : Tensor
        cos(ŵ_t, ŵ_g): how well the teacher alone points.
    correction_reference : Tensor
        cos(δŵ_h, ŵ_g): where the hard labels pull; 0 where there is no correction (ρ = 1).
    correction_teacher : Tensor
        cos(δŵ_h, ŵ_t).
    effective_reference : Tensor
        cos(ŵ_eff, ŵ_g): how well the student points in the end.
    """

    teacher_reference: Tensor
    correction_reference: Tensor
    correction_teacher: Tensor
    effective_reference: Tensor

    @property
    def labels_help_first_order(self) -> Tensor:
        """Whether a little of the labels turns the student toward the reference, (6.1)."""
        return self.correction_reference > self.teacher_reference * self.correction_teacher

    @property
    def labels_help(self) -> Tensor:
        """Whether all of the correction does."""
        return self.effective_reference > self.teacher_reference


def angles(
    teacher: Float[Tensor, "N C"],
    effective: Float[Tensor, "N *settings C"],
    reference: Float[Tensor, "N C"],
    sizes: list[int],
) -> Angles:
    """Give all cosines of §6 at all sizes.

    Parameters
    ----------
    teacher : Tensor of shape (N, C)
        U of the teacher's (centred) logits.
    effective : Tensor of shape (N, ..., C)
        U of the effective logits.
    reference : Tensor of shape (N, C)
        U of the reference direction z_g.
    sizes : list of int

    Returns
    -------
    Angles
    """
    spread = (len(teacher),) + (1,) * (effective.ndim - 2) + (teacher.shape[1],)
    t, g = teacher.reshape(spread), reference.reshape(spread)
    correction = effective - t

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return inner_products(a, b, sizes).sum(-1)

    return cosines(
        dot(t, t), dot(g, g), dot(correction, correction), dot(effective, effective),
        dot(t, g), dot(correction, g), dot(correction, t), dot(effective, g),
    )  # fmt: skip


def cosines(
    tt: Tensor, gg: Tensor, cc: Tensor, ee: Tensor, tg: Tensor, cg: Tensor, ct: Tensor, eg: Tensor
) -> Angles:
    """Give the cosines of §6 from inner products of the weights: of the teacher t, the reference g,
    the correction c and the student e; tensors that broadcast to those of e.
    """
    tiny, eps = torch.finfo(ee.dtype).tiny, torch.finfo(ee.dtype).eps

    def cosine(product: Tensor, square1: Tensor, square2: Tensor) -> Tensor:
        length = (square1 * square2).clamp_min(0).sqrt()
        return torch.where(length > 0, product / length.clamp_min(tiny), 0.0).clamp(-1, 1)

    # At ρ = 1 nothing is corrected, and what is left of the difference is the rounding of two
    # solves.
    cc = torch.where(cc > (1e4 * eps) ** 2 * tt, cc, 0.0)
    return Angles(
        teacher_reference=cosine(tg, tt, gg).expand_as(ee),
        correction_reference=cosine(cg, cc, gg),
        correction_teacher=cosine(ct, cc, tt),
        effective_reference=cosine(eg, ee, gg),
    )


def reference_logits(labels: Int[Tensor, " n"], n_logits: int) -> Float[Tensor, "n n_logits"]:
    """Give centred one-hot labels e_y - 1/C, shape (n, C), or 2y - 1, shape (n, 1), as reference
    direction z_g; 0 where there is no label.
    """
    known = (labels != NOT_LABELLED).to(torch.float64)[:, None]
    if n_logits == 1:
        return (2.0 * labels.to(torch.float64) - 1)[:, None] * known
    one_hot = torch.nn.functional.one_hot(labels.clamp(min=0), n_logits).to(torch.float64)
    return (one_hot - 1 / n_logits) * known


@dataclass(frozen=True)
class Split:
    """The pool samples on which teacher and label disagree, split three ways (indices,
    ascending).
    """

    label_corrects_teacher: Tensor
    teacher_corrects_label: Tensor
    undecided: Tensor


def split_disagreements(
    teacher: Int[Tensor, " N"],
    labels: Int[Tensor, " N"],
    vote_low: Int[Tensor, " N"],
    vote_high: Int[Tensor, " N"],
) -> Split:
    """Split the samples on which teacher and label disagree by the leave-one-out vote of two
    students.

    Parameters
    ----------
    teacher, labels : integer Tensor of shape (N,)
        The teacher's decision and the given label.
    vote_low, vote_high : integer Tensor of shape (N,)
        Leave-one-out decisions, (3.6), of the students at a low and at a high soft ratio.

    Returns
    -------
    Split
        *label corrects teacher* where both students, who have not seen the sample, side with the
        label; *teacher corrects label* where both side with the teacher; else *undecided*.

    Examples
    --------
    >>> import torch
    >>> t, y = torch.tensor([1, 1, 0, 1]), torch.tensor([0, 0, 0, 0])
    >>> s = split_disagreements(t, y, torch.tensor([0, 1, 0, 0]), torch.tensor([0, 1, 0, 1]))
    >>> s.label_corrects_teacher.tolist(), s.teacher_corrects_label.tolist(), s.undecided.tolist()
    ([0], [1], [3])
    """
    disagree = (teacher != labels) & (labels != NOT_LABELLED)
    for_label = disagree & (vote_low == labels) & (vote_high == labels)
    for_teacher = disagree & (vote_low == teacher) & (vote_high == teacher)
    return Split(
        for_label.nonzero()[:, 0],
        for_teacher.nonzero()[:, 0],
        (disagree & ~for_label & ~for_teacher).nonzero()[:, 0],
    )
