"""Networks on the paths of large pools: tiles, a cluster, a checkpoint, a run that is killed."""

import math
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from torch import nn

import tutelage as tu
from problems import planned_by, planning, task
from tutelage.solve import Scale

GRID = {"soft_ratio": [0.2, 1.0], "temperature": [1.0, 4.0], "orderings": 1, "seed": 3}
SHARES = ("error", "transfer_risk", "oracle_risk")
NUMBERS = ("squared_norm", "expected_transfer_risk", "distance", "cos_effective_reference")


def double(input_shape, n_outputs):
    """In float64, so that tiles and the whole kernel agree to many digits."""
    return nn.Sequential(nn.Linear(*input_shape, 8), nn.Tanh(), nn.Linear(8, n_outputs)).double()


def network(epochs):
    training = tu.lab.Training(3, 0.05, 16)
    return tu.lab.TorchStudent(double, "double", training=training, epochs=epochs)


def close(found, expected):
    for name in (*SHARES, *NUMBERS):
        np.testing.assert_allclose(
            found[name].values, expected[name].values, rtol=1e-5, atol=1e-6, err_msg=name
        )
    assert np.array_equal(found.decision_loo.values, expected.decision_loo.values)


@pytest.mark.parametrize("epochs", [6, math.inf])
@pytest.mark.parametrize("test", [True, False])
def test_tiles_tell_what_one_matrix_tells(tmp_path, epochs, test):
    problem = task(n=150, m=60, test=test)
    dense = tu.curves(problem, network(epochs), **GRID)
    close(tu.curves(problem, network(epochs), **GRID, scale=Scale("dask")), dense)
    for _ in range(2):  # the second time from what the first has left
        found = tu.curves(problem, network(epochs), **GRID, scale=Scale(checkpoint=tmp_path / "c"))
        close(found, dense)
    starts = sorted(p.name for p in (tmp_path / "c").glob("start-*"))
    assert starts == (["start-0", "start-1"] if test else ["start-0"])
    ridged = list((tmp_path / "c").rglob("ridged-*"))
    assert bool(ridged) == (test and math.isfinite(epochs))


def test_a_checkpoint_answers_no_other_training_time(tmp_path):
    problem, scale = task(n=150, m=60), Scale(checkpoint=tmp_path / "c")
    short, long = (tu.curves(problem, network(epochs), **GRID) for epochs in (4, 100))
    close(tu.curves(problem, network(4), **GRID, scale=scale), short)
    close(tu.curves(problem, network(100), **GRID, scale=scale), long)
    assert not np.array_equal(short.decision.values, long.decision.values)


def test_a_cluster_tells_what_one_matrix_tells(tmp_path):
    from distributed import LocalCluster

    problem = task(n=150, m=60)
    dense = tu.curves(problem, network(6), **GRID)
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    try:
        scale = Scale(scheduler=cluster.scheduler_address)
        close(tu.curves(problem, network(6), **GRID, scale=scale), dense)
        grid = {name: value for name, value in GRID.items() if name != "orderings"}
        streamed = tu.curves(problem, network(6), **grid, features=80, scale=scale)
        here = tu.curves(problem, network(6), **grid, features=80)
        np.testing.assert_allclose(streamed.error.values, here.error.values, atol=1e-9)
    finally:
        cluster.close()


def test_a_plan_of_a_network_that_is_killed_goes_on(tmp_path):
    task(n=500, m=50).save(tmp_path / "task.npz")
    options = ["--student", "mlp:width=8,depth=1", "--warm-starts", "1", "--warm-epochs", "2"]
    options += ["--learning-rate", "0.05", "--epochs", "3", "--soft-ratio", "0.2,1"]
    options += ["--budget", "0"]

    def command(folder):
        return planning(tmp_path / "task.npz", options, folder)

    whole = planned_by(command(tmp_path / "whole"))
    tiles = len(list((tmp_path / "whole").rglob("*.npy")))
    folder = tmp_path / "killed"
    started = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL)
    while len(list(folder.rglob("*.npy"))) < tiles // 2 and started.poll() is None:
        time.sleep(0.005)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    there = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    assert 0 < len(there) < tiles
    assert planned_by(command(folder)) == whole
    assert there == {path: path.stat().st_mtime_ns for path in there}  # taken as they were


def test_a_network_with_inputs_by_name_lies_in_tiles():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(3, 3), nn.Linear(2, 3)

        def forward(self, a, b):
            return self.left(a) + self.right(b)

    problem = task(n=80, m=40)
    named = [{"a": x[:, :3], "b": x[:, 3:]} for x in (problem.x_train, problem.x_test)]
    split = tu.Task(
        named[0], problem.teacher_logits_train, problem.y_train,
        named[1], problem.teacher_logits_test, problem.y_test,
    )  # fmt: skip
    known = tu.lab.TorchStudent(
        lambda shape, n: Two().double(), "two", training=tu.lab.Training(3, 0.05, 16)
    )
    torch.manual_seed(0)
    close(tu.curves(split, known, **GRID, scale=Scale("dask")), tu.curves(split, known, **GRID))
