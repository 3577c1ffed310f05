"""A plan within a budget that is killed goes on from its checkpoint."""

import os
import signal
import subprocess
import time

import pytest
from torch import nn

import tutelage as tu
from pilots.test_corrected import GRID, QUICK, problem
from problems import planned_by, planning, untimed
from tutelage.exceptions import OutputError, StudentError, TaskError
from tutelage.solve import Scale
from tutelage.students import TorchStudent


def planned(folder, given=None, **options):
    known = tu.lab.student("mlp:width=16,depth=1", training=QUICK, epochs=60)
    options = {"student": known, "regret": 0, "scale": Scale(checkpoint=folder)} | options
    return tu.plan(given or problem(), **GRID, **options)


def kept(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_what_is_kept_is_taken_and_changes_nothing(tmp_path, monkeypatch):
    plain = tu.plan(problem(), student=tu.lab.student(
        "mlp:width=16,depth=1", training=QUICK, epochs=60), regret=0, **GRID)  # fmt: skip
    first = planned(tmp_path / "c")
    assert untimed(first.as_dict()) == untimed(plain.as_dict())
    there = kept(tmp_path / "c")
    pilots = [name for name in there if name.startswith("pilot-")]
    assert len(pilots) == len(first.cost.pilots) > 0

    def trained(*args, **options):
        raise AssertionError("a pilot was trained anew")

    monkeypatch.setattr(TorchStudent, "trained", trained)
    assert untimed(planned(tmp_path / "c").as_dict()) == untimed(plain.as_dict())
    assert kept(tmp_path / "c") == there


def test_a_larger_budget_goes_on_from_the_pilots_of_a_smaller_one(tmp_path):
    small = planned(tmp_path / "c", budget=1)
    there = kept(tmp_path / "c")
    large = planned(tmp_path / "c", budget=1.5)
    assert len(large.cost.pilots) > len(small.cost.pilots)
    assert there.items() <= kept(tmp_path / "c").items()


def test_what_was_lost_is_said_again(tmp_path, monkeypatch):
    def diverges(self, *args, **options):
        raise StudentError("Training diverged.")

    monkeypatch.setattr(TorchStudent, "trained", diverges)
    first, again = planned(tmp_path / "c"), planned(tmp_path / "c")
    assert "came to nothing: Training diverged." in " ".join(first.warnings)
    assert first.warnings == again.warnings


def wider(input_shape, n_outputs):
    return nn.Sequential(nn.Linear(*input_shape, 16), nn.ReLU(), nn.Linear(16, n_outputs))


def smoother(input_shape, n_outputs):
    """With the same weights as `wider`."""
    return nn.Sequential(nn.Linear(*input_shape, 16), nn.Tanh(), nn.Linear(16, n_outputs))


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"given": problem(noise=0.4)}, "its task is"),
        ({"seed": 1}, "its seed is 0, and 1 was given"),
        ({"student": smoother}, "its logits is"),
        ({"student": TorchStudent(wider, "wider", training=QUICK, epochs=30)}, "its training is"),
    ],
)
def test_another_run_is_refused(tmp_path, changes, differs):
    own = TorchStudent(wider, "wider", training=QUICK, epochs=60)
    planned(tmp_path / "c", student=own)
    if changes.get("student") is smoother:
        changes = {"student": TorchStudent(smoother, "wider", training=QUICK, epochs=60)}
    with pytest.raises(TaskError, match=differs):
        planned(tmp_path / "c", **({"student": own} | changes))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match="holds files, but no checkpoint"):
        planned(tmp_path)


def test_a_command_that_is_killed_goes_on(tmp_path):
    problem(n=600).save(tmp_path / "task.npz")
    options = ["--student", "mlp:width=8,depth=1", "--epochs", "60", "--learning-rate", "0.05"]
    options += ["--soft-ratio", "0.2,1", "--regret", "0"]

    def command(folder):
        return planning(tmp_path / "task.npz", options, folder)

    whole, folder = planned_by(command(tmp_path / "whole")), tmp_path / "killed"
    started = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL)
    while not list(folder.glob("theory-*.nc")) and started.poll() is None:
        time.sleep(0.005)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    there = kept(folder)
    assert len(there) < len(kept(tmp_path / "whole"))
    assert planned_by(command(folder)) == whole
    assert there.items() <= kept(folder).items()
