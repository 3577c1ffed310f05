import pickle

import pytest
import torch
from torch import nn

import tutelage as tu
from tolerances import assert_close
from tutelage.exceptions import NumericsError, StudentError
from tutelage.kernels import empirical, gram
from tutelage.kernels.network import logits_of


class WithToken(nn.Module):
    """Parameters that no layer holds, and one layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(5, 6))
        self.inner, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), self.inner(x)], 1) + self.place
        return self.out(torch.relu(self.inner(x)).mean(1))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.inner(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = (
            nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
            nn.Linear(8, 2),
        )

    def forward(self, x):
        return self.out(self.inner(x).mean(1))


class Scaled(nn.Linear):
    """A kind of its own, which the rule for dense layers does not fit."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight / self.weight.norm(), self.bias)


class TiedByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(5, 4), nn.Linear(5, 2)

    def forward(self, x):
        return self.out(
            torch.tanh(nn.functional.linear(torch.tanh(self.inner(x)), self.inner.weight.T))
        )


class Fold(nn.Module):
    """The samples' axis is not the first where its layer is called."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.inner(x[None]).mean(0)))


class SequenceFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.inner(x.transpose(0, 1))).sum(0))


class WithOption(nn.Module):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 5))

        def forward(self, x, scale=1.0, *, shift=None):
            return scale * x @ self.weight.T + (0 if shift is None else shift)

    def __init__(self):
        super().__init__()
        self.inner, self.out = self.Layer(), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.inner(x, scale=0.3, shift=x[:, :4])))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(5, 2)

    def forward(self, x):
        x -= 0.5
        return self.out(x.relu_()).squeeze()


class FrozenPart(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.out = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        with torch.no_grad():
            x = self.backbone(x)
        return self.out(x)


NETWORKS = {
    "dense": (
        lambda: nn.Sequential(
            nn.Linear(5, 7),
            nn.ReLU(inplace=True),
            nn.Linear(7, 6, bias=False),
            nn.Tanh(),
            nn.Linear(6, 3),
        ),
        (5,),
    ),
    "one logit": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1), nn.Flatten(0)),
        (5,),
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.Dropout(0.5), nn.ReLU(), nn.Linear(7, 2)),
        (5,),
    ),
    "batch norm, groups, stride": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3, stride=2, groups=2, padding="valid"),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        ),
        (2, 8, 8),
    ),
    "circular, norms": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding="same", padding_mode="circular"),
            nn.GroupNorm(2, 4),
            nn.ReLU(),
            nn.Flatten(),
            nn.LayerNorm(256),
            nn.Linear(256, 2),
        ),
        (2, 8, 8),
    ),
    "other layers": (
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.PReLU(), nn.Flatten(), nn.Linear(24, 2)),
        (2, 8),
    ),
    "token": (WithToken, (4, 6)),
    "tied": (Tied, (5,)),
    "recurrent": (Recurrent, (4, 3)),
    "attention": (Attention, (3, 8)),
    "a kind of its own": (lambda: nn.Sequential(Scaled(5, 4), nn.Tanh(), nn.Linear(4, 2)), (5,)),
    "tied by hand": (TiedByHand, (5,)),
    "another first axis": (Fold, (5,)),
    "sequence first": (SequenceFirst, (3, 2)),
    "options": (WithOption, (5,)),
    "in place": (InPlace, (5,)),
    "frozen part": (FrozenPart, (5,)),
    "one layer": (lambda: Scaled(5, 2), (5,)),
}


def made(name, seed=0):
    torch.manual_seed(seed)
    make, shape = NETWORKS[name]
    return (
        make().double(),
        torch.randn(7, *shape, dtype=torch.float64),
        torch.randn(4, *shape, dtype=torch.float64),
    )


def gradients(network, x):
    """Every logit's gradient for every sample, by one backward pass each: (n, C, P)."""
    network.eval()
    parameters, found = [p for p in network.parameters() if p.requires_grad], []
    for i in range(len(x)):
        logits = logits_of(network(x[i : i + 1].clone())).reshape(-1)
        rows = [
            torch.autograd.grad(z, parameters, retain_graph=True, materialize_grads=True)
            for z in logits
        ]
        found.append(
            torch.stack([torch.cat([g.to_dense().flatten() for g in row]) for row in rows])
        )
    return torch.stack(found)


def blocks(network, x1, x2):
    return torch.einsum("iap,jbp->ijab", gradients(network, x1), gradients(network, x2))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("memory", [1 << 31, 1 << 14], ids=["at once", "in parts"])
def test_it_is_the_inner_product_of_all_gradients(name, memory):
    network, x1, x2 = made(name)
    full = blocks(network, x1, x2)
    kernel = empirical(network, memory=memory)
    assert_close(kernel(x1, x2), full.diagonal(dim1=-2, dim2=-1).mean(-1))
    own = blocks(network, x1, x1).diagonal(dim1=-2, dim2=-1).mean(-1)
    assert_close(kernel(x1), own)
    assert torch.equal(kernel(x1), kernel(x1).mT)
    assert_close(kernel.diag(x1), own.diagonal())
    assert torch.equal(gram(kernel, x1), kernel(x1))


