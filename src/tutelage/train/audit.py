"""What a loss function really weighs: its soft ratio, temperature and scale, from its gradients.

The loss (1.2) of one sample has the gradient A/T [σ(z/T) - σ(z_t/T)] + B [σ(z) - e_y], with A = s ρ
T^a and B = s (1 - ρ). B shows where the label alone changes, T and A in what is left. From
gradients alone A and B are known, and a is not: ρ and s are told for the power that was asked for.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional

from tutelage.exceptions import SettingError

Loss = Callable[..., Any]
Term = Callable[[Tensor, Tensor, Tensor, float], Tensor]
_PROBES, _SPREAD = 24, 3.0  # samples, and the standard deviation of their logits
_EXACT = {torch.float64: 1e-7, torch.float32: 1e-3}  # relative, of gradients that are explained
_NONE = 1e-6  # of a weight beside the other, that is nothing but rounding
_ONE = 1e-6  # a temperature so near to 1 is 1
_COLDEST, _HOTTEST, _TRIED = 0.05, 200.0, 240


@dataclass(frozen=True)
class Audit:
    """What a loss is.

    Attributes
    ----------
    mixture : bool
        Whether it is ``scale * (soft_ratio * T**t_power * H(σ(z_t/T), σ(z/T)) + (1 - soft_ratio) *
        H(y, σ(z)))``; if not, the numbers are None.
    soft_ratio, temperature, scale : float, optional
        Without a teacher's term the temperature is None.
    t_power : int
        The power of the temperature that soft ratio and scale are told for, which gradients do not
        show: another power is the same loss with other numbers.
    soft_weight, hard_weight : float, optional
        Of the teacher's term as a whole, ``scale * soft_ratio * T**t_power``, and of the label's.
    remarks : tuple of str
        What else is to be said of it: what it is, if it is no mixture; what is probably not meant.

    Examples
    --------
    >>> from tutelage.lab import DistillationLoss
    >>> found = audit(DistillationLoss(soft_ratio=0.9, temperature=4.0))
    >>> found.mixture, round(found.soft_ratio, 4), round(found.temperature, 4)
    (True, 0.9, 4.0)
    """

    mixture: bool
    soft_ratio: float | None
    temperature: float | None
    scale: float | None
    t_power: int
    soft_weight: float | None
    hard_weight: float | None
    remarks: tuple[str, ...]

    @property
    def words(self) -> str:
        """It in sentences."""
        if not self.mixture:
            return " ".join(["It is no mixture of a teacher's and a label's cross-entropy.",
                             *self.remarks])  # fmt: skip
        at = told = ""
        if self.temperature is not None and self.soft_weight is not None:
            at = (
                f", a temperature of {self.temperature:.6g} (with T^{self.t_power} before the"
                " teacher's term)"
            )
            if self.soft_ratio != 1 and abs(self.temperature - 1) > _ONE:
                power = 2 - self.t_power
                told = f" Told with T^{power} it has a soft ratio of {self._ratio(power):.4g}."
        first = (
            f"It is a mixture with a soft ratio of {self.soft_ratio:.4g}{at}, and a scale of"
            f" {self.scale:.4g}.{told}"
        )
        return " ".join([first, *self.remarks])

    def _ratio(self, t_power: int) -> float:
        assert self.soft_weight is not None
        assert self.hard_weight is not None
        assert self.temperature is not None
        weighed = self.soft_weight / self.temperature**t_power
        return weighed / (weighed + self.hard_weight)


def audit(loss: Loss, *, classes: int = 10, t_power: int = 2, seed: int = 0) -> Audit:
    """Tell the soft ratio, temperature and scale that a loss function really has.

    Parameters
    ----------
    loss : callable, `transformers.Trainer` or Lightning module
        ``loss(student_logits, teacher_logits, labels)``, which gives a scalar: logits of shape (n,
        C), labels (n,). Arguments are given by name where their names tell which is which. Of a
        trainer its `compute_loss`: batches have `labels` and `teacher_logits`, and modules that it
        keeps under a name with "teacher" in it give the teacher's logits. Of a Lightning module its
        `training_step`: the same of modules that it keeps; its other networks, and its own
        `forward`, give the student's; batches are dicts, or tuples of inputs, labels and, where
        there is no teacher's module, teacher logits.
    classes : int
        C; 1 for one logit, whose labels are 0 and 1.
    t_power : {0, 2}
        The power of the temperature that soft ratio and scale are told for.
    seed : int
        Of the probes.

    Returns
    -------
    Audit

    Raises
    ------
    SettingError
        If the loss fails, or does not give one number that depends on the student's logits.

    Examples
    --------
    A hand-written loss, with the default reduction of `kl_div`, which divides by the classes, too:

    >>> from torch.nn import functional as F
    >>> def mine(student, teacher, labels):
    ...     soft = F.kl_div(
    ...         F.log_softmax(student / 4, 1), F.softmax(teacher / 4, 1), reduction="none").mean()
    ...     return 0.5 * 16 * soft + 0.5 * F.cross_entropy(student, labels)
    >>> found = audit(mine)
    >>> round(found.soft_ratio, 4), round(found.temperature, 4)
    (0.0909, 4.0)
    >>> found.remarks[0][:63]
    "Its teacher's term is divided by the number of classes, as kl_d"
    """
    if classes < 1 or t_power not in (0, 2):
        raise SettingError(
            f"A loss was to be audited with {classes} classes and a t_power of {t_power}; expected"
            " 1 class or more, and 0 or 2."
        )
    if hasattr(loss, "compute_loss"):
        loss = _of_trainer(loss)
    elif hasattr(loss, "training_step"):
        loss = _of_step(loss, classes)
    probes = _Probes.of(loss, classes, seed)
    fit = _mixed(probes)
    if fit is None:
        return Audit(False, None, None, None, t_power, None, None, _otherwise(probes))
    soft, hard, temperature = fit
    weighed = soft / temperature**t_power
    scale = weighed + hard
    remarks = (
        *_odd_signs(soft, hard),
        *_of_the_teacher(probes, hard),
        *_by_classes(loss, probes, fit),
        *_by_samples(loss, probes),
    )
    known = temperature if soft else None
    return Audit(True, weighed / scale, known, scale, t_power, soft, hard, remarks)


@dataclass(frozen=True)
class _Probes:
    """Samples, and the gradient of each one's loss.

    Attributes
    ----------
    student, teacher : Tensor of shape (n, C)
    labels : Tensor of shape (n,)
    gradient : Tensor of shape (n, C)
        With respect to the student's logits, each sample a batch of its own.
    beside : Tensor of shape (n, C)
        With the next label in its place.
    of_teacher, of_teacher_beside : Tensor of shape (n, C)
        The same with respect to the teacher's logits.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor
    gradient: Tensor
    beside: Tensor
    of_teacher: Tensor
    of_teacher_beside: Tensor

    @classmethod
    def of(cls, loss: Loss, classes: int, seed: int) -> "_Probes":
        try:
            return cls._in(loss, classes, seed, torch.float64)
        except SettingError:
            raise
        except Exception:
            try:
                return cls._in(loss, classes, seed, torch.float32)
            except SettingError:
                raise
            except Exception as error:
                raise SettingError(
                    f"The loss fails with {type(error).__name__}: {error}. It is called as"
                    f" loss(student_logits, teacher_logits, labels), logits of shape (n, {classes})"
                    " and labels (n,)."
                ) from error

    @classmethod
    def _in(cls, loss: Loss, classes: int, seed: int, dtype: torch.dtype) -> "_Probes":
        generator = torch.Generator().manual_seed(seed)
        student, teacher = (
            _SPREAD * torch.randn(_PROBES, classes, generator=generator, dtype=torch.float64)
            for _ in range(2)
        )
        student, teacher = student.to(dtype), teacher.to(dtype)
        labels = torch.randint(max(2, classes), (_PROBES,), generator=generator)
        _called(loss, student[:2].clone().requires_grad_(), teacher[:2], labels[:2])
        found, beside = (
            _gradients(loss, student, teacher, y) for y in (labels, (labels + 1) % max(2, classes))
        )
        return cls(student, teacher, labels, found[0], beside[0], found[1], beside[1])

    @property
    def exact(self) -> float:
        """Relative residual that is nothing but rounding."""
        return _EXACT[self.gradient.dtype]

    @property
    def one_hot(self) -> Tensor:
        """The labels, (n, C)."""
        if self.student.shape[1] == 1:
            return self.labels[:, None].to(self.student)
        return functional.one_hot(self.labels, self.student.shape[1]).to(self.student)

    def fitted(self, terms: Sequence[Term], t: float) -> tuple[float, list[float]]:
        """Relative residual of the gradients, and the weights of the terms."""
        y = self.one_hot
        found = [term(self.student, self.teacher, y, t).double().numpy().ravel() for term in terms]
        design, target = np.stack(found, 1), self.gradient.double().numpy().ravel()
        weights, *_ = np.linalg.lstsq(design, target, rcond=None)
        left = float(np.linalg.norm(target - design @ weights))
        return left / max(float(np.linalg.norm(target)), 1e-300), weights.tolist()

    def best(self, *terms: Term) -> tuple[float, list[float], float]:
        """The same at the temperature that explains most, and that."""
        grid = np.linspace(math.log(_COLDEST), math.log(_HOTTEST), _TRIED)
        k = int(np.argmin([self.fitted(terms, math.exp(v))[0] for v in grid]))
        best = minimize_scalar(
            lambda v: math.log(self.fitted(terms, math.exp(v))[0] + 1e-300),
            bounds=(grid[max(0, k - 1)], grid[min(_TRIED - 1, k + 1)]),
            method="bounded",
            options={"xatol": 1e-13},
        )
        return *self.fitted(terms, math.exp(best.x)), math.exp(best.x)


