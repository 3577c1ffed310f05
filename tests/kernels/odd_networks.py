"""Networks that reordered, mixed or shared rows make hard to take apart, each with inputs of one
sample."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class SortedMean(nn.Module):
    """Sorts a batch by length, embeds, averages, and puts it back."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Linear(2, 4), nn.Linear(4, 3)

    def forward(self, x):
        order = torch.argsort((x[..., 0] > 0).sum(1), descending=True, stable=True)
        return self.out(torch.tanh(self.embed(x[order])).mean(1)[torch.argsort(order)])


class Packed(nn.Module):
    """Sorts, embeds, packs, runs an LSTM, unpacks and unsorts."""

    def __init__(self):
        super().__init__()
        self.embed, self.inner, self.out = (
            nn.Embedding(9, 3),
            nn.LSTM(3, 4, batch_first=True),
            nn.Linear(4, 2),
        )

    def forward(self, ids):
        lengths = (ids > 0).sum(1).clamp_min(1)
        order = torch.argsort(lengths, descending=True, stable=True)
        packed = pack_padded_sequence(self.embed(ids[order]), lengths[order], batch_first=True)
        hidden, _ = pad_packed_sequence(self.inner(packed)[0], batch_first=True)
        return self.out(hidden.sum(1)[torch.argsort(order)])


class FlippedWhenLarge(nn.Module):
    """Its layer sees a batch of more than ten the other way round, which no small trial shows."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        hidden = self.inner(x.flip(0)).flip(0) if len(x) > 10 else self.inner(x)
        return self.out(torch.tanh(hidden))


class SequenceFirstEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 12), 1, enable_nested_tensor=False
        )
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.inner(x.transpose(0, 1)).mean(0))


class Folded(nn.Module):
    """Samples and steps in one axis, samples in steps of two."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(
            torch.tanh(self.inner(x.flip(0).flatten(0, 1))).reshape(len(x), -1, 4).sum(1).flip(0)
        )


class RelativePositions(nn.Module):
    """A layer on one row of its own, whose row is then repeated: as DeBERTa-v2's relative positions
    are."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(5, 4))
        self.place, self.inner, self.out = nn.Linear(4, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        places = self.place(self.table.unsqueeze(0)).repeat(len(x), 1, 1)
        return self.out(torch.tanh(self.inner(x)[:, None] * places).mean(1))


class Experts(nn.Module):
    """Each sample goes through one of two layers: a boolean part of the batch each."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        first = x[:, 0] > 0
        hidden = x.new_zeros(len(x), 4)
        hidden[first], hidden[~first] = self.one(x[first]), self.two(x[~first])
        return self.out(torch.tanh(hidden))


class Lora(nn.Linear):
    """A dense layer with an adapter: parameters that the rule for dense layers does not know."""

    def __init__(self, before, after):
        super().__init__(before, after)
        self.down, self.up = (
            nn.Parameter(torch.randn(2, before)),
            nn.Parameter(torch.randn(after, 2)),
        )

    def forward(self, x):
        return super().forward(x) + x @ self.down.T @ self.up.T


class Gained(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 2, 3)
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.gain * super().forward(x)


class Pair(nn.Module):
    """Logits and more."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        return self.inner(x), x


class Named(Pair):
    def forward(self, x):
        return {"hidden": x, "logits": self.inner(x)}


def pruned():
    from torch.nn.utils import prune

    network = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    prune.random_unstructured(network[0], "weight", amount=0.5)
    return network


def old_weight_norm():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 6)), nn.Tanh(), nn.Linear(6, 2))


class Keeping(nn.Module):
    """Keeps in evaluation mode what it has computed of its weights, as LeViT keeps its attention's
    biases."""

    def __init__(self):
        super().__init__()
        self.biases, self.inner, self.out, self.kept = (
            nn.Parameter(torch.randn(2)),
            nn.Linear(3, 4),
            nn.Linear(4, 2),
            {},
        )

    def train(self, mode=True):
        self.kept = {} if mode else self.kept
        return super().train(mode)

    def forward(self, x):
        if "bias" not in self.kept or self.training:
            self.kept["bias"] = self.biases[torch.tensor([0, 1, 1, 0])]
        return self.out(torch.tanh(self.inner(x) + self.kept["bias"]))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Bilinear(3, 3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.inner(x, x.flip(1))))


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        hidden = torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)
        return self.out(torch.tanh(hidden))


ODD = {
    "sorted": (SortedMean, lambda n: torch.randn(n, 5, 2)),
    "packed": (
        Packed,
        lambda n: torch.randint(1, 9, (n, 6)) * (torch.arange(6) < torch.randint(1, 7, (n, 1))),
    ),
    "sequence first": (SequenceFirstEncoder, lambda n: torch.randn(n, 3, 8)),
    "sequence first, one token": (SequenceFirstEncoder, lambda n: torch.randn(n, 1, 8)),
    "folded": (Folded, lambda n: torch.randn(n, 2, 3)),
    "relative positions": (RelativePositions, lambda n: torch.randn(n, 3)),
    "experts": (Experts, lambda n: torch.randn(n, 3)),
    "adapter": (
        lambda: nn.Sequential(Lora(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        lambda n: torch.randn(n, 3),
    ),
    "gain": (
        lambda: nn.Sequential(Gained(), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)),
        lambda n: torch.randn(n, 1, 5, 5),
    ),
    "pair": (Pair, lambda n: torch.randn(n, 3)),
    "dict": (Named, lambda n: torch.randn(n, 3)),
    "sparse embedding": (
        lambda: nn.Sequential(nn.Embedding(7, 3, sparse=True), nn.Flatten(), nn.Linear(12, 2)),
        lambda n: torch.randint(0, 7, (n, 4)),
    ),
    "embedding bag": (
        lambda: nn.Sequential(nn.EmbeddingBag(7, 3, sparse=True), nn.Linear(3, 2)),
        lambda n: torch.randint(0, 7, (n, 4)),
    ),
    "scripted": (
        lambda: torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))),
        lambda n: torch.randn(n, 3),
    ),
    "pruned": (pruned, lambda n: torch.randn(n, 3)),
    "weight norm": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)
        ),
        lambda n: torch.randn(n, 3),
    ),
    "old weight norm": (old_weight_norm, lambda n: torch.randn(n, 3)),
    "spectral norm": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)
        ),
        lambda n: torch.randn(n, 3),
    ),
    "old spectral norm": (
        lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)),
        lambda n: torch.randn(n, 3),
    ),
    "data parallel": (
        lambda: nn.DataParallel(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))),
        lambda n: torch.randn(n, 3),
    ),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 4, 3, groups=4),
            nn.ReLU6(),
            nn.Conv2d(4, 2, 1),
            nn.Flatten(),
            nn.Linear(18, 2),
        ),
        lambda n: torch.randn(n, 4, 5, 5),
    ),
    "scaled by frequency": (
        lambda: nn.Sequential(
            nn.Embedding(7, 3, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(12, 2)
        ),
        lambda n: torch.randint(0, 7, (n, 4)),
    ),
    "keeping": (Keeping, lambda n: torch.randn(n, 3)),
    "bilinear": (TwoInputs, lambda n: torch.randn(n, 3)),
    "checkpointed": (Checkpointed, lambda n: torch.randn(n, 3)),
}


def odd(name, n=9, seed=0):
    """A network in float64, and n inputs."""
    torch.manual_seed(seed)
    make, inputs = ODD[name]
    network, x = make().double(), inputs(n)
    return network, x.double() if x.is_floating_point() else x
