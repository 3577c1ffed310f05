import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tutelage import Task, cli, datasets
from tutelage.exceptions import MissingExtraError, SettingError, TaskError
from tutelage.lab import Teaching, teach, teacher_logits
from tutelage.train import networks

TEACHING = Teaching(epochs=4, keep=[1, 2], batch_size=16, learning_rate=0.1, seed=3)


@pytest.fixture(scope="module")
def data():
    return datasets.gaussian_mixture(400, 100, classes=3, features=4, distance=4.0)[0]


def parts(data, **changes):
    return datasets.split(data, teacher=150, pool=80, test=60, **changes)


def factory(input_shape, n_outputs):
    return nn.Sequential(
        nn.Linear(input_shape[0], 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(16, n_outputs),
    )


def test_a_teacher_learns_its_own_samples_and_tells_of_others(data, tmp_path):
    split = parts(data)
    made = teach(data, split, factory, "small", TEACHING, folder=tmp_path)
    assert made.teacher_epochs.tolist() == [1, 2, 4]
    assert made.teacher_logits_train.shape == (3, 80, 3)
    accuracy = made.teacher_accuracy("test")
    assert accuracy[-1] > 0.85
    assert accuracy[-1] >= accuracy[0]
    assert np.array_equal(made.x_train, data.x[split.pool])
    written = json.loads((tmp_path / "teacher.json").read_text())
    assert written["taught"] == split.taught.tolist()
    assert not set(written["taught"]) & set(written["pool"])
    network = factory((4,), 3)
    network.load_state_dict(load_file(tmp_path / "teacher.safetensors"))
    centre, scale = data.x.mean(0), data.x.std()
    inputs = torch.as_tensor((made.x_train - centre) / scale, dtype=torch.float32)
    np.testing.assert_allclose(
        teacher_logits(network, [inputs]), made.teacher_logits_train[-1], rtol=1e-4, atol=1e-5
    )


def test_teaching_is_reproducible_and_goes_on_where_it_was_stopped(data, tmp_path):
    class Stop(Exception):
        pass

    def stopping(name, total):
        class Bar:
            def __enter__(self):
                self.done = 0
                return self.advance

            def __exit__(self, *_):
                pass

            def advance(self, steps):
                self.done += steps
                if self.done == 3:
                    raise Stop  # after its checkpoint

        return Bar()

    whole, again = (
        teach(data, parts(data), factory, "s", TEACHING, folder=tmp_path / name) for name in "ab"
    )
    assert whole == again
    with pytest.raises(Stop):
        teach(data, parts(data), factory, "s", TEACHING, folder=tmp_path / "c", progress=stopping)
    assert (tmp_path / "c" / "checkpoint.ckpt").exists()
    assert not (tmp_path / "c" / "teacher.safetensors").exists()
    epochs = []

    def counting(name, total):
        class Bar:
            def __enter__(self):
                return epochs.append

            def __exit__(self, *_):
                pass

        return Bar()

    assert (
        teach(data, parts(data), factory, "s", TEACHING, folder=tmp_path / "c", progress=counting)
        == whole
    )
    assert len(epochs) == 1


def test_a_folder_of_another_teacher_is_refused(data, tmp_path):
    teach(data, parts(data), factory, "s", Teaching(epochs=1), folder=tmp_path)
    with pytest.raises(TaskError, match="holds another teacher"):
        teach(data, parts(data), factory, "s", Teaching(epochs=2), folder=tmp_path)


def test_a_teacher_of_the_pool_itself_is_recorded_and_warned_of(data, tmp_path):
    split = parts(data, in_sample=True)
    teach(data, split, factory, "s", Teaching(epochs=1), folder=tmp_path)
    found = json.loads((tmp_path / "teacher.json").read_text())
    assert found["in_sample"]
    assert set(found["pool"]) <= set(found["taught"])


def test_what_is_missing_is_named(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tutelage\[lab\]'"):
        teach(data, parts(data), factory, "s", Teaching(epochs=1), folder=tmp_path)


@pytest.mark.parametrize("make", [networks.cnn(4), networks.resnet(4), networks.mlp(16, 1)])
def test_networks_for_images_can_teach(make, tmp_path):
    data = datasets.digits()
    split = datasets.split(data, teacher=65, pool=40, test=40)
    made = teach(data, split, make, "n", Teaching(epochs=1), folder=tmp_path)
    assert np.isfinite(made.teacher_logits_train).all()


def test_what_cannot_be_taught_is_said():
    with pytest.raises(SettingError, match="needs 1 epoch"):
        Teaching(epochs=0)
    with pytest.raises(SettingError, match=r"kept at epochs \[5\]; training lasts 2"):
        Teaching(epochs=2, keep=[5])
    with pytest.raises(TaskError, match="gave no batch"):
        teacher_logits(nn.Linear(2, 2), [])


def test_logits_of_a_users_own_network():
    network, x = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.9)), torch.randn(10, 3)
    network.train()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, torch.zeros(10)), batch_size=4
    )
    expected = network[0](x)[:, 0].detach().numpy()
    np.testing.assert_allclose(teacher_logits(network, loader), expected, rtol=1e-5, atol=1e-6)
    assert network.training


