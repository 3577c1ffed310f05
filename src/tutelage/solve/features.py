"""Students in D features: sums over the samples, in one pass, whose memory does not grow with them.

With Φ̃ the features of a pool and r what they leave of its kernel's diagonal, Θ ≈ Φ̃Φ̃ᵀ + rI,
(3.8), and the student of n samples is a ridge regression on the features, (3.9).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tutelage.data.inputs import Inputs, flat, floating
from tutelage.data.part import Part
from tutelage.exceptions import TutelageError
from tutelage.grid import Grid
from tutelage.theory import imperfect_teacher, transfer_risk

# Ridge, of the kernel's diagonal, by the dtype that features come in.
_LEAST = {torch.float32: 1e-6, torch.float64: 1e-10}
_SMALL = 1e-6  # of a sample's own weight that is left


class Features(Protocol):
    """D numbers for each input, such as `Landmarks`."""

    def __len__(self) -> int:
        """D."""

    def __call__(self, x: Inputs) -> Tensor:
        """φ̃(x), (n, D)."""

    def prior(self, x: Inputs) -> Tensor:
        """Θ(x, x), (n,)."""

    def left(self, x: Inputs, features: Tensor) -> Tensor:
        """What the features leave of it, (n,)."""


class Samples(Protocol):
    """Samples that are read in parts, in a random order; picklable, for a cluster."""

    def part(self, start: int, stop: int) -> Part:
        """Those from start to stop."""


class Sums(NamedTuple):
    """What all students of some samples need of them; sums add up over parts.

    Attributes
    ----------
    gram : Tensor of shape (D, D)
        Φ̃ᵀΦ̃.
    cross : Tensor of shape (D, columns)
        Φ̃ᵀZ; columns are those of `Targets`.
    own : Tensor of shape (E, S, C, C), or (E, S, C, 1)
        ZᵀZ over classes; of many classes its diagonal.
    inner : Tensor of shape (7, E, S)
        Inner products of targets that §6 takes, see `_products`.
    left, prior : Tensor of shape ()
        Θ(x, x) less the features' squared length, and Θ(x, x).
    copied : Tensor of shape ()
        Samples that are held out, too.
    """

    gram: Tensor
    cross: Tensor
    own: Tensor
    inner: Tensor
    left: Tensor
    prior: Tensor
    copied: Tensor


def in_double(sums: Sums) -> Sums:
    """The same in float64."""
    return Sums(*(value.double() for value in sums))


def added(one: Sums, other: Sums) -> Sums:
    """In float64."""
    return Sums(*(a.double() + b for a, b in zip(one, other, strict=True)))


@dataclass(frozen=True)
class Targets:
    """What students are to learn of some samples, less z_0.

    Attributes
    ----------
    effective : Tensor of shape (n, E, S, C)
    teacher : Tensor of shape (n, E, C)
    reference : Tensor of shape (n, C)
        Zero without labels.
    """

    effective: Tensor
    teacher: Tensor
    reference: Tensor

    @property
    def columns(self) -> Tensor:
        """All of them side by side, (n, columns)."""
        return torch.cat([v.flatten(1) for v in (self.effective, self.teacher, self.reference)], 1)

    def inner(self) -> Tensor:
        """Sums over samples and classes of the products that §6 takes, (7, E, S)."""
        own = self.teacher[:, :, None], self.reference[:, None, None], self.effective
        return _products(own, own)


Triple = tuple[Tensor, Tensor, Tensor]


def _products(left: Triple, right: Triple) -> Tensor:
    """tt, gg, cc, tg, cg, ct and eg with c = e - t, summed over the first axis and classes."""
    (t, g, e), (other_t, other_g, other_e) = left, right
    c, other_c = e - t, other_e - other_t
    pairs = [(t, other_t), (g, other_g), (c, other_c)]
    pairs += [(t, other_g), (c, other_g), (c, other_t), (e, other_g)]
    return torch.stack([(a * b).sum((0, -1)).expand(e.shape[1:3]) for a, b in pairs])


@dataclass(frozen=True)
class Reader:
    """Samples as features and targets.

    Attributes
    ----------
    samples : Samples
    features : Features
    z_0 : callable, optional
        The student's logits where it is linearised.
    grid : Grid
    fill : float, optional
        The logit that stands for classes that the teacher has masked.
    held_out : frozenset of bytes
        Digests of the test part's inputs.
    """

    samples: Samples
    features: Features
    z_0: Callable[[Inputs], Tensor] | None
    grid: Grid
    fill: float | None
    held_out: frozenset[bytes]

    def targets(self, part: Part, dtype: torch.dtype) -> Targets:
        """What students learn of a part."""
        assert part.teacher is not None
        effective, teacher, reference = self.grid.targets(part.teacher, part.labels, self.fill)
        if reference is None:
            reference = teacher.new_zeros(len(part), teacher.shape[2])
        if self.z_0 is not None:
            start = self.z_0(part.x).double()
            effective, teacher = effective - start[:, None, None], teacher - start[:, None]
        return Targets(effective.to(dtype), teacher.to(dtype), reference.to(dtype))

    def sums(self, start: int, stop: int) -> Sums:
        """Of the samples from start to stop."""
        part = self.samples.part(start, stop)
        phi, prior = self.features(part.x), self.features.prior(part.x)
        try:
            z = self.targets(part, phi.dtype)
        except TutelageError as error:
            raise type(error)(
                f"{error} (Samples are counted from the stream's sample {start:,} on.)"
            ) from error
        many = z.effective.shape[-1] > transfer_risk.MANY
        own = (
            z.effective.square().sum(0)[..., None]
            if many
            else torch.einsum("nesc,nesk->esck", z.effective, z.effective)
        )
        left = self.features.left(part.x, phi)
        copied = sum(digest in self.held_out for digest in digests(part.x))
        return Sums(
            phi.mT @ phi,
            phi.mT @ z.columns,
            own,
            z.inner(),
            left.double().sum(),
            prior.double().sum(),
            torch.tensor(float(copied)),
        )


def digests(x: Inputs) -> list[bytes]:
    """A short hash of each sample's inputs, the same in every process."""
    rows = flat(floating(x, torch.float32)).contiguous().numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]