class _Output(dict[str, Tensor]):
    """What networks of transformers return: by name, and as attributes."""

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _Told(nn.Module):
    """A network that gives the logits that it is told to give, and the labels' loss; or, `plain`,
    the logits alone.
    """

    def __init__(self, logits: Tensor, *, plain: bool = False) -> None:
        super().__init__()
        self.logits, self.plain = logits, plain

    def forward(self, *_: Any, **inputs: Tensor) -> Any:
        if self.plain:
            return self.logits
        found = _Output(logits=self.logits)
        if inputs.get("labels") is not None:
            found["loss"] = functional.cross_entropy(self.logits, inputs["labels"])
        return found


def _of_trainer(trainer: Any) -> Loss:
    """A trainer's loss as a function of logits and labels."""

    def loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Any:
        kept = {
            name: value
            for name, value in vars(trainer).items()
            if "teacher" in name and isinstance(value, nn.Module)
        }
        inputs = {"labels": labels, "teacher_logits": teacher_logits,
                  "input_ids": torch.zeros(len(labels), 1, dtype=torch.int64)}  # fmt: skip
        vars(trainer).update(dict.fromkeys(kept, _Told(teacher_logits)))
        try:
            return trainer.compute_loss(_Told(student_logits), inputs)
        finally:
            vars(trainer).update(kept)

    return loss


