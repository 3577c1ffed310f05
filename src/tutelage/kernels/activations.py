"""Activations by their duals: what a nonlinearity does to a Gaussian covariance.

For a centred Gaussian pair ``(u, v)`` with variances ``q1``, ``q2`` and covariance ``k``, an
activation ``a`` has the duals ``E[a(u) a(v)]`` and ``E[a'(u) a'(v)]``, the second of which is the
first's derivative in ``k``. They are all a wide network needs to know of its nonlinearity.

Cho and Saul, *Kernel methods for deep learning*, NeurIPS 2009 (relu); Williams, *Computing with
infinite networks*, NeurIPS 1997 (erf); Tsuchida et al., *Avoiding kernel fixed points*, ICML 2021
(gelu); Daniely, Frostig and Singer, *Toward deeper understanding of neural networks*, NeurIPS 2016
(Hermite series). All but `Elementwise` are checked against two-dimensional quadrature in the tests.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tutelage.exceptions import StudentError, nearest

Duals = tuple[Tensor, Tensor]
"""``E[a(u) a(v)]`` and ``E[a'(u) a'(v)]``, shaped as the covariance they come from."""

_HIGHEST = 128  # degree, for quadrature in float64
_LOST = 1e-3  # of an activation's mean square, that its Hermite series may leave out


ACTIVATIONS: dict[str, type["Activation"]] = {}
"""Activations by the names that SPECs know them by, each said where its class is written."""


class Activation:
    """A scalar function of each unit; what it follows must be Gaussian: a `Dense` or `Conv`, or
    sums of them.

    A new one is one class, ``class Name(Activation, name="its name in SPECs")``, with a `formula`
    and a `__call__`; see CONTRIBUTING.md.

    Examples
    --------
    One that squares, which no SPEC needs a name for:

    >>> import torch
    >>> class Square(Activation):
    ...     @staticmethod
    ...     def formula(k, q1, q2, *_):
    ...         return q1 * q2 + 2.0 * k * k, 4.0 * k
    >>> one, half = torch.ones(1, dtype=torch.float64), torch.full((1,), 0.5, dtype=torch.float64)
    >>> value, derivative = Square().dual(half, one, one)
    >>> value.item(), derivative.item()
    (1.5, 2.0)
    """

    several: ClassVar[bool] = False
    """Whether the formula takes arrays of features, rather than one feature of each side."""

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        """Enter the class among the `ACTIVATIONS`, if it has a name.

        Raises
        ------
        StudentError
            If another class has that name.
        """
        if name is None:
            return
        known = ACTIVATIONS.get(name, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise StudentError(
                f"The activation {cls.__name__} cannot be named {name!r}: {known.__name__} is."
            )
        ACTIVATIONS[name] = cls

    @property
    def constants(self) -> tuple[float, float]:
        """What the formula is told of this very activation."""
        return 0.0, 0.0

    @property
    def n_features(self) -> int:
        """How many `features` there are."""
        return 1

    def features(self, q: Tensor) -> Tensor:
        """What the formula needs of one side's variances: (n_features, *q.shape)."""
        return q[None]

    @staticmethod
    def formula(k: Tensor, one: Tensor, two: Tensor, first: float, second: float) -> Duals:
        """Give both duals of a covariance, from the features of both sides and the constants.

        It is run by torch on tensors, and compiled by numba for numbers (`duals.py`). So it is
        written with arithmetic, with functions of torch that `duals.py` knows, and with numbers
        that are floats, as 2.0. ``x *= y`` and functions that end in `_` save torch a tensor. They
        may overwrite `k`, but not the features, and no x that is read by another name afterwards.
        """
        raise NotImplementedError

    @classmethod
    def written(cls) -> Callable[..., Duals]:
        """Give the formula.

        Raises
        ------
        StudentError
            If this activation has none.
        """
        if cls.formula is Activation.formula:
            raise StudentError(
                f"The activation {cls.__name__} has no dual; write its `formula`, as those of"
                " tutelage.kernels.activations are written, or give its function to Elementwise."
            )
        return cls.formula

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """Give both duals of a covariance k (overwritten) and variances q1, q2 that broadcast to
        it.
        """
        one, two = self.features(q1), self.features(q2)
        if not self.several:
            one, two = one[0], two[0]
        return self.written()(k, one, two, *self.constants)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the activation itself, as a network of finite width does."""
        raise NotImplementedError


def eps(x: Tensor) -> float:
    """Give the relative spacing of numbers of x's dtype."""
    return torch.finfo(x.dtype).eps