def test_logits_of_a_hugging_face_model():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=3,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    ids, mask = torch.randint(0, 20, (5, 6)), torch.ones(5, 6, dtype=torch.long)
    batches = [
        {"input_ids": ids[k : k + 2], "attention_mask": mask[k : k + 2], "labels": torch.zeros(2)}
        for k in (0, 2)
    ]
    with torch.no_grad():
        expected = model(input_ids=ids[:4], attention_mask=mask[:4]).logits.numpy()
    np.testing.assert_allclose(teacher_logits(model, batches), expected, rtol=1e-4, atol=1e-5)


def test_the_command_goes_on_after_a_kill(tmp_path):
    """SIGKILL while it trains; the second run ends with the task of one that was never killed."""
    command = (
        "teach digits --network mlp:width=32,depth=1 --teacher 600 --pool 300 --test 300 --epochs 8"
        " --keep 1,2 --quiet"
    )

    def arguments(name):
        return [*command.split(), "--out", str(tmp_path / name)]

    assert cli.run(arguments("whole")) == 0
    script = "import sys; from tutelage.cli import run; sys.exit(run(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", script, *arguments("killed")])
    checkpoint, deadline = tmp_path / "killed" / "checkpoint.ckpt", time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "task.npz").exists()
    assert cli.run(arguments("killed")) == 0
    assert Task.load(tmp_path / "whole" / "task.npz") == Task.load(tmp_path / "killed" / "task.npz")


def test_logits_of_a_hugging_face_data_set():
    transformers, hugging = pytest.importorskip("transformers"), pytest.importorskip("datasets")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=3,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    ids = torch.randint(0, 20, (5, 6))
    columns = {
        "input_ids": ids.tolist(),
        "labels": [0, 1, 2, 0, 1],
        "text": list("abcde"),
        "row": list(range(5)),
    }
    data = hugging.Dataset.from_dict(columns).with_format("torch")
    with torch.no_grad():
        expected = model(input_ids=ids).logits.numpy()
    for loader in (torch.utils.data.DataLoader(data, batch_size=2), data.iter(batch_size=3)):
        np.testing.assert_allclose(teacher_logits(model, loader), expected, rtol=1e-4, atol=1e-5)


def test_two_devices_share_batches_and_one_goes_on_where_they_stopped(data, tmp_path):
    def plain(
        input_shape, n_outputs
    ):  # no batch norm, no dropout: nothing that sees a part of a batch only
        return nn.Sequential(nn.Linear(input_shape[0], 16), nn.Tanh(), nn.Linear(16, n_outputs))

    split = parts(data)
    one = teach(data, split, plain, "s", TEACHING, folder=tmp_path / "one")
    two = teach(data, split, plain, "s", TEACHING, folder=tmp_path / "two", devices=2)
    np.testing.assert_allclose(
        two.teacher_logits_train, one.teacher_logits_train, rtol=1e-4, atol=1e-4
    )
    with pytest.raises(SettingError, match="10000 devices were asked for; this machine has"):
        teach(data, split, plain, "s", TEACHING, folder=tmp_path / "many", devices=10_000)