class Root(nn.Module):
    """Its logits are finite; the gradient of a root at 0 is not."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.out(torch.sqrt(self.inner(x).square()))


def test_gradients_that_are_no_numbers_are_said_with_their_layer():
    network = Root()
    nn.init.zeros_(network.inner.weight)
    nn.init.zeros_(network.inner.bias)
    with pytest.raises(
        NumericsError, match="The network's gradients of inner are not all finite numbers"
    ):
        empirical(network)(torch.ones(3, 2))
    nn.init.constant_(network.out.bias, torch.inf)
    with pytest.raises(NumericsError, match="The network's logits are not all finite numbers"):
        empirical(network)(torch.ones(3, 2))


def test_a_network_that_fails_is_said_in_a_sentence():
    with pytest.raises(
        StudentError,
        match=r"fails on inputs of shape \(2, 5\) with RuntimeError: .* floating-point inputs\.$",
    ):
        empirical(nn.Linear(4, 2))(torch.ones(3, 5))
    embedding = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(
        StudentError,
        match=r"It takes token ids, and gets floating-point numbers.*--no-standardise.*x\.long",
    ):
        empirical(embedding)(torch.ones(3, 4))


@pytest.mark.parametrize("name", ["dense", "batch norm, groups, stride", "token"])
def test_single_outputs_and_full_blocks(name):
    network, x1, x2 = made(name)
    full = blocks(network, x1, x2)
    assert_close(empirical(network, outputs="full")(x1, x2), full)
    assert_close(empirical(network, outputs=1)(x1, x2), full[:, :, 1, 1])
    assert_close(
        empirical(network, outputs="full").diag(x1),
        blocks(network, x1, x1).diagonal().permute(2, 0, 1),
    )


def test_frozen_parameters_are_left_out():
    network, x1, x2 = made("dense")
    network[0].weight.requires_grad_(False)
    network[4].bias.requires_grad_(False)
    assert_close(
        empirical(network)(x1, x2), blocks(network, x1, x2).diagonal(dim1=-2, dim2=-1).mean(-1)
    )


def test_the_users_network_is_left_as_it_was():
    network, x1, _ = made("batch norm, groups, stride")
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    kernel = empirical(network)
    first = kernel(x1)
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not network[0]._forward_hooks
    with torch.no_grad():
        network[0].weight.zero_()
    assert torch.equal(kernel(x1), first)


def test_a_small_bert_on_token_ids_with_masks():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=10,
        num_labels=3,
    )
    network = BertForSequenceClassification(config).double().eval()
    ids = torch.randint(1, 30, (5, 6))
    mask = (torch.arange(6) < torch.tensor([6, 4, 3, 6, 5])[:, None]).long()
    x = {"input_ids": ids * mask, "attention_mask": mask}

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, i):
            return self.inner(x["input_ids"][i[:, 0]], attention_mask=mask[i[:, 0]]).logits

    found = empirical(network)(x)
    assert_close(
        found,
        blocks(Logits(), torch.arange(5)[:, None], torch.arange(5)[:, None])
        .diagonal(dim1=-2, dim2=-1)
        .mean(-1),
    )
    assert_close(empirical(network)(x, {k: v[:2] for k, v in x.items()}), found[:, :2])


def test_a_projection_is_near_seeded_and_measured():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 2),
    )
    x = torch.randn(20, 3, 8, 8)
    errors = [empirical(network, projected=d).projection_error(x) for d in (64, 1024)]
    assert 0 < errors[1] < errors[0] < 0.5
    same = [empirical(network, projected=64, seed=1)(x) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(empirical(network, projected=64, seed=2)(x), same[0])
    mean = torch.stack([empirical(network, projected=64, seed=s)(x) for s in range(60)]).mean(0)
    exact = empirical(network)(x)
    assert torch.linalg.norm(mean - exact) < 0.3 * errors[0] * torch.linalg.norm(exact)


def test_wide_networks_approach_the_closed_form():
    torch.manual_seed(0)
    x, width = torch.randn(6, 4, dtype=torch.float64), 2048

    def network():
        made = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1)).double()
        for layer in (made[0], made[2]):
            nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5)
            nn.init.zeros_(layer.bias)
            layer.bias.requires_grad_(False)
        return made

    # In standard parametrisation a layer's share of the kernel is 1/(2/fan-in) of that in NTK
    # parametrisation.
    closed = tu.kernels.mlp(depth=1, bias_var=0.0)(x)
    shares = []
    for _ in range(8):
        sampled = network()
        sampled[0].weight.requires_grad_(False)
        readout = empirical(sampled)(x) * 2 / width
        sampled[0].weight.requires_grad_(True)
        sampled[2].weight.requires_grad_(False)
        shares.append(readout + empirical(sampled)(x) * 2 / 4)
    assert torch.linalg.norm(torch.stack(shares).mean(0) - closed) < 0.03 * torch.linalg.norm(
        closed
    )


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.ReLU(), "no parameters that can be trained"),
        (nn.Sequential(nn.Linear(5, 4), nn.Unflatten(1, (2, 2))), "expected logits of shape"),
    ],
)
def test_what_is_no_student_is_said(network, message):
    with pytest.raises(StudentError, match=message):
        empirical(network)(torch.randn(3, 5))


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(5, 2)

    def forward(self, x):
        return self.out(x - x.mean(0))


@pytest.mark.parametrize(
    "network",
    [
        Mixing(),
        nn.Sequential(
            nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)
        ),
        nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(0)),
    ],
    ids=["mean", "batch statistics", "softmax over samples"],
)
def test_samples_that_mix_are_said(network):
    with pytest.raises(StudentError, match="depend on the others of its batch"):
        empirical(network)(torch.randn(6, 5))


class MixingLater(nn.Module):
    """Mixes samples in batches larger than any trial."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(5, 2)

    def forward(self, x):
        return self.out(x - x.mean(0) if len(x) > 20 else x)


