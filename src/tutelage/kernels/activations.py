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
from tutelage.kernels import codes as code

Duals = tuple[Tensor, Tensor]
"""``E[a(u) a(v)]`` and ``E[a'(u) a'(v)]``, shaped as the covariance they come from."""

_HIGHEST = 128  # degree, for quadrature in float64
_LOST = 1e-3  # of an activation's mean square, that its Hermite series may leave out


class Activation:
    """A scalar function of each unit; what it follows must be Gaussian: a `Dense` or `Conv`, or
    sums of them.
    """

    kind: ClassVar[int]

    @property
    def constants(self) -> tuple[float, float]:
        """What the compiled dual of this kind is told."""
        return 0.0, 0.0

    @property
    def n_features(self) -> int:
        """How many `features` there are."""
        return 1

    def features(self, q: Tensor) -> Tensor:
        """What the compiled dual needs of one side's variances: (n_features, *q.shape)."""
        return q[None]

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """Give both duals of a covariance k (overwritten) and variances q1, q2 that broadcast to
        it.
        """
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the activation itself, as a network of finite width does."""
        raise NotImplementedError


@dataclass(frozen=True)
class Identity(Activation):
    """x."""

    kind = code.LINEAR

    @property
    def constants(self) -> tuple[float, float]:
        """The slope squared."""
        return 1.0, 0.0

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """See `Activation`."""
        return k, torch.ones_like(k)

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return x


class _Bent(Activation):
    """p x + r |x|: E[a(u) a(v)] = p² k + r² E|u||v|, the two parts being uncorrelated."""

    kind = code.ARC

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

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """See `Activation`."""
        first, second = self.constants
        scale1, scale2 = q1.sqrt(), q2.sqrt()
        tiny = torch.finfo(k.dtype).tiny
        # Rounding leaves the cosine of parallel inputs a few ulps short of 1, which the arc sine
        # would turn into an angle of 1e-8: the factor `snap` lifts it over 1, for the clamp to cut.
        # A zero input has scale 0, and so cosine and value 0.
        snap = 1 + 8 * torch.finfo(k.dtype).eps
        cosine = (
            k.mul_(snap / scale1.clamp_min(tiny)).mul_(1 / scale2.clamp_min(tiny)).clamp_(-1, 1)
        )
        turn = torch.asin(cosine).add_(second)
        sine = torch.addcmul(
            torch.ones((), dtype=k.dtype, device=k.device), cosine, cosine, value=-1
        ).sqrt_()
        value = cosine.mul_(turn).add_(sine).mul_(scale1 * first).mul_(scale2)
        return value, turn.mul_(first)


@dataclass(frozen=True)
class Relu(_Bent):
    """max(x, 0)."""

    @property
    def _parts(self) -> tuple[float, float]:
        return 0.5, 0.5

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.relu(x)


@dataclass(frozen=True)
class LeakyRelu(_Bent):
    """max(x, 0) + slope · min(x, 0), with a slope below 1."""

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
class Abs(_Bent):
    """|x|."""

    @property
    def _parts(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return x.abs()


@dataclass(frozen=True)
class Erf(Activation):
    """The error function."""

    kind = code.ERF

    @property
    def constants(self) -> tuple[float, float]:
        """See `dual`."""
        return 2 / math.pi, 0.0

    def features(self, q: Tensor) -> Tensor:
        """1/√(1 + 2q)."""
        return (1 + 2 * q).rsqrt()[None]

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """See `Activation`."""
        root1, root2 = (1 + 2 * q1).rsqrt(), (1 + 2 * q2).rsqrt()
        sine = k.mul_(2 * root1).mul_(root2).clamp_(-1, 1)
        cosine = torch.addcmul(
            torch.ones((), dtype=k.dtype, device=k.device), sine, sine, value=-1
        ).rsqrt_()
        derivative = cosine.mul_((4 / math.pi) * root1).mul_(root2)
        return sine.asin_().mul_(2 / math.pi), derivative

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.erf(x)


@dataclass(frozen=True)
class Gelu(Activation):
    """x Φ(x), the exact one, with the error function."""

    kind = code.GELU

    @property
    def constants(self) -> tuple[float, float]:
        """See `dual`."""
        return 0.5 / math.pi, 0.0

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """See `Activation`."""
        product = q1 * q2
        product_plus = (1 + q1) * (1 + q2)
        gap = (product_plus - k * k).clamp_min_(torch.finfo(k.dtype).tiny)
        root = gap.sqrt()
        angle = torch.atan2(k, root)
        value = (k * k + product * gap) / (product_plus * root) + k * angle
        derivative = (1 / gap + (1 - product) / product_plus + 1).mul_(k).div_(root).add_(angle)
        return value.div_(2 * math.pi).add_(k, alpha=0.25), derivative.div_(2 * math.pi).add_(0.25)

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.nn.functional.gelu(x)


@dataclass(frozen=True)
class Sin(Activation):
    """sin x: e^(-(q1+q2)/2) sinh k."""

    kind = code.SIN

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """See `Activation`."""
        middle = (q1 + q2) / 2
        up, down = (k - middle).exp_(), (-k - middle).exp_()
        return (up - down) / 2, (up + down) / 2

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.sin(x)


@dataclass(frozen=True)
class Gaussian(Activation):
    """e^(-x²): ((1+2q1)(1+2q2) - 4k²)^(-1/2)."""

    kind = code.GAUSSIAN

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """See `Activation`."""
        spread = 1 / ((1 + 2 * q1) * (1 + 2 * q2) - 4 * k * k)
        value = spread.sqrt()
        return value, 4 * k * spread * value

    def __call__(self, x: Tensor) -> Tensor:
        """See `Activation`."""
        return torch.exp(-x.square())


@dataclass(frozen=True)
class Rbf(Activation):
    """√2 sin(√2 x + π/4), whose dual is the squared-exponential kernel e^(-(q1+q2-2k))."""

    kind = code.RBF

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """See `Activation`."""
        value = (2 * k - q1 - q2).exp_()
        return value, 2 * value

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

    kind = code.SERIES

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

    def dual(self, k: Tensor, q1: Tensor, q2: Tensor) -> Duals:
        """See `Activation`."""
        own1, own2 = self.features(q1), self.features(q2)
        scale = (own1[0] * own2[0]).clamp_min(torch.finfo(k.dtype).tiny)
        cosine = (k / scale).clamp_(-1, 1)
        value, slope = torch.zeros_like(cosine), torch.zeros_like(cosine)
        for left, right in zip(own1[1:], own2[1:], strict=True):
            slope.mul_(cosine).add_(value)
            value.mul_(cosine).add_(left * right)
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


ACTIVATIONS: dict[str, Callable[[], Activation]] = {
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "abs": Abs,
    "erf": Erf,
    "gelu": Gelu,
    "sin": Sin,
    "identity": Identity,
    "gaussian": Gaussian,
    "rbf": Rbf,
}


def activation(name: str) -> Activation:
    """Look an activation up by its name.

    Parameters
    ----------
    name : str
        One of ``relu``, ``leaky_relu``, ``abs``, ``erf``, ``gelu``, ``sin``, ``identity``,
        ``gaussian``, ``rbf``.

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
