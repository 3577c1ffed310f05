"""Networks that sort, pack, fold, share or route their samples, and modules of every make."""

import pytest
import torch
from odd_networks import ODD, FlippedWhenLarge, Packed, SortedMean, odd
from test_empirical import blocks
from torch import nn

from tolerances import assert_close
from tutelage.kernels import empirical


@pytest.mark.parametrize("name", ODD)
def test_rows_that_are_reordered_shared_or_unusual_are_seen_in_every_batch_and_order(name):
    network, x = odd(name)
    full = blocks(network, x, x).diagonal(dim1=-2, dim2=-1).mean(-1)
    kernel = empirical(network)
    assert_close(kernel(x), full)
    assert_close(kernel(x[:1], x), full[:1])
    assert_close(kernel(x, x[:2]), full[:, :2])
    assert_close(kernel.diag(x), full.diagonal())
    assert_close(empirical(network, outputs="full")(x), blocks(network, x, x))


@pytest.mark.parametrize("make", [SortedMean, Packed])
def test_a_layer_that_is_right_on_what_it_was_tried_on_is_not_believed_elsewhere(make):
    """The pool lies longest first but for its end, which no trial need see."""
    network, x = odd("sorted" if make is SortedMean else "packed", n=40)
    lengths = (x[..., 0] > 0).sum(1) if make is SortedMean else (x > 0).sum(1)
    x = x[torch.argsort(lengths, descending=True, stable=True)]
    x = torch.cat([x[1:], x[:1]])
    expected = blocks(network, x, x).diagonal(dim1=-2, dim2=-1).mean(-1)
    assert_close(empirical(network)(x), expected)
    assert_close(empirical(network)(x[:1], x), expected[:1])


@pytest.mark.parametrize("memory", [1 << 31, 1 << 13], ids=["at once", "in parts"])
def test_every_batch_is_checked_not_only_a_trial(memory):
    torch.manual_seed(0)
    network, x = FlippedWhenLarge().double(), torch.randn(40, 3, dtype=torch.float64)
    expected = blocks(network, x, x).diagonal(dim1=-2, dim2=-1).mean(-1)
    kernel = empirical(network, memory=memory)
    assert_close(kernel(x), expected)
    assert_close(kernel(x[:1], x), expected[:1])
    assert_close(kernel.diag(x), expected.diagonal())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 2)).to(dtype)
    x = (10 * torch.randn(12, 40)).to(dtype)
    found = empirical(network)(x)
    assert found.dtype == torch.float32
    exact = empirical(network.double())(x.double())
    assert torch.linalg.norm(found - exact) < 1e-5 * torch.linalg.norm(exact)
