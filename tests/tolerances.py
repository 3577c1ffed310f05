"""One table of tolerances, relative and absolute, per dtype."""

import torch

TOLERANCES = {
    torch.float64: {"rtol": 1e-8, "atol": 1e-9},
    torch.float32: {"rtol": 2e-3, "atol": 2e-3},
}


def assert_close(actual, expected, *, loosen=1.0):
    """Compare tensors within the tolerance of the actual one's dtype."""
    actual, expected = torch.as_tensor(actual), torch.as_tensor(expected)
    tolerance = {name: value * loosen for name, value in TOLERANCES[actual.dtype].items()}
    torch.testing.assert_close(actual, expected.to(actual.dtype), **tolerance)