@dataclass(frozen=True)
class Seen:
    """A part outside the pool as the features see it: what students are evaluated on.

    Attributes
    ----------
    features : Tensor of shape (m, D)
    left : Tensor of shape (m,)
        What the features leave of Θ(x, x).
    """

    features: Tensor
    left: Tensor

    @classmethod
    def of(cls, features: Features, x: Inputs) -> "Seen":
        """In float64."""
        phi = features(x)
        left = features.left(x, phi)
        return cls(phi.double(), left.double())


@dataclass(frozen=True)
class Solved:
    """The students of n samples at one ridge, (3.9).

    Attributes
    ----------
    sums : Sums
    ridge : float
        r, or a share of it.
    lower : Tensor of shape (D, D)
        Of Φ̃ᵀΦ̃ + ridge I = L Lᵀ.
    weights : Tensor of shape (D, columns)
    tail : bool
        Whether the ridge is one of the kernel's own. Where the features leave nothing, a ridge
        stands only for what the dtype cannot tell from nothing, and has no part in norms.
    """

    sums: Sums
    ridge: float
    lower: Tensor
    weights: Tensor
    tail: bool

    @classmethod
    def of(cls, sums: Sums, ridge: float, n: int, dtype: torch.dtype) -> "Solved":
        """Solve for all columns; no ridge is smaller than what the dtype can tell from nothing."""
        least = _LEAST[dtype] * float(sums.prior) / n
        tail, ridge = ridge > least, max(ridge, least)
        lower = sums.gram.clone()
        lower.diagonal().add_(ridge)
        lower = torch.linalg.cholesky(lower)
        return cls(sums, ridge, lower, torch.cholesky_solve(sums.cross, lower), tail)

    @property
    def _shape(self) -> torch.Size:
        return self.sums.own.shape[:3]

    @property
    def _effective(self) -> int:
        return self._shape.numel()

    def logits(self, seen: Seen) -> Tensor:
        """f̂_n - z_0 on a part, (m, E, S, C)."""
        return (seen.features @ self.weights[:, : self._effective]).reshape(-1, *self._shape)

    def variance(self, seen: Seen) -> Tensor:
        """σ_n² on a part, (m,): what the features leave, and what n samples leave of them."""
        inside = torch.linalg.solve_triangular(self.lower, seen.features.mT, upper=False)
        return seen.left + self.ridge * inside.square().sum(0)

    def _split(self, columns: Tensor) -> Triple:
        """Columns of the teacher, the reference and the students: (D, E, 1, C), (D, 1, 1, C), and
        (D, E, S, C).
        """
        epochs, _, classes = self._shape
        effective, teacher, reference = columns.split(
            [self._effective, epochs * classes, classes], 1
        )
        return (
            teacher.reshape(-1, epochs, 1, classes),
            reference.reshape(-1, 1, 1, classes),
            effective.reshape(-1, *self._shape),
        )

    @property
    def gram(self) -> Tensor:
        """Gram matrices of the students' weights over classes, as `Stage.missing` has them."""
        *_, w = self._split(self.weights)
        *_, b = self._split(self.sums.cross)
        many = self.sums.own.shape[-1] == 1 and self._shape[-1] > 1

        def products(other: Tensor) -> Tensor:
            if many:
                return (w * other).sum(0)[..., None]
            return torch.einsum("desc,desk->esck", w, other)

        return (self.sums.own - products(b)) / self.ridge if self.tail else products(w)

    def cosines(self) -> imperfect_teacher.Angles:
        """The angles of §6, (E, S)."""
        w, b = self._split(self.weights), self._split(self.sums.cross)
        inner = (self.sums.inner - _products(w, b)) / self.ridge if self.tail else _products(w, w)
        tt, gg, cc, tg, cg, ct, eg = inner
        return imperfect_teacher.cosines(tt, gg, cc, trace(self.gram), tg, cg, ct, eg)

    def scale(self, apart: Seen, targets: Tensor) -> Tensor:
        """s² of (4.4), (E, S, C): by how much more than the power function says samples miss that
        were kept apart.
        """
        missed = (targets - self.logits(apart)).square()
        share = (missed / self.variance(apart)[:, None, None, None]).mean(0)
        return share * transfer_risk.centred_share(self._shape[-1])

    def left_out(self, phi: Tensor, targets: Tensor) -> Tensor:
        """f̂_{-i} - z_0 of samples of the pool, (m, E, S, C), (3.6): by what each one's own weight
        is.
        """
        seen = Seen(phi.double(), phi.new_zeros(len(phi)).double())
        own = self.variance(seen)[:, None, None, None] / self.ridge
        fitted = self.logits(seen)
        return targets - (targets - fitted) / (1 - own).clamp_min(_SMALL)


def trace(gram: Tensor) -> Tensor:
    """Squared norms, summed over classes, (E, S); of Gram matrices or their diagonals."""
    same = gram[..., 0] if gram.shape[-1] == 1 else gram.diagonal(dim1=-2, dim2=-1)
    return same.sum(-1).clamp_min(0)
