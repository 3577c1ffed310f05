import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from problems import task, untimed
from tutelage import cli
from tutelage.cli import planning

FAST = [
    "--student",
    "mlp:depth=1",
    "--soft-ratio",
    "0.2,1",
    "--temperature",
    "1,4",
    "--orderings",
    "1",
]


@pytest.fixture
def task_file(tmp_path):
    task().save(tmp_path / "task.npz")
    return tmp_path / "task.npz"


def run(capsys, *arguments):
    code = cli.run([str(a) for a in arguments])
    return code, *capsys.readouterr()


def test_plan_writes_its_files_and_prints_the_decision(capsys, task_file, tmp_path):
    code, out, err = run(
        capsys, "plan", task_file, *FAST, "--out", tmp_path / "found", "--target-error", "0.2"
    )
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "found").iterdir()) == [
        "curves.nc",
        "plan.json",
        "report.html",
        "suspect_labels.csv",
    ]
    document, said = (
        json.loads((tmp_path / "found" / "plan.json").read_text()),
        " ".join(out.split()),
    )
    best = document["recommended"]
    setting = f"soft ratio {best['soft_ratio']:g}, temperature {best['temperature']:g}"
    assert f"[{best['verdict']}] {setting}" in said
    assert best["why"] in said
    for row in document["settings"][:4]:
        assert f" {row['soft_ratio']:g} {row['temperature']:g} {100 * row['error']:.1f} %" in said
    assert str(tmp_path / "found" / "report.html") in out
    assert err == ""
    assert document["samples"]["target"]["error"] == 0.2


def test_json_goes_to_stdout_and_all_else_to_stderr(capsys, task_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "plan", task_file, *FAST, "--json")
    assert code == 0
    assert json.loads(out)["settings"]
    assert "soft ratio" in err
    assert not (tmp_path / "tutelage-plan").exists()
    assert run(capsys, "plan", task_file, *FAST, "--json", "--quiet")[2] == ""


def test_quiet_prints_nothing(capsys, task_file, tmp_path):
    assert run(capsys, "plan", task_file, *FAST, "--out", tmp_path / "found", "--quiet") == (
        0,
        "",
        "",
    )


def test_the_same_command_gives_the_same_plan_apart_from_seconds(capsys, task_file):
    plans = [
        untimed(json.loads(run(capsys, "plan", task_file, *FAST, "--json")[1])) for _ in range(2)
    ]
    assert plans[0] == plans[1]


