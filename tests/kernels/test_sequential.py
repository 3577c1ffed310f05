"""Networks of any layers: against sampled wide networks, brute force over pixel pairs, and what
must hold for all of them."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tolerances import assert_close
from tutelage.exceptions import StudentError
from tutelage.kernels import (
    Abs,
    AvgPool,
    Conv,
    Dense,
    Elementwise,
    Erf,
    Flatten,
    Gelu,
    GlobalAvgPool,
    LeakyRelu,
    Normalise,
    Relu,
    Residual,
    Sequential,
    cnn,
    cross,
    gram,
    images,
    mlp,
    resmlp,
    resnet,
    vectors,
)
from tutelage.kernels.layers import check_layers
from tutelage.lab import wide

GAP, SMALL = GlobalAvgPool(), Conv(weight_var=1.5, bias_var=0.2)
NETWORKS = {
    "dense": Sequential(Dense(), Relu(), Dense()),
    "dense, residual": Sequential(Dense(), Residual(Erf(), Dense()), Gelu(), Dense()),
    "images, all pixels": Sequential(Flatten(), Dense(), Relu(), Dense(1.0, 0.0)),
    "flatten": Sequential(SMALL, Relu(), Conv(), LeakyRelu(0.2), Flatten(), Dense()),
    "flatten, then dense": Sequential(SMALL, Relu(), Flatten(), Dense(), Gelu(), Dense()),
    "global": Sequential(SMALL, Relu(), Conv(2, padding="valid"), Abs(), GAP, Dense()),
    "global, no activation after the last convolution": Sequential(
        Conv(), Relu(), SMALL, GAP, Relu(), Dense()
    ),
    "stride": Sequential(Conv(3, stride=2), Gelu(), Conv(2, stride=2), Relu(), GAP, Dense()),
    "even windows": Sequential(Conv(2), Relu(), Conv(4), Erf(), GAP, Dense()),
    "pooled first": Sequential(AvgPool(2), Conv(), Relu(), GAP, Dense()),
    "pooled between": Sequential(
        Conv(), Relu(), AvgPool(2), Conv(), Relu(), AvgPool(3), Conv(1), Relu(), Flatten(), Dense()
    ),
    "circular": Sequential(
        Conv(padding="circular"), Relu(), Conv(padding="circular"), Relu(), GAP, Dense()
    ),
    "circular, stride": Sequential(
        Conv(padding="circular", stride=2), Erf(), Conv(2, padding="circular"), Relu(), GAP, Dense()
    ),
    "circular, pooled": Sequential(
        Conv(padding="circular"), Relu(), AvgPool(2), Conv(padding="circular"), Relu(), GAP, Dense()
    ),
    "residual": Sequential(Conv(), Residual(Relu(), SMALL, Relu(), SMALL), Relu(), GAP, Dense()),
    "shortcut": Sequential(
        Conv(), Residual(Relu(), Conv(3, 2), shortcut=(Conv(1, 2),)), Relu(), GAP, Dense()
    ),
    "nested": Sequential(
        Conv(), Residual(Relu(), Conv(), Residual(Erf(), SMALL), Relu(), SMALL), Flatten(), Dense()
    ),
    "by quadrature": Sequential(
        Conv(), Elementwise(torch.tanh), SMALL, Elementwise(torch.sigmoid), GAP, Dense()
    ),
    "normalised": Sequential(Normalise(), Conv(), Relu(), GAP, Dense()),
}


def pictures(n, height=6, width=6, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, height, width, dtype=torch.float64, generator=generator)


def inputs(name, n, seed=0):
    return (
        pictures(n, seed=seed)
        if "dense" not in name or "flatten" in name
        else pictures(n, seed=seed).flatten(1)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_sampled_wide_networks(name):
    """NTK and NNGP: the mean over initial weights of the gradients' products, and of the outputs'
    own."""
    kernel, x, width, seeds = NETWORKS[name], inputs(name, 3), 96, 24
    factory = wide(kernel, width)
    tangents, covariances = [], []
    for seed in range(seeds):
        torch.manual_seed(seed)
        network = factory(tuple(x.shape[1:]), 1).double()
        parameters = {k: v.detach() for k, v in network.named_parameters()}
        jacobian = torch.func.jacrev(
            lambda p, network=network: torch.func.functional_call(network, p, (x,))[:, 0]
        )(parameters)
        flat = torch.cat([j.flatten(1) for j in jacobian.values()], 1)
        tangents.append(flat @ flat.T)
        # The readout's gradient is the last hidden layer: given that, the output's covariance is
        # known.
        last = list(jacobian)[-2:]
        covariances.append(sum(jacobian[k].flatten(1) @ jacobian[k].flatten(1).T for k in last))
    for found, exact in ((tangents, kernel(x)), (covariances, kernel.nngp(x))):
        sampled = torch.stack(found)
        error = sampled.std(0) / seeds**0.5
        apart = (sampled.mean(0) - exact).abs()
        # The bias of finite width is of the order 1/width.
        assert (apart < 4 * error + 0.06 * exact.max()).all()
        assert (apart / exact.max()).mean() < 0.05


def brute_force(kernel, x, z):
    """Σ and Θ of every pixel pair at once, layer by layer as the docstrings say it, for networks of
    Conv, Relu, pools and Dense."""

    def relu(k, t, q1, q2):
        scale = (q1[:, None] * q2[None]).sqrt().flatten().reshape(k.shape)
        c = (k / scale).clamp(-1, 1)
        angle = torch.acos(c)
        slope = (torch.pi - angle) / (2 * torch.pi)
        return scale / (2 * torch.pi) * (torch.sin(angle) + (torch.pi - angle) * c), t * slope

    def conv(k, layer):
        h, w = k.shape[:2]
        padded = torch.nn.functional.pad(k, (layer.left, layer.both - layer.left) * 4)
        size = layer.kernel_size
        oh, ow = h + layer.both - size + 1, w + layer.both - size + 1
        total = torch.zeros(oh, ow, oh, ow, dtype=k.dtype)
        for dy, dx in itertools.product(range(size), repeat=2):
            total += padded[dy : dy + oh, dx : dx + ow, dy : dy + oh, dx : dx + ow]
        s = layer.stride
        return total[::s, ::s, ::s, ::s] / size**2

    maps = {pair: torch.einsum("chw,cij->hwij", *pair_of) / len(x) for pair, pair_of in
            {"12": (x, z), "11": (x, x), "22": (z, z)}.items()}  # fmt: skip
    tangents = {pair: torch.zeros_like(k) for pair, k in maps.items()}
    for layer in kernel.layers:
        variance = {
            p: torch.einsum("hwhw->hw", maps[p]) if maps[p].ndim == 4 else maps[p]
            for p in ("11", "22")
        }
        ends = {"12": ("11", "22"), "11": ("11", "11"), "22": ("22", "22")}
        for pair, (one, two) in ends.items():
            k, t = maps[pair], tangents[pair]
            if isinstance(layer, Relu):
                k, t = relu(k, t, variance[one].flatten(), variance[two].flatten())
            elif isinstance(layer, Conv):
                k, t = (
                    layer.weight_var * conv(k, layer) + layer.bias_var,
                    layer.weight_var * conv(t, layer),
                )
                t = t + k
            elif isinstance(layer, Dense):
                k, t = layer.weight_var * k + layer.bias_var, layer.weight_var * t
                t = t + k
            elif isinstance(layer, GlobalAvgPool):
                k, t = k.mean(), t.mean()
            else:
                assert isinstance(layer, Flatten)
                k, t = torch.einsum("hwhw->hw", k).mean(), torch.einsum("hwhw->hw", t).mean()
            maps[pair], tangents[pair] = k, t
    return maps["12"], tangents["12"]


@pytest.mark.parametrize(
    "kernel",
    [
        Sequential(Conv(), Relu(), SMALL, Relu(), GAP, Dense()),
        Sequential(Conv(2, 2), Relu(), Conv(3, padding="valid"), Relu(), Flatten(), Dense()),
        Sequential(Conv(4), Relu(), Conv(5), Relu(), GAP, Dense(), Relu(), Dense()),
    ],
)
def test_is_what_every_pixel_pair_at_once_gives(kernel):
    x, z = pictures(2, 7, 6), pictures(2, 7, 6, seed=1)
    for i, j in itertools.product(range(2), repeat=2):
        k, t = brute_force(kernel, x[i], z[j])
        torch.testing.assert_close(kernel.nngp(x, z)[i, j], k, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(kernel(x, z)[i, j], t, rtol=1e-12, atol=1e-12)


@given(
    name=st.sampled_from(sorted(NETWORKS)),
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_is_symmetric_positive_semi_definite_and_a_function_of_pairs(name, n, m, seed):
    kernel, x, z = NETWORKS[name], inputs(name, n, seed), inputs(name, m, seed + 100)
    for of in (kernel, kernel.nngp):
        both = of(torch.cat([x, z]))
        torch.testing.assert_close(both, both.T, rtol=0, atol=0)
        torch.testing.assert_close(both[:n, n:], of(x, z), rtol=1e-11, atol=1e-12)
        assert torch.linalg.eigvalsh(both).min() > -1e-9 * both.max()
    torch.testing.assert_close(kernel(x).diagonal(), kernel.diag(x), rtol=1e-11, atol=1e-12)


@given(
    head=st.sampled_from(["global_avg_pool", "flatten"]),
    activation=st.sampled_from(["relu", "erf", "gelu", "sin", "gaussian", "rbf"]),
    dy=st.integers(0, 5),
    dx=st.integers(0, 4),
)
@settings(max_examples=25, deadline=None)
def test_circular_padding_makes_a_torus(head, activation, dy, dx):
    """Pooled over a torus, where things lie does not matter; flattened, it matters only where two
    images lie to each other."""
    kernel = cnn(depth=2, activation=activation, padding="circular", head=head)
    x, z = pictures(2, 6, 5), pictures(2, 6, 5, seed=1)
    moved = x.roll((dy, dx), (-2, -1))
    same = kernel(x, z) if head == "global_avg_pool" else kernel(x, z.roll((-dy, -dx), (-2, -1)))
    torch.testing.assert_close(kernel(moved, z), same, rtol=1e-11, atol=1e-11)


def test_zero_padding_does_not():
    kernel, x, z = cnn(depth=2, head="global_avg_pool"), pictures(2), pictures(2, seed=1)
    assert (kernel(x.roll(2, -1), z) - kernel(x, z)).abs().max() > 1e-4


@pytest.mark.parametrize(
    "kernel", [mlp(), resmlp(), cnn(depth=2), resnet(blocks=1, head="global_avg_pool")]
)
def test_blocks_do_not_show(kernel, monkeypatch):
    x, z = pictures(23, 4, 4), pictures(9, 4, 4, seed=1)
    whole, cross_ = kernel(x), kernel(x, z)
    monkeypatch.setattr(images, "BLOCK", 5)
    monkeypatch.setattr(vectors, "BLOCK", 5)
    torch.testing.assert_close(kernel(x), whole, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(kernel(x, z), cross_, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kernel", [mlp(), cnn(depth=2), cnn(depth=2, head="global_avg_pool")])
def test_progress_is_told_of_and_ends_where_it_should(kernel):
    from contextlib import contextmanager

    told = []

    @contextmanager
    def progress(name, total):
        done = []
        yield done.append
        told.append((name, total, sum(done)))

    x, z = pictures(40), pictures(7, seed=1)
    assert_close(gram(kernel, x, progress=progress), kernel(x))
    assert_close(cross(kernel, x, z, progress=progress), kernel(x, z))
    for (name, total, done), pairs in zip(told, (40 * 41 / 2, 40 * 7), strict=True):
        assert name.startswith("kernel")
        assert total == pairs <= done < 1.6 * pairs  # blocks on the diagonal reach over it
        assert (", about " in name) == (kernel != mlp())


def test_grey_images_need_no_channel_axis():
    x = pictures(3, channels=1)
    torch.testing.assert_close(cnn()(x[:, 0]), cnn()(x), rtol=0, atol=0)


def test_normalised_inputs_have_one_length():
    kernel, x = NETWORKS["normalised"], pictures(3)
    torch.testing.assert_close(kernel(5 * x), kernel(x), rtol=1e-12, atol=0)
    assert torch.isfinite(kernel(torch.cat([x, torch.zeros_like(x[:1])]))).all()


def test_cost_grows_with_pairs_and_pooling_squares_the_pixels():
    few, many = (cnn().cost((3, 8, 8), n) for n in (10, 1000))
    assert (few.pairs, many.pairs) == (55, 500500)
    assert many.seconds > few.seconds > 0
    assert many.bytes > 8e6
    pooled = cnn(head="global_avg_pool")
    work = [
        pooled.cost((3, size, size), 10).seconds / cnn().cost((3, size, size), 10).seconds
        for size in (8, 16)
    ]
    assert work[1] > 2 * work[0]
    assert mlp().cost((20,), 100, 30).pairs == 3000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Sequential, "put a Dense() at the end"),
        (lambda: Sequential(Dense(), Relu()), "put a Dense() at the end"),
        (lambda: Sequential(Relu(), Dense()), "Relu follows what is not Gaussian"),
        (lambda: Sequential(Dense(), Relu(), Relu(), Dense()), "put a Dense or Conv before it"),
        (
            lambda: check_layers((Dense(), torch.nn.ReLU(), Dense())),
            "ReLU() is no layer; see tutelage.kernels",
        ),
        (lambda: check_layers((Dense, Relu(), Dense())), "is no layer; write Dense()"),
        (lambda: Sequential(Dense(), Normalise(), Dense()), "Normalise is for inputs"),
        (lambda: Residual(Dense(), Relu()), "so that the two are uncorrelated"),
        (lambda: Residual(AvgPool(2), Conv()), "A AvgPool cannot stand inside a residual sum"),
        (lambda: LeakyRelu(1.5), "The slope of a leaky relu lies below 1; it was 1.5"),
        (lambda: Conv(stride=0), "whole numbers of 1 or more; they were 3 and 0"),
    ],
)
def test_layers_that_do_not_make_a_network_are_said(make, message):
    with pytest.raises(StudentError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kernel", "x", "message"),
    [
        (
            cnn(),
            torch.ones(3, 20),
            (
                "This student takes images (samples, channels, height, width); inputs of shape (3,"
                " 20) are none"
            ),
        ),
        (
            cnn(padding="valid"),
            torch.ones(3, 1, 4, 4),
            "A window of 3 × 3 does not fit into images of 2 × 2",
        ),
        (
            cnn(avg_pool=2),
            torch.ones(3, 1, 4, 4),
            "A pooling window of 2 does not fit into images of 1 × 1",
        ),
        (
            cnn(padding="circular", stride=2),
            torch.ones(3, 1, 6, 6),
            "a circular convolution's stride must divide the size",
        ),
        (
            cnn(),
            torch.ones(3, 1, 8, 8).half(),
            "computed in float32 or float64; the inputs are torch.float16",
        ),
        (
            Sequential(Conv(), Relu(), Conv()),
            torch.ones(2, 1, 4, 4),
            "The network ends with an image",
        ),
        (
            Sequential(Flatten(), Conv(), Flatten(), Dense()),
            torch.ones(2, 1, 4, 4),
            "A Conv layer takes images",
        ),
        (
            Sequential(Conv(), Flatten(), AvgPool(2), Dense()),
            torch.ones(2, 1, 4, 4),
            "A AvgPool needs pixels",
        ),
        (
            Sequential(Conv(), Relu(), Conv(padding="circular"), Flatten(), Dense()),
            torch.ones(2, 1, 4, 4),
            "circular",
        ),
        (
            Sequential(Conv(), Residual(Relu(), Conv(stride=2)), Flatten(), Dense()),
            torch.ones(2, 1, 4, 4),
            "residual",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_said(kernel, x, message):
    for call in (kernel, kernel.diag, kernel.nngp):
        with pytest.raises(StudentError) as caught:
            call(x)
        assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_padding_is_that_of_torch(size):
    """Sampled networks and brute force pad as the layer says; that this is what torch does is seen
    here."""
    layer, x, weight = (
        Conv(size),
        pictures(1, channels=1),
        torch.rand(1, 1, size, size, dtype=torch.float64),
    )
    padded = torch.nn.functional.pad(x, (layer.left, layer.both - layer.left) * 2)
    same = torch.nn.functional.conv2d(x, weight, padding="same")
    torch.testing.assert_close(torch.nn.functional.conv2d(padded, weight), same)