def test_a_logger_is_told_the_loss(data, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    teach(
        data,
        parts(data),
        factory,
        "s",
        TEACHING,
        folder=tmp_path,
        logger=CSVLogger(tmp_path, "", "log"),
    )
    rows = (tmp_path / "log" / "metrics.csv").read_text().splitlines()
    assert "loss" in rows[0].split(",")


def loaders():
    data = torch.utils.data.TensorDataset(torch.randn(10, 3))
    loader = torch.utils.data.DataLoader
    return {
        "shuffled": loader(data, batch_size=4, shuffle=True),
        "one sample, shuffled": loader(
            torch.utils.data.TensorDataset(torch.randn(1, 3)), shuffle=True
        ),
        "a subset": loader(
            data, batch_size=4, sampler=torch.utils.data.SubsetRandomSampler([3, 1, 2])
        ),
        "weighted": loader(
            data, sampler=torch.utils.data.WeightedRandomSampler(torch.ones(10), 10)
        ),
        "batches of chance": loader(
            data,
            batch_sampler=torch.utils.data.BatchSampler(
                torch.utils.data.RandomSampler(data), 4, False
            ),
        ),
        "a last batch that is dropped": loader(data, batch_size=4, drop_last=True),
        "reversed": loader(data, sampler=list(range(10))[::-1]),
        "a part of several devices": loader(
            data, sampler=torch.utils.data.DistributedSampler(data, 2, 0)
        ),
    }


@pytest.mark.parametrize("name", loaders())
def test_a_loader_that_gives_other_samples_is_refused(name):
    with pytest.raises(
        TaskError, match="so that logits would stand beside inputs of other samples"
    ):
        teacher_logits(nn.Linear(3, 2), loaders()[name])


class Tuple(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


class Dict(nn.Linear):
    def forward(self, x):
        return {"hidden": x, "logits": super().forward(x)}


class Squeezed(nn.Linear):
    def forward(self, x):
        return super().forward(x).squeeze()


@pytest.mark.parametrize(
    "wrap", [lambda n: n, nn.DataParallel, lambda n: torch.compile(n, backend="eager")]
)
@pytest.mark.parametrize("kind", [nn.Linear, Tuple, Dict, Squeezed])
@pytest.mark.parametrize("outputs", [1, 3])
def test_logits_of_every_shape_that_networks_give_them_in(wrap, kind, outputs):
    torch.manual_seed(0)
    network, x = kind(3, outputs).to(torch.bfloat16), torch.randn(7, 3).to(torch.bfloat16)
    expected = nn.functional.linear(x, network.weight, network.bias).float().detach().numpy()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x), batch_size=3
    )  # the last batch has one
    found = teacher_logits(wrap(network), loader)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected[:, 0] if outputs == 1 else expected)


class Takes(nn.Linear):
    def forward(self, ids, mask=None):
        return super().forward(ids.float())


@pytest.mark.parametrize(
    "wrap", [lambda n: n, nn.DataParallel, lambda n: torch.compile(n, backend="eager")]
)
def test_columns_that_forward_does_not_take_are_left_out_of_wrapped_networks_too(wrap):
    batch = {
        "ids": torch.ones(2, 3, dtype=torch.long),
        "row": torch.arange(2),
        "labels": torch.zeros(2),
    }
    assert teacher_logits(wrap(Takes(3, 2)), [batch]).shape == (2, 2)


@pytest.mark.parametrize(
    ("network", "loader", "message"),
    [
        (
            Takes(3, 2),
            [{"row": torch.arange(2)}],
            "The loader gives row, none of which the network's forward takes",
        ),
        (
            Takes(3, 2),
            [{"ids": [[1, 2, 3], [1, 2]]}],
            "The loader gives rows of different lengths.* for ids",
        ),
        (nn.Linear(3, 2), ["text"], "The loader gave str; expected tensors"),
        (nn.Flatten(0), [torch.ones(2, 3)], r"The network gave \(6,\) for 2 samples of batch 0"),
        (
            nn.Unflatten(1, (1, 3)),
            [torch.ones(2, 3)],
            r"The network gave \(2, 1, 3\) for 2 samples of batch 0",
        ),
        (
            nn.Flatten(),
            [torch.ones(2, 3), torch.ones(2, 4)],
            "gave 3 logits for some samples and 4 for others",
        ),
    ],
)
def test_what_gives_no_logits_is_said(network, loader, message):
    with pytest.raises(TaskError, match=message):
        teacher_logits(network, loader)
