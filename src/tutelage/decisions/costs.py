"""Which teacher to ask, where a sample costs more with one teacher than with another."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_LINE = 60  # spends along a curve


@dataclass(frozen=True)
class Bought:
    """What an amount buys of one teacher.

    Attributes
    ----------
    n : int
        Samples; no more than the pool has.
    error, error_se : float
        Predicted for a student of these samples.
    """

    n: int
    error: float
    error_se: float

    def behind(self, other: "Bought") -> tuple[float, float]:
        """How much more its student errs than another one's, and the standard error of that."""
        return self.error - other.error, math.hypot(self.error_se, other.error_se)


@dataclass(frozen=True)
class Offer:
    """One teacher: the predicted error of its student over the number of samples, and the price.

    Attributes
    ----------
    sizes, error, error_se : list
        As `Samples` has them; the last size is the pool.
    cost : float
        Of one sample with this teacher's output, in any unit that all offers share.
    """

    sizes: list[int]
    error: list[float | None]
    error_se: list[float | None]
    cost: float

    @classmethod
    def of(cls, plan: dict[str, Any], cost: float) -> "Offer":
        """Take the curve of a plan's recommended setting from plan.json."""
        curve = plan["samples"]
        return cls(curve["sizes"], curve["error"], curve["error_se"], cost)

    @property
    def least(self) -> float:
        """What the smallest size costs of which an error is predicted."""
        return self.cost * self._known[0][0]

    @property
    def most(self) -> float:
        """What the whole pool costs."""
        return self.cost * self.sizes[-1]

    def bought(self, spend: float) -> Bought | None:
        """Give what an amount buys; None where it is less than `least`.

        Errors between two sizes are read off a line over log n.
        """
        n = min(int(spend / self.cost * (1 + 1e-12)), self.sizes[-1])
        sizes, *read = zip(*self._known, strict=True)
        if n < sizes[0]:
            return None
        error, spread = (float(np.interp(np.log(n), np.log(sizes), of)) for of in read)
        return Bought(n, error, spread)

    @property
    def _known(self) -> list[tuple[int, float, float]]:
        """The curve where there is an error."""
        rows = zip(self.sizes, self.error, self.error_se, strict=True)
        return [(n, error, se) for n, error, se in rows if error is not None and se is not None]


def ranked(offers: dict[str, Offer], spend: float) -> list[tuple[str, Bought]]:
    """Give the teachers of which an amount buys enough, the least predicted error first."""
    found = [(name, offer.bought(spend)) for name, offer in offers.items()]
    return sorted(((n, b) for n, b in found if b is not None), key=lambda row: row[1].error)


def spends(offers: dict[str, Offer]) -> list[float]:
    """Give round amounts (1, 2, 5, 10, …) from what buys a student of any teacher, to the whole
    pool with the dearest one.
    """
    low, high = _ends(offers)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    rounded = [step * 10.0**power for power, step in itertools.product(powers, (1, 2, 5))]
    return [spend for spend in rounded if low <= spend < high] + [high]


def along(offers: dict[str, Offer]) -> list[float]:
    """Give many amounts between the same ends, for a chart."""
    return np.geomspace(*_ends(offers), _LINE).tolist()


def _ends(offers: dict[str, Offer]) -> tuple[float, float]:
    return min(o.least for o in offers.values()), max(o.most for o in offers.values())