def _of_step(module: Any, classes: int) -> Loss:
    """A Lightning module's loss as a function of logits and labels: the first way in which its
    step can be called.
    """
    few = torch.randn(2, classes, generator=torch.Generator().manual_seed(0))
    labels, first = torch.tensor([0, 1]), None
    for plain in (True, False):
        for batch_of in _BATCHES:
            loss = _stepped(module, batch_of, plain=plain)
            try:
                _called(loss, few.clone().requires_grad_(), few.flip(0), labels)
            except Exception as error:
                first = first or error
            else:
                return loss
    assert first is not None
    raise SettingError(
        f"The training_step of {type(module).__name__} fails with {type(first).__name__}: {first}."
        " It is called with tuples of inputs, labels and teacher logits, and with dicts of"
        " input_ids, labels and teacher_logits; its networks stand as its own attributes, the"
        " teacher's with teacher in its name. Give the loss function itself."
    ) from first


_BATCHES: tuple[Callable[[Tensor, Tensor, Tensor], Any], ...] = (
    lambda x, y, z: (x, y),
    lambda x, y, z: (x, y, z),
    lambda x, y, z: (x, z, y),
    lambda x, y, z: {"input_ids": x.long(), "x": x, "labels": y, "teacher_logits": z},
)


def _stepped(module: Any, batch_of: Callable[..., Any], *, plain: bool) -> Loss:
    def loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Any:
        kept = dict(module.named_children())
        student, teacher = (_Told(z, plain=plain) for z in (student_logits, teacher_logits))
        of_teacher = {name for name in kept if "teacher" in name.lower()}
        networks = {name for name, child in kept.items() if any(True for _ in child.parameters())}
        told = dict.fromkeys(networks, student) | dict.fromkeys(of_teacher, teacher)
        module._modules.update(told)
        own_forward = vars(module).get("forward")
        vars(module)["forward"] = student.forward
        try:
            with warnings.catch_warnings():  # a module without a trainer cannot log
                warnings.simplefilter("ignore")
                batch = batch_of(torch.zeros(len(labels), 1), labels, teacher_logits)
                found = module.training_step(batch, 0)
            return found["loss"] if isinstance(found, dict) else found
        finally:
            module._modules.update(kept)
            del vars(module)["forward"]
            if own_forward is not None:
                vars(module)["forward"] = own_forward

    return loss