def alike(one, other):
    """The same but for the last digits of numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return (
        one == pytest.approx(other, rel=1e-9, abs=1e-12) if isinstance(one, float) else one == other
    )


@pytest.mark.parametrize(
    "student",
    [["--student", "mlp:depth=1"], ["--student", "mlp:width=16,depth=1", "--warm-epochs", "2"]],
)
def test_the_number_of_threads_moves_only_the_tenth_digit(task_file, tmp_path, student):
    """Sums are added up in another order, and nothing else."""
    code = "from _tutelage_entry import main; main()"
    plans = []
    for threads in ("1", "2"):
        arguments = [
            "plan",
            task_file,
            *student,
            "--soft-ratio",
            "0.2,1",
            "--temperature",
            "4",
            "--out",
            tmp_path / threads,
            "--quiet",
        ]
        subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads},
        )
        plans.append(untimed(json.loads((tmp_path / threads / "plan.json").read_text())))
    assert alike(*plans)
    plans[1]["recommended"]["distance"] *= 1 + 1e-7
    assert not alike(*plans)


@pytest.fixture
def files(tmp_path):
    task().save(tmp_path / "task.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "task.npz").read_bytes()[:300])
    (tmp_path / "table.csv").write_text("1")
    (tmp_path / "file").write_text("")
    good = {
        "x_train": np.random.default_rng(0).normal(size=(9, 2)),
        "teacher_logits_train": np.linspace(-1, 2, 9),
    }
    variants = {
        "nan": {"x_train": np.full((9, 2), np.nan)},
        "lengths": {"y_train": np.zeros(8, int)},
        "strings": {"y_train": np.array(["a"] * 9)},
        "pickled": {"y_train": np.array([{}] * 9, object)},
        "oneclass": {"y_train": np.ones(9, int)},
        "probabilities": {"teacher_logits_train": np.linspace(0.1, 0.9, 9)},
        "unknown": {"y_trian": np.ones(9, int)},
    }
    p = np.random.default_rng(1).dirichlet(np.ones(10), 9)
    variants |= {
        "percent": {"teacher_logits_train": 100 * p},
        "rounded": {"teacher_logits_train": p.round(2)},
        "constant": {"teacher_logits_train": np.full(9, 3.0), "y_train": np.arange(9) % 2},
        "nologits": {"teacher_logits_train": np.empty((9, 0))},
        "hugelogits": {"teacher_logits_train": np.linspace(-1e300, 1e300, 9)},
        "hugetest": {"x_test": np.full((3, 2), 1e300), "y_test": np.array([0, 1, 0])},
        "hugelabel": {"y_train": np.linspace(0, 1e30, 9)},
    }
    os.mkfifo(tmp_path / "fifo")
    for name, change in variants.items():
        np.savez(tmp_path / f"{name}.npz", **(good | change))
    return tmp_path


COMMANDS = [
    ("plan missing.npz", "There is no task at missing.npz"),
    ("plan table.csv", "table.csv is a table as text; read it with pandas"),
    ("plan cut.npz", "truncated, corrupted"),
    ("plan nan.npz", "x_train holds 18 values that are NaN or infinite (first at index [0, 0])"),
    ("plan lengths.npz", "y_train has shape (8,); expected (9,)"),
    ("plan strings.npz", "y_train holds strings"),
    ("plan pickled.npz", "holds pickled Python objects"),
    ("plan oneclass.npz", "holds one class only"),
    ("plan probabilities.npz", "lies between 0 and 1 everywhere"),
    ("plan unknown.npz", "(did you mean y_train?)"),
    ("plan task.npz --soft-ratio 0,0.5", "A soft ratio of 0 is training on the labels alone"),
    ("plan task.npz --soft-ratio 2", "in (0, 1]"),
    ("plan task.npz --soft-ratio nan", "in (0, 1]"),
    (
        "plan task.npz --soft-ratio half",
        "--soft-ratio is 'half'; expected numbers with commas between them",
    ),
    ("plan task.npz --temperature 0", "expected a positive, finite number"),
    ("plan task.npz --temperature inf", "expected a positive, finite number"),
    ("plan task.npz --t-power 1", "t_power is 1; expected 0"),
    ("plan task.npz --sizes 10,100", "the pool has 60 samples"),
    ("plan task.npz --sizes 10,ten", "expected whole numbers with commas"),
    ("plan task.npz --orderings 0", "expected at least 1"),
    ("plan task.npz --dtype half", "expected float64 or float32"),
    ("plan task.npz --target-error 5", "expected a share between 0 and 1"),
    ("plan task.npz --student cnm", "The student 'cnm' is not known"),
    (
        "plan task.npz --student mlp:activation=tanh",
        "The activation 'tanh' is not known; choose one of",
    ),
    ("plan task.npz --student mlp:depth", "cannot be read at 'depth'"),
    ("plan task.npz --out file", "a file stands where a folder should"),
    ("plan task.npz --out /proc/none", "cannot be"),
    ("plan task.npz --outt x", "No such option"),
    ("plan task.npz --alpha 1", "No such option: --alpha; it is called --soft-ratio here."),
    ("plan task.npz --lr 1", "No such option: --lr; it is called --learning-rate here."),
    ("plan", "Missing argument"),
    ("plann task.npz", "No such command"),
    ("plan task.npz --seed -1", "Invalid value for '--seed'"),
    ("plan task.npz --seed 99999999999999999999", "Invalid value for '--seed'"),
    ("plan task.npz --temperature 1e300", "expected one between 0.001 and 1e+06"),
    ("plan task.npz --student mlp:depth=2,depth=3", "gives depth twice"),
    (
        "plan task.npz --student mlp:width=nan",
        "The student's width is 'nan'; expected a whole number",
    ),
    ("plan digitz", "did you mean digits?"),
    ("plan " + "x" * 300, "cannot be looked up"),
    ("plan fifo", "neither a file nor a folder"),
    ("plan percent.npz", "holds percentages"),
    ("plan rounded.npz", "holds probabilities"),
    ("plan constant.npz", "are the same for every sample"),
    ("plan nologits.npz", "holds no logits"),
    ("plan hugelogits.npz", "expected raw scores within"),
    ("plan hugetest.npz", "x_test cannot be scaled in float64"),
    ("plan hugelabel.npz", "y_train holds 1.25e+29 (index 1); expected class indices"),
]


@pytest.mark.parametrize(("command", "message"), COMMANDS, ids=[c for c, _ in COMMANDS])
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_written(
    capsys, files, monkeypatch, command, message
):
    monkeypatch.chdir(files)
    before = sorted(p.name for p in files.rglob("*"))
    code, out, err = run(capsys, *command.split())
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in files.rglob("*")) == before


def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    capsys, task_file, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    code, _, err = run(capsys, "plan", task_file, *FAST, "--out", tmp_path / "found")
    assert code == 2
    assert "the disk is full" in err
    assert [p.name for p in (tmp_path / "found").iterdir()] == ["curves.nc"]


def test_too_little_memory_is_said(capsys, task_file, monkeypatch):
    def starve(*_, **__):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory"
        )

    monkeypatch.setattr(planning, "plan", starve)
    code, _, err = run(capsys, "plan", task_file, "--json")
    assert code == 2
    assert "use fewer samples, settings or classes, or --dtype float32" in err


def test_a_stdout_that_is_full_is_said(task_file):
    script = Path(sys.executable).with_name("tutelage")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [script, "plan", task_file, *FAST, "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "cannot be written to stdout" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_that_knows_no_greek(task_file, tmp_path):
    greek = shutil.copy(task_file, tmp_path / "ρ.npz")
    script, plain = (
        Path(sys.executable).with_name("tutelage"),
        os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    )
    done = subprocess.run(
        [script, "plan", greek, *FAST, "--json"], capture_output=True, env=plain, check=True
    )
    assert json.loads(done.stdout.decode())["task"]["source"].endswith("ρ.npz")


def test_a_defect_of_ours_is_exit_code_1(capsys, task_file, monkeypatch):
    monkeypatch.setattr(planning, "plan", lambda *_, **__: 1 / 0)
    code, _, err = run(capsys, "plan", task_file, "--json")
    assert code == 1
    assert "This is a defect of tutelage" in err


@pytest.mark.parametrize("seconds", [0.1, 0.8, 3.0, 5.0])
def test_ctrl_c_at_any_moment_is_exit_code_130_and_nothing_written(tmp_path, seconds):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 50))
    np.savez(
        tmp_path / "task.npz",
        x_train=x,
        teacher_logits_train=x[:, 0],
        y_train=(x[:, 0] > 0.1).astype(int),
    )
    script = Path(sys.executable).with_name("tutelage")
    command = [
        script,
        "plan",
        tmp_path / "task.npz",
        "--orderings",
        "50",
        "--out",
        tmp_path / "found",
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert not (tmp_path / "found").exists()
    if seconds > 0.5:  # before that Python itself may still be on its way to our first line
        assert process.returncode == 130
        assert err == "Interrupted; nothing half-written was left.\n"


def test_version_and_help(capsys):
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert out.startswith("tutelage 0.")
    code, out, _ = run(capsys, "plan", "--help")
    assert code == 0
    assert "--soft-ratio" in out


def test_demo_plans_real_digits(capsys, tmp_path):
    code, out, _ = run(capsys, "demo", "--out", tmp_path)
    assert code == 0
    assert "teacher of epoch" in out
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["recommended"]["error"] < 0.06
    assert [
        e["epoch"] for e in sorted(document["teacher"]["epochs"], key=lambda e: e["epoch"])
    ] == [1, 2, 4, 8, 16, 32]
    again = run(capsys, "plan", tmp_path / "task.npz", "--json", "--quiet")[1]
    assert untimed(json.loads(again)) == untimed(document)


@pytest.mark.parametrize("student", ["cnn:depth=1", "resnet:blocks=1,head=global_avg_pool"])
def test_a_convolutional_student_is_planned_for_in_either_layout(capsys, tmp_path, student):
    known, rng = task(n=40, m=20), np.random.default_rng(1)
    images = (
        rng.normal(size=(60, 6, 5, 2))
        + np.concatenate([known.x_train, known.x_test])[:, :1, None, None]
    )
    rest = {
        "teacher_logits_train": known.teacher_logits_train,
        "y_train": known.y_train,
        "y_test": known.y_test,
        "teacher_logits_test": known.teacher_logits_test,
    }
    np.savez(tmp_path / "last.npz", x_train=images[:40], x_test=images[40:], **rest)
    first = np.moveaxis(images, -1, 1)
    np.savez(
        tmp_path / "first.npz",
        x_train=first[:40],
        x_test=first[40:],
        image_layout="channels_first",
        **rest,
    )
    options = ["--student", student, *FAST[2:], "--json", "--quiet"]
    plans = [
        json.loads(run(capsys, "plan", tmp_path / f"{name}.npz", *options)[1])
        for name in ("last", "first")
    ]
    assert plans[0]["student"].startswith(student.partition(":")[0])
    assert plans[0]["settings"] == plans[1]["settings"]


def test_a_convolutional_student_on_vectors_is_refused(capsys, task_file):
    code, out, err = run(capsys, "plan", task_file, "--student", "cnn:depth=2", "--quiet")
    assert (code, out) == (2, "")
    assert "This student takes images (samples, channels, height, width); inputs of shape (" in err
    assert "or a student for vectors, such as mlp or resmlp" in err
