"""`tutelage distil` and `tutelage verify`, end to end on a small task."""

import json

import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

from problems import task
from tutelage import cli
from tutelage.lab import network_of

QUICK = ["--epochs", "2", "--learning-rate", "0.05", "--quiet"]
WARM = ["--student", "mlp:width=8,depth=1", "--warm-starts", "1", "--warm-epochs", "1"]
PLAN = [*WARM, "--soft-ratio", "0.2,1", "--temperature", "1,4"]


@pytest.fixture
def task_file(tmp_path):
    task(n=60, m=40).save(tmp_path / "task.npz")
    return tmp_path / "task.npz"


def run(capsys, *arguments):
    code = cli.run([str(a) for a in arguments])
    return code, *capsys.readouterr()


def test_a_plan_is_verified_from_its_folder_alone(capsys, task_file, tmp_path, monkeypatch):
    folder = tmp_path / "plan"
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "plan", "task.npz", *PLAN, *QUICK, "--out", folder)[0] == 0
    before = (folder / "report.html").read_text()
    monkeypatch.chdir("/")
    code, out, err = run(capsys, "verify", folder, *QUICK, "--grid", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found == json.loads((folder / "verification.json").read_text())
    assert found["students"] == 2 * 7
    assert found["epochs"] == 2
    assert {row["role"] for row in found["rows"]} >= {
        "labels only",
        "usual default (ρ = 0.9, T = 4)",
    }
    page = (folder / "report.html").read_text()
    assert "Checked against real students" in page
    assert "Checked against real students" not in before
    assert xr.load_dataset(folder / "students.nc", engine="h5netcdf").error.shape == (7, 1, 2)
    again = json.loads(run(capsys, "verify", folder / "plan.json", *QUICK, "--grid", "--json")[1])
    times = {"seconds": 0, "plan_seconds": 0}
    assert again | times == found | times
    assert "points more than the best" in run(capsys, "verify", folder, *QUICK[:-1])[1]


def test_distil_writes_students(capsys, task_file, tmp_path):
    code, out, _ = run(
        capsys,
        "distil",
        task_file,
        "--student",
        "mlp:width=8,depth=1",
        "--soft-ratio",
        "0,1",
        "--temperature",
        "2",
        "--seeds",
        "1",
        *QUICK[:-1],
        "--out",
        tmp_path / "students",
    )
    assert code == 0
    assert "soft ratio" in out
    found = xr.load_dataset(tmp_path / "students" / "students.nc", engine="h5netcdf")
    assert found.soft_ratio.values.tolist() == [0, 1]
    assert load_file(tmp_path / "students" / "student-1-2-n60-seed0.safetensors")[
        "1.weight"
    ].shape == (8, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["verify", "nowhere"],
            "nowhere holds no plan.json; give the folder that tutelage plan wrote",
        ),
        (["verify", "text"], "is not JSON"),
        (["verify", "other"], "is not a plan of tutelage"),
        (["verify", "moved"], "does not say which task file it was made from; give it with --task"),
        (
            ["distil", "task.npz", "--student", "mlp:width=8,activation=erf"],
            "'erf' is not known to a finite mlp",
        ),
        (
            ["distil", "task.npz", "--student", "resmlp:width=8"],
            "A resmlp is known in infinite width only",
        ),
        (["distil", "task.npz", "--soft-ratio", "2"], "A soft ratio of 2 was given"),
        (["distil", "task.npz", "--sizes", "1"], "they lie in 2 … 60"),
        (["distil", "task.npz", "--learning-rate", "0"], "expected a positive, finite number"),
    ],
)
def test_what_is_wrong_is_said(capsys, tmp_path, task_file, monkeypatch, arguments, message):
    for name, content in (
        ("text", "{"),
        ("other", "{}"),
        ("moved", '{"student": "mlp", "seed": 0, "task": {}}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text(content)
    assert run(capsys, "plan", task_file, *PLAN, *QUICK, "--out", tmp_path / "plan")[0] == 0
    (tmp_path / "moved" / "curves.nc").write_bytes((tmp_path / "plan" / "curves.nc").read_bytes())
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments, "--quiet")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("spec", "name", "epochs"),
    [
        (
            "mlp:depth=2,activation=relu,weight_var=2,bias_var=0.1,width=inf",
            "mlp:width=512,depth=2,activation=relu",
            60,
        ),
        ("cnn:width=16,linearise=warm,epochs=30", "cnn:width=16", 30),
        ("tutelage.lab.networks:cnn;linearise=warm,epochs=inf", "tutelage.lab.networks:cnn", 60),
        ("mlp:width=8", "mlp:width=8", 60),
        ("mlp", "mlp:width=512", 60),
        (
            "mlp:depth=1,activation=erf",
            "mlp:depth=1,activation=erf,weight_var=2,bias_var=0.1,width=512",
            60,
        ),
        ("resmlp", "resmlp:blocks=3,activation=relu,weight_var=1.5,bias_var=0.05,width=512", 60),
        (
            "resnet:blocks=1",
            "resnet:blocks=1,activation=relu,weight_var=1.5,bias_var=0.05,kernel_size=3,head=flatten,width=64",
            60,
        ),
    ],
)
def test_a_plans_student_becomes_one_that_can_be_trained(spec, name, epochs):
    found = network_of(spec)
    assert found.spec.startswith(name)
    assert found.epochs == epochs
    assert network_of(spec, epochs=7).epochs == 7


def test_what_stands_for_an_infinite_student_is_its_network():
    made = network_of("cnn:depth=2,padding=circular,head=global_avg_pool").factory((3, 6, 6), 4)
    x = torch.randn(2, 3, 6, 6)
    assert made(x).shape == (2, 4)
    torch.testing.assert_close(made(x.roll(2, -1)), made(x), rtol=1e-4, atol=1e-4)
