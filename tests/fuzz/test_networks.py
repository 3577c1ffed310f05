"""Random networks: kernels are those of brute force, or samples that see each other are said."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from soaking import examples
from test_empirical import blocks
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tolerances import assert_close
from tutelage.exceptions import StudentError
from tutelage.kernels import empirical


class Apply(nn.Module):
    """A function of parts and inputs, as a module."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(x, *self.parts)


def sorted_by_first(x, part):
    """Puts a batch in order, applies, and puts it back."""
    order = torch.argsort(x.flatten(1)[:, 0], descending=True, stable=True)
    return part(x[order])[torch.argsort(order)]


def flipped(x, part):
    return part(x.flip(0)).flip(0)


def chosen(x, one, two):
    """Each sample through one of two parts."""
    first = x.flatten(1)[:, 0] > 0
    like = one(x[:1])
    found = like.new_zeros(len(x), *like.shape[1:])
    if first.any():
        found = found.index_put((first.nonzero()[:, 0],), one(x[first]))
    return found.index_put(((~first).nonzero()[:, 0],), two(x[~first])) if (~first).any() else found


def one_at_a_time(x, part):
    return torch.cat([part(row[None]) for row in x])


def in_two_calls(x, part):
    half = len(x) // 2
    return torch.cat([part(x[:half]), part(x[half:])])


def only_when_large(x, part):
    """A branch that the size of a batch decides, though no sample sees it."""
    return part(x) if len(x) % 2 else part(x.flip(0)).flip(0)


def steps_first(x, part):
    return part(x.transpose(0, 1)).transpose(0, 1)