def tiny(x: Tensor) -> float:
    """Give the smallest normal number of x's dtype."""
    return torch.finfo(x.dtype).tiny


def complement(x: Tensor) -> Tensor:
    """Give 1 - x², in one go."""
    one = torch.ones((), dtype=x.dtype, device=x.device)
    return torch.addcmul(one, x, x, value=-1)


class _Bent(Activation):
    """p x + r |x|: E[a(u) a(v)] = p² k + r² E|u||v|, the two parts being uncorrelated."""

    @property
    def _parts(self) -> tuple[float, float]:
        """Give p and r."""
        raise NotImplementedError

    @property
    def constants(self) -> tuple[float, float]:
        """E[a(u) a(v)] = first · s1 s2 (c (asin c + second) + √(1 - c²)), with the correlation
        c.
        """
        p, r = self._parts
        return 2 * r * r / math.pi, math.pi * p * p / (2 * r * r)

    def features(self, q: Tensor) -> Tensor:
        """The standard deviation."""
        return q.clamp_min(0).sqrt()[None]

    @staticmethod
    def formula(k: Tensor, s1: Tensor, s2: Tensor, first: float, second: float) -> Duals:
        """See `Activation`."""
        # A zero input has deviation 0, and so correlation and value 0. The root, as a compiler may
        # multiply the two.
        least = math.sqrt(tiny(k))
        # Rounding leaves the correlation of parallel inputs a few ulps short of 1, which the arc
        # sine would turn into an angle of 1e-8: this factor lifts it over 1, for the clamp to cut.
        snap = 1.0 + 8.0 * eps(k)
        k *= snap / torch.clamp_min(s1, least)
        k *= 1.0 / torch.clamp_min(s2, least)
        c = torch.clamp_(k, -1.0, 1.0)
        turn = torch.asin(c)
        turn += second
        sine = torch.sqrt_(complement(c))
        c *= turn
        c += sine
        c *= first * s1
        c *= s2
        turn *= first
        return c, turn


@dataclass(frozen=True)
class Relu(_Bent, name="relu"):
    """max(x, 0).

    Examples
    --------
    >>> import torch
    >>> Relu()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    @property
    def _parts(self) -> tuple[float, float]:
        return 0.5, 0.5

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.relu(x)


@dataclass(frozen=True)
class LeakyRelu(_Bent, name="leaky_relu"):
    """max(x, 0) + slope · min(x, 0), with a slope below 1.

    Examples
    --------
    >>> import torch
    >>> LeakyRelu(slope=0.1)(torch.tensor([-1.0, 2.0]))
    tensor([-0.1000,  2.0000])
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        if not -1e6 < self.slope < 1:
            raise StudentError(f"The slope of a leaky relu lies below 1; it was {self.slope}.")

    @property
    def _parts(self) -> tuple[float, float]:
        return (1 + self.slope) / 2, (1 - self.slope) / 2

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.nn.functional.leaky_relu(x, self.slope)