def test_samples_that_mix_in_larger_batches_are_said():
    with pytest.raises(StudentError, match="depend on the others of its batch"):
        empirical(MixingLater())(torch.randn(30, 5))


@pytest.mark.parametrize("arguments", [{"outputs": "average"}, {"outputs": -1}, {"projected": 0}])
def test_arguments_are_checked(arguments):
    with pytest.raises((StudentError, TypeError)):
        empirical(nn.Linear(5, 2), **arguments)


def test_the_callers_inputs_are_left_as_they_were():
    x = torch.randn(6, 5, dtype=torch.float64)
    before = x.clone()
    empirical(InPlace().double())(x)
    assert torch.equal(x, before)


def test_an_output_that_is_not_there_is_said():
    with pytest.raises(StudentError, match="Output 3 was asked for; the network has 2"):
        empirical(nn.Linear(5, 2), outputs=3)(torch.randn(3, 5))


def four_classes():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()


def test_probes_estimate_the_mean_over_outputs_that_the_loss_sees():
    """Over directions of chance that leave out the one in which all logits move alike: the trace of
    the centred blocks over C - 1.
    """
    network, x = four_classes(), torch.randn(6, 5, dtype=torch.float64)
    with torch.no_grad():
        network[2].weight += 2  # most of what moves the logits moves all alike
    blocks = empirical(network, outputs="full")(x)
    centre = torch.eye(4, dtype=torch.float64) - 0.25
    expected = torch.einsum("ijcd,dc->ij", blocks, centre) / 3
    found = [empirical(network, probes=2, seed=s)(x) for s in range(300)]
    error = torch.linalg.norm(torch.stack(found).mean(0) - expected) / torch.linalg.norm(expected)
    assert error < 0.03
    assert torch.linalg.norm(found[0] - expected) > 0.03 * torch.linalg.norm(expected)


def test_probes_are_the_same_for_the_same_seed_and_all_outputs_where_they_are_no_fewer():
    network, x = four_classes(), torch.randn(6, 5, dtype=torch.float64)
    one, two = (empirical(network, probes=2, seed=1) for _ in range(2))
    assert torch.equal(one(x), two(x))
    assert_close(one(x).diagonal(), one.diag(x))
    assert_close(one(x[:4], x[4:]), one(x)[:4, 4:])
    assert torch.equal(empirical(network, probes=3)(x), empirical(network)(x))
    with pytest.raises(StudentError, match="probes is 0 with outputs 'mean'; expected a number"):
        empirical(network, probes=0)
    with pytest.raises(StudentError, match="probes is 2 with outputs 'full'"):
        empirical(network, probes=2, outputs="full")


def test_remembered_features_give_the_same_kernel_and_do_not_travel():
    network, x, y = four_classes(), torch.randn(6, 5).double(), torch.randn(3, 5).double()
    plain, kernel = empirical(network), empirical(network, remember=True)
    assert torch.equal(kernel.gram(x), plain.gram(x))
    assert torch.equal(kernel(x, y), plain(x, y))
    assert torch.equal(kernel.diag(y), plain.diag(y))
    assert len(kernel.kept) == 2
    assert plain.kept == {}
    assert pickle.loads(pickle.dumps(kernel)).kept == {}
    for _ in range(9):
        kernel(torch.randn(3, 5).double())
    assert len(kernel.kept) <= 4
    assert torch.equal(kernel(x[:4], y), plain(x[:4], y))


def test_operations_are_counted():
    forward, feature, pair = empirical(four_classes(), probes=2).operations(
        torch.randn(2, 5).double()
    )
    assert forward == 2 * (5 * 7 + 7 * 4)
    numbers = (6 + 2 * 7) + (8 + 2 * 4)
    back = 2 * 7 * 4  # gradients end at the hidden layer's output
    assert feature == forward + 2 * back
    assert pair == 2 * numbers
