"""Plans on every path, what they cost, and runs that are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tutelage as tu
from problems import task, untimed
from tutelage.exceptions import SettingError, StudentError, TaskError
from tutelage.solve import Checkpoint, Scale, Work, size

GRID = {"soft_ratio": [0.2, 1.0], "temperature": [1.0, 4.0], "orderings": 2, "seed": 3}
KERNEL = tu.kernels.mlp(depth=1)
WORK = Work(n=20_000, held_out=2000, columns=100, sizes=16, orderings=1, itemsize=8)


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("epochs", [None, [1, 5]])
def test_every_path_finds_the_same_curves(tmp_path, monkeypatch, test, epochs):
    folders = []
    monkeypatch.setattr("torch.get_num_threads", os.cpu_count)
    monkeypatch.setattr(
        "tutelage.solve.scale.Checkpoint.of",
        lambda folder, _: folders.append(folder) or Checkpoint(folder),
    )
    problem = task(n=150, m=40, test=test, epochs=epochs)
    dense = tu.curves(problem, KERNEL, **GRID, scale=Scale("dense"))
    for scale in (
        Scale("dask"),
        Scale("dask", memory=1.1e6 if test else 1.0e6),  # so that tiles lie in a temporary folder
        Scale(checkpoint=tmp_path / "c"),
        Scale(checkpoint=tmp_path / "c"),
    ):
        found = tu.curves(problem, KERNEL, **GRID, scale=scale)
        for name in dense:
            np.testing.assert_allclose(
                found[name].values, dense[name].values, rtol=1e-6, atol=1e-8, err_msg=name
            )
        assert found.attrs["task"] == dense.attrs["task"]
    assert [tmp_path / "c" in (folder, folder.parent) for folder in folders] == 2 * [False] + 4 * [
        True
    ]


def test_tiles_that_memory_has_no_room_for_go_to_files_and_are_counted(tmp_path, monkeypatch):
    work = Work(n=20_000, held_out=0, columns=100, sizes=16, orderings=4, itemsize=8)
    cost = Scale(memory=1.2e9).cost(work, KERNEL, (10,), torch.float64, timed=False)
    assert cost.disk == 4 * work.lower
    kept = Scale(checkpoint=tmp_path / "c")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=cost.disk - 5e5))
    with pytest.raises(SettingError) as caught:
        kept.cost(work, KERNEL, (10,), torch.float64)
    assert (
        str(caught.value)
        == f"The tiles of 20,000 samples and 4 orderings need 6.7 GB of files, and {tmp_path} has"
        " 6.7 GB free. Give a folder on a larger disk (--checkpoint DIR), fewer orderings"
        " (--orderings 1), or float32 (--dtype float32)."
    )
    (tmp_path / "c").mkdir()
    np.save(tmp_path / "c" / "0-0.npy", np.ones(100_000))  # of a run that was killed
    assert kept.cost(work, KERNEL, (10,), torch.float64, timed=False).disk == cost.disk


def test_a_convolutional_student_goes_through_tiles_too():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(150, 2, 4, 4)).astype("float32")
    problem = tu.Task(images, images[:, 0, :2, :2].reshape(150, 4)[:, :3], rng.integers(0, 3, 150))
    kernel = tu.kernels.cnn(depth=1)
    dense, tiled = (
        tu.curves(problem, kernel, **GRID, scale=Scale(path)) for path in ("dense", "dask")
    )
    np.testing.assert_allclose(tiled.error.values, dense.error.values, atol=1e-9)


def test_auto_takes_memory_where_it_has_room():
    shape, dtype = (10,), torch.float64
    assert Scale().cost(Work(500, 10, 5, 16, 2, 8), KERNEL, shape, dtype).path == "dense"
    roomy, tight, files = (
        Scale(memory=m).cost(WORK, KERNEL, shape, dtype) for m in (9e9, 3e9, 1.6e9)
    )
    assert (roomy.path, roomy.disk) == ("dense", 0)
    assert (tight.path, tight.disk) == ("dask", 0)
    assert (files.path, files.disk > 1e9) == ("dask", True)
    assert roomy.bytes > tight.bytes > files.bytes
    assert tight.seconds > 0
    assert str(files).startswith("dask path, about ")
    assert str(files).endswith(f"{size(files.bytes)} of memory, {size(files.disk)} of files")
    assert Scale(memory=9e9).cost(WORK, KERNEL, shape, dtype, timed=False).seconds is None


def test_many_classes_count_in_memory_and_time(monkeypatch):
    few, many = (Work(300, 200, 32 * c, 6, 2, 8, c) for c in (10, 1000))
    assert many.dense > 50 * few.dense
    monkeypatch.setattr("tutelage.solve.scale.flops_per_second", lambda _: 1e12)
    monkeypatch.setattr(
        "tutelage.solve.scale.seconds_per_number", lambda classes, _: (1e-7 * classes, 1e-9)
    )
    expected = many.flops / 1e12 + 32_000 * (500 * 1e-4 + 2 * 6 * 200 * 1e-9)
    assert many.seconds(torch.float64) == pytest.approx(expected)
    work = Work(
        n=2000, held_out=100, columns=32 * 50_257, sizes=6, orderings=1, itemsize=8, classes=50_257
    )
    with pytest.raises(SettingError) as caught:
        Scale(memory=20e9).cost(work, KERNEL, (10,), torch.float64)
    assert re.fullmatch(
        r"A pool of 2,000 samples needs \d+\.\d GB on the dask path, and 20\.0 GB of memory may be"
        r" used here\. Give fewer settings "
        r"\(--soft-ratio, --temperature; there are 32\), fewer classes than 50,257 \(those that are"
        r" among the teacher's most probable "
        r"ones for some sample\), float32 \(--dtype float32\), or fewer samples \(about \d+"
        r" fit\)\.",
        str(caught.value),
    )


def test_more_orderings_cost_more():
    one, four = (Work(20_000, 2000, 100, 16, r, 8) for r in (1, 4))
    assert four.flops > 2 * one.flops
    assert one.lower < 0.6 * 20_000**2 * 8


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (
            Scale("dense", memory=1e9),
            (
                "A pool of 20,000 samples needs 3.6 GB on the dense path, and 1.0 GB of memory may"
                " be used here. Give the scale dask (--scale dask), float32 (--dtype float32),"
                " fewer samples (about 9,753 fit), or features in place of the kernel"
                " (--features 4096)."
            ),
        ),
        (
            Scale(memory=1e8),
            "on the dask path, and 0.1 GB of memory may be used here. Give float32",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_advice(scale, message):
    with pytest.raises(SettingError) as caught:
        scale.cost(WORK, KERNEL, (10,), torch.float64)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Scale("large"),
            SettingError,
            "The scale is 'large'; expected one of auto, dense, dask.",
        ),
        (lambda: Scale("dense", scheduler="tcp://x:1"), SettingError, "is for the dask path"),
        (lambda: Scale(memory=-1), SettingError, "expected a positive number"),
        (
            lambda: tu.curves(task(), KERNEL, **GRID, scale=Scale(scheduler="tcp://127.0.0.1:9")),
            SettingError,
            "No Dask scheduler answers at 'tcp://127.0.0.1:9'",
        ),
    ],
)
def test_what_makes_no_scale_is_said(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


def test_a_student_that_does_not_fit_is_said_before_any_work():
    with pytest.raises(StudentError, match="This student takes images"):
        tu.curves(task(), tu.kernels.cnn(), **GRID, scale=Scale("dask"))


def test_a_checkpoint_of_another_task_is_refused(tmp_path):
    tu.curves(task(), KERNEL, **GRID, scale=Scale(checkpoint=tmp_path / "c"))
    with pytest.raises(TaskError, match="is of another run: its task is"):
        tu.curves(task(seed=1), KERNEL, **GRID, scale=Scale(checkpoint=tmp_path / "c"))
    with pytest.raises(TaskError, match="its seed is 3, and 4 was given"):
        tu.curves(task(), KERNEL, **(GRID | {"seed": 4}), scale=Scale(checkpoint=tmp_path / "c"))


def test_a_checkpoint_knows_a_network_by_its_weights(tmp_path):
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        kernel = tu.kernels.empirical(
            torch.nn.Sequential(torch.nn.Linear(5, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        )
        if seed == 0:
            tu.curves(task(), kernel, **GRID, scale=Scale(checkpoint=tmp_path / "c"))
        else:
            with pytest.raises(TaskError, match="is of another run: its kernel is"):
                tu.curves(task(), kernel, **GRID, scale=Scale(checkpoint=tmp_path / "c"))


def command(folder, *options):
    run = [
        "plan",
        folder / "task.npz",
        "--soft-ratio",
        "0.2,1",
        "--temperature",
        "1",
        "--orderings",
        "2",
        "--json",
        "--quiet",
    ]
    code = "import sys; from _tutelage_entry import main; main()"
    return [sys.executable, "-c", code, *map(str, run), *map(str, options)]


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(tmp_path):
    task(n=700, m=50).save(tmp_path / "task.npz")

    def plan(*options):
        done = subprocess.run(
            command(tmp_path, *options), check=True, capture_output=True, text=True
        )
        return untimed(json.loads(done.stdout))

    whole = plan("--checkpoint", tmp_path / "whole")
    tiles = len(list((tmp_path / "whole").rglob("*.npy")))
    for killed in range(3):
        folder = tmp_path / f"killed-{killed}"
        started = subprocess.Popen(
            command(tmp_path, "--checkpoint", folder), stdout=subprocess.DEVNULL
        )
        while (
            len(list(folder.rglob("*.npy"))) < (killed + 1) * tiles // 4 and started.poll() is None
        ):
            time.sleep(0.005)
        os.kill(started.pid, signal.SIGKILL)
        assert started.wait() == -signal.SIGKILL
        there = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
        assert 0 < len(there) < tiles
        assert plan("--checkpoint", folder) == whole
        assert there == {path: path.stat().st_mtime_ns for path in there}  # taken as they were
