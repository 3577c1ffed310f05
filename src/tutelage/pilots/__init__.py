"""Plans of networks within a budget: theory on a part of the pool, corrected by a few real
students.
"""

from tutelage.pilots.budget import Budget, cannot
from tutelage.pilots.corrected import linearised, within

__all__ = ["Budget", "cannot", "linearised", "within"]