def _gradients(
    loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Of every sample's own loss, with respect to both logits."""
    found = []
    for i in range(len(student)):
        z, of = (t[i : i + 1].clone().requires_grad_() for t in (student, teacher))
        value = _called(loss, z, of, labels[i : i + 1])
        given = torch.autograd.grad(value, (z, of), allow_unused=True)
        found.append([torch.zeros_like(z) if g is None else g for g in given])
    ours, theirs = (torch.cat(side).detach() for side in zip(*found, strict=True))
    if not bool(torch.isfinite(ours).all()):
        raise SettingError("The loss has gradients that are not finite at ordinary logits.")
    return ours, theirs


def _called(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Call a loss, by name where the names of its arguments tell which is which."""
    names = _named(loss)
    if names is None:
        value = loss(student, teacher, labels)
    else:
        value = loss(**dict(zip(names, (student, teacher, labels), strict=True)))
    value = value[0] if isinstance(value, tuple | list) and value else value
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise SettingError(
            f"The loss gave {shape} for a batch; expected a tensor with one number, the mean over"
            " samples."
        )
    if not value.requires_grad:
        raise SettingError(
            "The loss does not depend on the student's logits (its value has no gradient). Look for"
            " detach(), argmax or numpy in it."
        )
    return value.reshape(())


def _named(loss: Loss) -> tuple[str, str, str] | None:
    """The names of the arguments that are the student's, the teacher's and the labels."""
    target = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        names = [
            p.name
            for p in inspect.signature(target).parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
    except (TypeError, ValueError):
        return None
    marks = (("student",), ("teacher",), ("label", "target", "truth"))
    found = []
    for of_role in marks:
        fitting = [n for n in names if any(mark in n.lower() for mark in of_role)]
        if len(fitting) != 1:
            return None
        found.append(fitting[0])
    return (found[0], found[1], found[2]) if len(set(found)) == 3 else None


# The terms: gradients with respect to z, where σ is softmax, or the sigmoid of one logit.


def _sigma(z: Tensor) -> Tensor:
    return torch.sigmoid(z) if z.shape[1] == 1 else torch.softmax(z, 1)


def _log_sigma(z: Tensor) -> Tensor:
    return torch.log_softmax(z, 1)


def _soft(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    return (_sigma(z / t) - _sigma(of / t)) / t


def _hard(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    return _sigma(z) - y


def _hard_at_t(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    return (_sigma(z / t) - y) / t


def _smoothing(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    return y - 1 / z.shape[1]


def _reversed(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    p, apart = _sigma(z / t), _log_sigma(z / t) - _log_sigma(of / t)
    return p * (apart - (p * apart).sum(1, keepdim=True)) / t


def _against(target: Callable[[Tensor, float], Tensor]) -> Term:
    """Of Σ -target log σ(z / T), whatever the target sums to."""

    def term(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
        wanted = target(of, t)
        return (_sigma(z / t) * wanted.sum(1, keepdim=True) - wanted) / t

    return term


def _no_log(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    p, q = _sigma(z / t), _sigma(of / t)
    return -p * (q - (p * q).sum(1, keepdim=True)) / t


def _squared(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    return z - of


def _squared_probabilities(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    p, q = _sigma(z / t), _sigma(of / t)
    apart = p - q
    return p * (apart - (p * apart).sum(1, keepdim=True)) / t


def _student_untempered(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    return _sigma(z) - _sigma(of / t)


def _teacher_untempered(z: Tensor, of: Tensor, y: Tensor, t: float) -> Tensor:
    return (_sigma(z / t) - _sigma(of)) / t


def _decided(of: Tensor, t: float) -> Tensor:
    return functional.one_hot(of.argmax(1), of.shape[1]).to(of)


_OTHERS: list[tuple[tuple[Term, ...], str]] = [
    ((_reversed, _hard), "Its teacher's term is the divergence of the teacher from the student: the"
     " arguments of KL are swapped. Write kl_div(log_softmax(student / T), softmax(teacher / T))."),
    ((_against(lambda of, t: of / t), _hard), "Its teacher's term takes the teacher's logits for"
     " probabilities. Write softmax(teacher / T) for the target of kl_div."),
    ((_against(lambda of, t: _log_sigma(of / t)), _hard), "Its teacher's term takes its"
     " log-probabilities for probabilities. Give kl_div log_target=True, or softmax(teacher / T)."),
    ((_no_log, _hard), "Its teacher's term gives kl_div the student's probabilities; it takes"
     " log-probabilities. Write log_softmax(student / T)."),
    ((_teacher_untempered, _hard), "The temperature divides the student's logits and not the"
     " teacher's. Write softmax(teacher / T)."),
    ((_student_untempered, _hard), "The temperature divides the teacher's logits and not the"
     " student's. Write log_softmax(student / T)."),
    ((_soft, _hard_at_t), "The temperature divides the student's logits in the label's term, too."
     " Give the label's cross-entropy the logits as they are."),
    ((_squared, _hard), "Its teacher's term is the squared difference of logits: what distillation"
     " becomes at a very high temperature, without one of its own."),
    ((_squared_probabilities, _hard), "Its teacher's term is the squared difference of"
     " probabilities. Write kl_div(log_softmax(student / T), softmax(teacher / T),"
     " reduction='batchmean')."),
    ((_against(_decided), _hard), "Its teacher's term takes the teacher's decisions for labels, and"
     " nothing of what else its logits say. Write softmax(teacher / T)."),
    ((_soft, _hard, _smoothing), "Its label's term is smoothed (label_smoothing), which is no part"
     " of the theory here. Leave it out: the teacher's term smooths labels."),
]  # fmt: skip


def _mixed(probes: _Probes) -> tuple[float, float, float] | None:
    """Weights of the teacher's and the label's term, and T, if it is a mixture of the two."""
    left, weights, temperature = probes.best(_soft, _hard)
    if left > probes.exact:
        return None
    soft, hard = (0.0 if abs(w) <= _NONE * max(map(abs, weights)) else w for w in weights)
    return (soft, hard, temperature) if soft else (0.0, hard, 1.0)


def _otherwise(probes: _Probes) -> tuple[str, ...]:
    """What a loss is that is no mixture, with what to change."""
    if probes.student.shape[1] > 1:
        for terms, said in _OTHERS:
            left, _, _ = probes.best(*terms)
            if left <= probes.exact:
                return (said,)
    return (
        (
            "Its gradients are none of those that are known: not KL with its arguments swapped, not"
            " a squared difference, not a temperature on one side only."
        ),
    )


def _odd_signs(soft: float, hard: float) -> list[str]:
    if min(soft, hard) < 0:
        side = "teacher's" if soft < 0 else "label's"
        return [f"The weight of its {side} term is negative: training moves away from it."]
    return []


def _of_the_teacher(probes: _Probes, hard: float) -> list[str]:
    """Say that the label's term is the teacher's own."""
    moved = float((probes.of_teacher - probes.of_teacher_beside).abs().max())
    if hard or moved <= probes.exact:
        return []
    return [
        "Its label's term is computed from the teacher's logits, and teaches the student nothing."
        " Give cross_entropy the student's logits."
    ]


def _by_classes(loss: Loss, probes: _Probes, fit: tuple[float, float, float]) -> list[str]:
    """Say that the teacher's term shrinks as there are more classes."""
    classes, (soft, hard, temperature) = probes.student.shape[1], fit
    if classes < 2 or soft == 0:
        return []
    try:
        more = _mixed(_Probes.of(loss, 2 * classes, 1))
    except SettingError:
        return []  # it is made for so many classes
    if more is None or abs(2 * more[0] / soft - 1) > 1e-3:
        return []
    meant = classes * soft / temperature**2
    return [
        "Its teacher's term is divided by the number of classes, as kl_div's reduction 'mean' does."
        " Write reduction='batchmean', and the soft ratio becomes"
        f" {meant / (meant + hard):.4g} (with T^2)."
    ]


def _by_samples(loss: Loss, probes: _Probes) -> list[str]:
    """Say that a batch of samples is not their mean."""
    some = slice(0, 4)
    student = probes.student[some].clone().requires_grad_()
    try:
        value = _called(loss, student, probes.teacher[some], probes.labels[some])
        [found] = torch.autograd.grad(value, student)
    except Exception:
        return []
    own = probes.gradient[some]
    for count, said in ((4, None), (1, "the sum"), (16, "divided by the batch size twice")):
        if torch.allclose(count * found, own, rtol=1e-4, atol=1e-6 * float(own.abs().max())):
            return (
                [f"Over a batch it is {said} of its samples, not their mean: its scale depends on"
                 " the batch size."]
                if said else []
            )  # fmt: skip
    return [
        "Over a batch its two terms are reduced in different ways, one summed and one averaged:"
        " its soft ratio depends on the batch size. Reduce both by the mean over samples."
    ]