def folded(x, part):
    return part(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def crossed(x, part):
    """Steps and samples in one axis, steps first."""
    return part(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (x.shape[1], len(x))).transpose(0, 1)


def with_place(x, table, part):
    return part(x + table(torch.arange(x.shape[1]))[None])


def scaled_by_shared_row(x, part):
    return x * part(x.new_ones(1, x.shape[-1]))


def packed(x, part):
    lengths = 1 + (x[..., 0] > 0).sum(1).clamp_max(x.shape[1] - 1)
    order = torch.argsort(lengths, descending=True, stable=True)
    run = part(pack_padded_sequence(x[order], lengths[order], batch_first=True))[0]
    return pad_packed_sequence(run, batch_first=True, total_length=x.shape[1])[0][
        torch.argsort(order)
    ]


def attended(x, part):
    return part(x, x, x, need_weights=False)[0]


def twice(x, part):
    return part(torch.tanh(part(x)))


def residual(x, part):
    return x + part(x)


class Adapter(nn.Linear):
    """A subclass with parameters of its own."""

    def __init__(self, before, after):
        super().__init__(before, after)
        self.gain = nn.Parameter(torch.rand(after) + 0.5)

    def forward(self, x):
        return self.gain * super().forward(x)


class NormalisedWeight(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, self.weight / self.weight.norm(), self.bias)


def over_samples(x, part):
    return part(x) - part(x).mean(0, keepdim=True)


class Maker:
    """Layers on vectors (d), sequences (steps, d) and images (c, h, w), chosen by a seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(int(self.rng.integers(2**31)))

    def of(self, *options):
        return options[self.rng.integers(len(options))]

    def linear(self, before, after):
        kind = self.of(*[nn.Linear] * 4, Adapter, NormalisedWeight)
        layer = kind(before, after)
        extra = self.rng.integers(14)
        if extra == 0:
            return nn.utils.parametrizations.weight_norm(layer)
        if extra == 1:
            return nn.utils.parametrizations.spectral_norm(layer)
        if extra == 2:
            layer.weight.requires_grad_(False)
        return layer

    def activation(self):
        return self.of(nn.Tanh, nn.GELU, nn.Softplus, nn.PReLU, nn.SiLU)()

    def around(self, layer):
        """A layer as it is, or called in an unusual way."""
        how = self.of(
            *[None] * 5,
            sorted_by_first,
            flipped,
            one_at_a_time,
            in_two_calls,
            only_when_large,
            chosen,
        )
        if how is None:
            return layer
        return Apply(how, layer, *([copy.deepcopy(layer)] if how is chosen else []))

    def on_vectors(self, d):
        to = int(self.rng.integers(2, 6))
        choice = self.rng.integers(9)
        if choice < 4:
            return self.around(self.linear(d, to)), (to,)
        if choice == 4:
            return self.around(nn.LayerNorm(d)), (d,)
        if choice == 5:
            return Apply(self.of(twice, residual), self.linear(d, d)), (d,)
        if choice == 6:
            return nn.BatchNorm1d(d, affine=bool(self.rng.integers(2))), (d,)
        if choice == 7:
            return Apply(scaled_by_shared_row, nn.Linear(d, d)), (d,)
        return (
            (nn.Unflatten(1, (d // 2, 2)), (d // 2, 2)) if d % 2 == 0 else (self.activation(), (d,))
        )

    def on_sequences(self, t, d):
        choice = self.rng.integers(14)
        if choice < 2:
            to = int(self.rng.integers(2, 5))
            return Apply(self.of(steps_first, folded, crossed, flipped), self.linear(d, to)), (
                t,
                to,
            )
        if choice == 2:
            to = int(self.rng.integers(2, 5))
            return self.linear(d, to), (t, to)
        if choice == 3:
            return Apply(
                lambda x, part: part(x)[0], self.of(nn.GRU, nn.LSTM, nn.RNN)(d, 3, batch_first=True)
            ), (t, 3)
        if choice == 4:
            return Apply(packed, nn.GRU(d, 3, batch_first=True)), (t, 3)
        if choice == 5:
            return Apply(
                lambda x, part: part(x.transpose(0, 1))[0].transpose(0, 1), nn.GRU(d, 3)
            ), (t, 3)
        if choice == 6:
            return Apply(attended, nn.MultiheadAttention(d, 1, batch_first=True)), (t, d)
        if choice == 7:
            return Apply(steps_first, nn.TransformerEncoderLayer(d, 1, 4, batch_first=False)), (
                t,
                d,
            )
        if choice == 8:
            return Apply(
                lambda x, part: part(x.transpose(1, 2)).transpose(1, 2),
                nn.Conv1d(d, 3, 3, padding=1),
            ), (
                t,
                3,
            )
        if choice == 9:
            return Apply(
                with_place, nn.Embedding(t, d, sparse=bool(self.rng.integers(2))), self.linear(d, d)
            ), (t, d)
        if choice == 10:
            return self.around(nn.LayerNorm(d if self.rng.integers(2) else (t, d))), (t, d)
        if choice == 11:
            return Apply(lambda x: x.mean(1)), (d,)
        return nn.Flatten(), (t * d,)

    def on_images(self, c, h, w):
        choice = self.rng.integers(10)
        if choice < 4:
            groups = c if self.rng.integers(3) == 0 else 1
            to = groups * int(self.rng.integers(1, 3))
            mode = self.of("zeros", "zeros", "circular", "reflect")
            bias = bool(self.rng.integers(2))
            return self.around(
                nn.Conv2d(c, to, 3, 1, 1, groups=groups, padding_mode=mode, bias=bias)
            ), (to, h, w)
        if choice == 4:
            return nn.GroupNorm(1, c), (c, h, w)
        if choice == 5:
            return nn.BatchNorm2d(c), (c, h, w)
        if choice == 6:
            return nn.ConvTranspose2d(c, 2, 1), (2, h, w)
        if choice == 7 and h > 3:
            return self.of(nn.MaxPool2d, nn.AvgPool2d)(2), (c, h // 2, w // 2)
        if choice == 8:
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), (c,)
        return nn.Flatten(), (c * h * w,)

    def layer(self, shape):
        by_axes = {1: self.on_vectors, 2: self.on_sequences, 3: self.on_images}
        return by_axes[len(shape)](*shape)

    def network(self, mixing):
        """A network, the shape of its inputs, and whether those are token ids."""
        ids, shape, layers = False, self.of((3,), (4, 2), (3, 3), (1, 4, 4), (2, 4, 4), None), []
        if shape is None:
            ids, shape = True, (4,)
            made = nn.Embedding(
                5, 3, padding_idx=self.of(None, 0), sparse=bool(self.rng.integers(2))
            )
            layers, shape = [self.around(made)], (4, 3)
        begin = (4,) if ids else shape
        for _ in range(self.rng.integers(1, 5)):
            layer, shape = self.layer(shape)
            layers += [layer] + ([self.activation()] if self.rng.integers(2) else [])
        layers += [nn.Flatten()] if len(shape) > 1 else []
        width = int(np.prod(shape))
        if mixing:
            layers.append(Apply(over_samples, nn.Linear(width, width)))
        layers.append(nn.Linear(width, int(self.rng.integers(1, 4))))
        network = nn.Sequential(*layers).double().eval()
        if not any(p.requires_grad for p in network.parameters()):
            network[-1].requires_grad_(True)
        return network, begin, ids


def inputs(maker, n, shape, ids):
    return torch.randint(0, 5, (n, *shape)) if ids else torch.randn(n, *shape, dtype=torch.float64)


@given(seed=st.integers(0, 2**62))
@examples(50, 2_000)
def test_a_kernel_is_that_of_brute_force(seed):
    maker = Maker(seed)
    network, shape, ids = maker.network(mixing=False)
    n = int(maker.rng.integers(1, 12))
    x = inputs(maker, n, shape, ids)
    expected = blocks(network, x, x).diagonal(dim1=-2, dim2=-1).mean(-1)
    kernel = empirical(network, memory=maker.of(1 << 31, 1 << 14))
    scale = float(expected.abs().max()) or 1.0
    part = slice(0, int(maker.rng.integers(1, n + 1)))
    for found, right in (
        (kernel(x), expected),
        (kernel(x[part], x), expected[part]),
        (kernel(x, x[part]), expected[:, part]),
        (kernel.diag(x), expected.diagonal()),
    ):
        assert_close(found / scale, right / scale, loosen=10)


@given(seed=st.integers(0, 2**62))
@examples(10, 200)
def test_samples_that_see_each_other_are_said(seed):
    maker = Maker(seed)
    network, shape, ids = maker.network(mixing=True)
    x = inputs(maker, 8, shape, ids)
    with torch.no_grad():
        if torch.allclose(
            network(x)[:1], network(x[:1]), rtol=1e-4
        ):  # what they see is washed out again
            return
    with pytest.raises(StudentError, match="depend on the others of its batch"):
        empirical(network)(x)
