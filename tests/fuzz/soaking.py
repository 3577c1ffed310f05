"""How many examples a run of the fuzz tests takes: few in CI, the same ones each time; many and new
ones in `make soak`."""

import os

from hypothesis import HealthCheck, settings


def examples(few, many):
    """300 tasks in CI, 20,000 where they soak."""
    soaks = bool(os.environ.get("TUTELAGE_SOAK"))
    return settings(
        max_examples=many if soaks else few,
        derandomize=not soaks,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
