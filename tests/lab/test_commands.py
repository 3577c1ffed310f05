"""`tutelage distil` and `tutelage verify`, end to end on a small task."""

import json

import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

import tutelage as tu
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
    assert "real students: the recommended setting erred" in " ".join(
        run(capsys, "verify", folder, *QUICK[:-1])[1].split()
    )


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
        (["verify", "other"], "is no plan of this version of tutelage: it lacks"),
        (
            ["verify", "gone"],
            "The plan's task is not at /nowhere/task.npz any more; say where it is now with --task",
        ),
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
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text(content)
    assert run(capsys, "plan", task_file, *PLAN, *QUICK, "--out", tmp_path / "plan")[0] == 0
    moved = json.loads((tmp_path / "plan" / "plan.json").read_text())
    for name, source in (("moved", None), ("gone", "/nowhere/task.npz")):
        moved["task"]["source"] = source
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text(json.dumps(moved))
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
        ("cnn:width=16", "cnn:width=16", 60),
        ("tutelage.train.networks:cnn", "tutelage.train.networks:cnn", 60),
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
            (
                "resnet:blocks=1,activation=relu,weight_var=1.5,bias_var=0.05,kernel_size=3,"
                "head=flatten,width=64"
            ),
            60,
        ),
    ],
)
def test_a_plans_student_becomes_one_that_can_be_trained(spec, name, epochs):
    found = network_of(spec)
    assert found.spec.startswith(name)
    assert found.epochs == epochs
    assert network_of(spec, epochs=7).epochs == 7


def test_what_a_plan_was_made_for_is_what_verify_trains(capsys, task_file, tmp_path):
    folder = tmp_path / "plan"
    asked = ["--learning-rate", "0.03", "--epochs", "3", "--seed", "5", "--target-error", "0.4"]
    assert run(capsys, "plan", task_file, *PLAN, *asked, "--quiet", "--out", folder)[0] == 0
    made_for = json.loads((folder / "plan.json").read_text())["made_for"]
    assert made_for["learning_rate"] == 0.03
    assert made_for["learning_rate_given"]
    assert (made_for["epochs"], made_for["seed"], made_for["batch_size"]) == (3, 5, 64)
    assert made_for["target_error"] == 0.4
    assert made_for["student"]["width"] == 8
    assert "for an error of 40.0\u00a0%" in (folder / "report.html").read_text()
    found = json.loads(run(capsys, "verify", folder, "--seeds", "1", "--json", "--quiet")[1])
    assert (found["learning_rate"], found["epochs"]) == (0.03, 3)
    students = xr.load_dataset(folder / "students.nc", engine="h5netcdf")
    assert students.attrs["seed"] == 5
    assert "for an error of 40.0\u00a0%" in (folder / "report.html").read_text()
    other = json.loads(
        run(
            capsys, "verify", folder, "--seeds", "1", "--json", "--quiet", "--learning-rate", "0.01"
        )[1]
    )
    assert other["learning_rate"] == 0.01


def test_a_rate_that_a_plan_found_is_the_one_that_verify_trains_at(capsys, task_file, tmp_path):
    folder = tmp_path / "plan"
    assert (
        run(capsys, "plan", task_file, *PLAN, "--epochs", "2", "--quiet", "--out", folder)[0] == 0
    )
    made_for = json.loads((folder / "plan.json").read_text())["made_for"]
    assert not made_for["learning_rate_given"]
    found = json.loads(
        run(capsys, "verify", folder, "--seeds", "1", "--seed", "9", "--json", "--quiet")[1]
    )
    assert found["learning_rate"] == made_for["learning_rate"]


def test_distil_trains_what_a_plan_recommends(capsys, task_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "plan", task_file, *PLAN, *QUICK, "--out", "plan")[0] == 0
    best = json.loads((tmp_path / "plan" / "plan.json").read_text())["recommended"]
    assert run(capsys, "distil", "--plan", "plan", "--seeds", "1", "--quiet")[0] == 0
    students = xr.load_dataset(tmp_path / "tutelage-students" / "students.nc", engine="h5netcdf")
    assert students.soft_ratio.values.tolist() == [best["soft_ratio"]]
    assert students.temperature.values.tolist() == [best["temperature"]]
    assert (students.attrs["epochs"], students.attrs["learning_rate"]) == (2, 0.05)
    code, _, err = run(capsys, "distil", "--quiet")
    assert code == 2
    assert "No task was given to distil; expected one, or a plan (--plan DIR)." in err


def test_what_stands_for_an_infinite_student_is_its_network():
    made = network_of("cnn:depth=2,padding=circular,head=global_avg_pool").factory((3, 6, 6), 4)
    x = torch.randn(2, 3, 6, 6)
    assert made(x).shape == (2, 4)
    torch.testing.assert_close(made(x.roll(2, -1)), made(x), rtol=1e-4, atol=1e-4)


def test_students_are_trained_by_the_optimiser_of_their_plan(capsys, task_file, tmp_path):
    folder = tmp_path / "plan"
    own = ["--optimiser", "adamw", "--weight-decay", "0.01", "--warmup", "0.1"]
    code, _, err = run(capsys, "plan", task_file, *PLAN, *QUICK, *own, "--out", folder)
    assert code == 0, err
    made = json.loads((folder / "plan.json").read_text())["made_for"]
    assert (made["optimiser"], made["weight_decay"], made["warmup"]) == ("adamw", 0.01, 0.1)
    known = tu.lab.trained_as_planned(tu.Plan.load(folder).made_for).training
    assert (known.optimiser, known.weight_decay, known.warmup) == ("adamw", 0.01, 0.1)
    assert known.learning_rate == made["learning_rate"]
    other = tu.lab.trained_as_planned(tu.Plan.load(folder).made_for, optimiser="sgd").training
    assert (other.optimiser, other.learning_rate) == ("sgd", None)
    assert run(capsys, "verify", folder)[0] == 0
    code, _, err = run(capsys, "plan", task_file, *PLAN, *QUICK, "--optimiser", "lion")
    assert code == 2
    assert "The optimiser is 'lion'; expected one of sgd, adamw." in err
