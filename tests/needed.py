import os
from pathlib import Path

import pytest


def needed(path):
    """Skip what needs a system package (`make system`) that is not here; in CI, where all must be
    there, fail."""
    if not Path(path).exists():
        (pytest.fail if os.environ.get("TUTELAGE_FULL") else pytest.skip)(
            f"{path} is not installed: make system"
        )
    return path