@dataclass(frozen=True)
class Abs(_Bent, name="abs"):
    """|x|.

    Examples
    --------
    >>> import torch
    >>> Abs()(torch.tensor([-1.0, 2.0]))
    tensor([1., 2.])
    """

    @property
    def _parts(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return x.abs()


@dataclass(frozen=True)
class Erf(Activation, name="erf"):
    """The error function.

    Examples
    --------
    >>> import torch
    >>> Erf()(torch.tensor([-1.0, 2.0]))
    tensor([-0.8427,  0.9953])
    """

    @property
    def constants(self) -> tuple[float, float]:
        """2/π."""
        return 2 / math.pi, 0.0

    def features(self, q: Tensor) -> Tensor:
        """1/√(1 + 2q)."""
        return (1 + 2 * q).rsqrt()[None]

    @staticmethod
    def formula(k: Tensor, r1: Tensor, r2: Tensor, first: float, _: float) -> Duals:
        """See `Activation`."""
        k *= 2.0 * r1
        k *= r2
        sine = torch.clamp_(k, -1.0, 1.0)
        slope = torch.rsqrt_(complement(sine))
        slope *= 2.0 * first * r1
        slope *= r2
        value = torch.asin_(sine)
        value *= first
        return value, slope

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.erf(x)


@dataclass(frozen=True)
class Gelu(Activation, name="gelu"):
    """x Φ(x), the exact one, with the error function.

    Examples
    --------
    >>> import torch
    >>> Gelu()(torch.tensor([-1.0, 2.0]))
    tensor([-0.1587,  1.9545])
    """

    @property
    def constants(self) -> tuple[float, float]:
        """1/(2π)."""
        return 0.5 / math.pi, 0.0

    @staticmethod
    def formula(k: Tensor, q1: Tensor, q2: Tensor, first: float, _: float) -> Duals:
        """See `Activation`."""
        product = q1 * q2
        plus = (1.0 + q1) * (1.0 + q2)
        square = k * k
        gap = torch.clamp_min_(plus - square, tiny(k))
        root = torch.sqrt(gap)
        angle = torch.asin_(torch.clamp_(k / torch.sqrt(plus), -1.0, 1.0))
        value = product * gap
        value += square
        value /= plus * root
        value += k * angle
        value *= first
        value += 0.25 * k
        slope = 1.0 - product
        slope /= plus
        slope += 1.0 / gap
        slope += 1.0
        slope *= k
        slope /= root
        slope += angle
        slope *= first
        slope += 0.25
        return value, slope

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.nn.functional.gelu(x)


@dataclass(frozen=True)
class Sin(Activation, name="sin"):
    """sin x: e^(-(q1+q2)/2) sinh k.

    Examples
    --------
    >>> import torch
    >>> Sin()(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8415])
    """

    @staticmethod
    def formula(k: Tensor, q1: Tensor, q2: Tensor, *_: float) -> Duals:
        """See `Activation`."""
        middle = 0.5 * (q1 + q2)
        up, down = torch.exp_(k - middle), torch.exp_(-k - middle)
        return 0.5 * (up - down), 0.5 * (up + down)

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.sin(x)


@dataclass(frozen=True)
class Identity(Activation, name="identity"):
    """x.

    Examples
    --------
    >>> import torch
    >>> Identity()(torch.tensor([-1.0, 2.0]))
    tensor([-1.,  2.])
    """

    @staticmethod
    def formula(k: Tensor, *_: Tensor | float) -> Duals:
        """See `Activation`."""
        return k, torch.ones_like(k)

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return x


@dataclass(frozen=True)
class Gaussian(Activation, name="gaussian"):
    """e^(-x²): ((1+2q1)(1+2q2) - 4k²)^(-1/2).

    Examples
    --------
    >>> import torch
    >>> Gaussian()(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 0.3679])
    """

    @staticmethod
    def formula(k: Tensor, q1: Tensor, q2: Tensor, *_: float) -> Duals:
        """See `Activation`."""
        spread = 1.0 / ((1.0 + 2.0 * q1) * (1.0 + 2.0 * q2) - 4.0 * k * k)
        value = torch.sqrt(spread)
        return value, 4.0 * k * spread * value

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.exp(-x.square())


@dataclass(frozen=True)
class Rbf(Activation, name="rbf"):
    """√2 sin(√2 x + π/4), whose dual is the squared-exponential kernel e^(-(q1+q2-2k)).

    Examples
    --------
    >>> import torch
    >>> Rbf()(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 1.1437])
    """

    @staticmethod
    def formula(k: Tensor, q1: Tensor, q2: Tensor, *_: float) -> Duals:
        """See `Activation`."""
        value = torch.exp_(2.0 * k - q1 - q2)
        return value, 2.0 * value

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return math.sqrt(2) * torch.sin(math.sqrt(2) * x + math.pi / 4)


@dataclass(frozen=True)
class Elementwise(Activation):
    """Any scalar function, by Gauss–Hermite quadrature.

    With the Hermite coefficients c_m(q) of the function on N(0, q), computed by quadrature, the
    duals are series in the correlation c: Σ c_m(q1) c_m(q2) cᵐ, and its derivative. No derivative
    of the function is needed.

    Parameters
    ----------
    function : callable
        From a float64 tensor to one of the same shape, element by element, such as `torch.tanh`.
    degree : int
        Terms of the series. 64 leave an `mlp` of two `torch.tanh` 1e-5 off; functions with kinks
        converge slowly, to some percent.

    Raises
    ------
    StudentError
        If the series leaves out more than a thousandth of the function's mean square.

    Examples
    --------
    >>> one, half = torch.ones(1, dtype=torch.float64), torch.full((1,), 0.5, dtype=torch.float64)
    >>> found = Elementwise(torch.sin).dual(half.clone(), one, one)
    >>> exact = Sin().dual(half.clone(), one, one)
    >>> bool((found[0] - exact[0]).abs() < 1e-12), bool((found[1] - exact[1]).abs() < 1e-12)
    (True, True)
    """

    function: Callable[[Tensor], Tensor]
    degree: int = 64

    several = True

    def __post_init__(self) -> None:
        if not callable(self.function) or not 1 <= self.degree <= _HIGHEST:
            raise StudentError(
                f"An elementwise activation takes a function and a degree in 1 … {_HIGHEST}; they"
                f" were {self.function!r} and {self.degree!r}."
            )

    @property
    def n_features(self) -> int:
        """One, and the coefficients."""
        return 1 + self.degree

    def features(self, q: Tensor) -> Tensor:
        """The standard deviation, and c_m(q) from the highest m down."""
        scale = q.clamp_min(0).double().sqrt()
        nodes, weights, hermite = _quadrature(self.degree)
        try:
            values = self.function((scale[..., None] * nodes.to(q.device)).double()).double()
        except Exception as error:
            raise StudentError(
                f"The activation {self.function!r} failed ({type(error).__name__}: {error})."
                " Expected a function from a tensor to a tensor of its shape."
            ) from error
        coefficients = values @ (hermite * weights).mT.to(q.device)
        whole = (values.square() * weights.to(q.device)).sum(-1)
        if not bool(torch.isfinite(whole).all()):
            raise StudentError(
                f"The activation {self.function!r} gives values that are not finite numbers."
            )
        lost = float((1 - coefficients.square().sum(-1) / whole.clamp_min(1e-300)).max())
        if lost > _LOST:
            raise StudentError(
                f"The activation {self.function!r} is too rough for a Hermite series of degree"
                f" {self.degree}: it leaves out {100 * lost:.1f} % of its mean square. Give a"
                " higher degree."
            )
        return torch.cat([scale[None], coefficients.movedim(-1, 0).flip(0)]).to(q.dtype)

    @staticmethod
    def formula(k: Tensor, one: Tensor, two: Tensor, *_: float) -> Duals:
        """See `Activation`."""
        scale = torch.clamp_min(one[0] * two[0], tiny(k))
        cosine = torch.clamp_(k / scale, -1.0, 1.0)
        value, slope = torch.zeros_like(k), torch.zeros_like(k)
        for m in range(1, len(one)):
            slope *= cosine
            slope += value
            value *= cosine
            value += one[m] * two[m]
        return value, slope / scale

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return self.function(x)


def _quadrature(degree: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes and weights for N(0, 1), and the orthonormal Hermite polynomials there: (degree,
    nodes).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(2 * degree + 32)
    polynomials = [np.ones_like(nodes), nodes]
    for m in range(1, degree):
        polynomials.append(
            (nodes * polynomials[m] - math.sqrt(m) * polynomials[m - 1]) / math.sqrt(m + 1)
        )
    found = (
        torch.as_tensor(v) for v in (nodes, weights / weights.sum(), np.stack(polynomials[:degree]))
    )
    return tuple(found)  # type: ignore[return-value]


def activation(name: str) -> Activation:
    """Look an activation up by its name.

    Parameters
    ----------
    name : str
        Such as ``relu``; all are the keys of `ACTIVATIONS`.

    Returns
    -------
    Activation

    Raises
    ------
    StudentError
        If the name is not known.

    Examples
    --------
    >>> import torch
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> value, derivative = activation("relu").dual(one.clone(), one, one)
    >>> value.item(), derivative.item()
    (0.5, 0.5)
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise StudentError(
            f"The activation {name!r} is not known; choose one of"
            f" {known}{nearest(name, ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]()
