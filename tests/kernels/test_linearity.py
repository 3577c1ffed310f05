import copy

import pytest
import torch
from torch import nn

from tutelage.exceptions import StudentError
from tutelage.kernels import linearity


def moved(network, by):
    after = copy.deepcopy(network)
    with torch.no_grad():
        for p in after.parameters():
            p.add_(by * torch.randn_like(p))
    return after


def test_a_small_step_is_linear_and_a_large_one_is_not():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 3)).double()
    x = torch.randn(50, 6, dtype=torch.float64)
    small, large = (linearity(network, moved(network, by), x) for by in (1e-4, 1.0))
    assert small.prediction_error < 1e-2
    assert small.kernel_change < 1e-6
    assert "well" in small.words
    assert large.prediction_error > 0.3
    assert large.kernel_change > 0.01
    assert "well" not in large.words


def test_networks_that_cannot_be_compared_are_said():
    with pytest.raises(StudentError, match="different parameters"):
        linearity(nn.Linear(3, 2), nn.Linear(4, 2), torch.randn(5, 3))
    network = nn.Linear(3, 2)
    with pytest.raises(StudentError, match="the same logits"):
        linearity(network, copy.deepcopy(network), torch.randn(5, 3))


def test_attention_and_batch_norm_can_be_measured():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
        nn.Flatten(),
        nn.BatchNorm1d(24),
        nn.Linear(24, 2),
    )
    found = linearity(
        network.double(), moved(network, 1e-4), torch.randn(20, 3, 8, dtype=torch.float64)
    )
    assert found.prediction_error < 0.05
    assert torch.backends.mha.get_fastpath_enabled()
