import pytest
import torch

from tutelage.solve import Cost, free_memory
from tutelage.solve import cost as module


@pytest.mark.parametrize(
    ("limit", "left"), [("max", None), ("1000000", 600_000), ("9223372036854771712", None)]
)
@pytest.mark.parametrize(
    ("line", "folder", "name", "held"),
    [
        ("0::/slurm/job", "slurm/job", "memory.max", "anon"),
        ("0::/slurm/job", "slurm", "memory.max", "anon"),  # of a group around its own
        ("0::/of/the/host", "", "memory.max", "anon"),  # seen from within a container
        ("4:memory:/docker", "memory/docker", "memory.limit_in_bytes", "total_rss"),
    ],
)
def test_a_control_group_leaves_what_it_does_not_hold(
    tmp_path, monkeypatch, limit, left, line, folder, name, held
):
    monkeypatch.setattr(module, "_OWN_GROUPS", tmp_path / "none")
    whole = free_memory()
    group = tmp_path / folder
    group.mkdir(parents=True, exist_ok=True)
    (group / name).write_text(f"{limit}\n")
    (group / "memory.stat").write_text(f"{held} 400000\nfile 500000\n")  # files can be given back
    (tmp_path / "cgroup").write_text(f"3:cpu:/other\n{line}\n")
    monkeypatch.setattr(module, "_GROUPS", tmp_path)
    monkeypatch.setattr(module, "_OWN_GROUPS", tmp_path / "cgroup")
    assert free_memory() == (pytest.approx(whole, rel=0.2) if left is None else left)


def test_a_number_of_a_column_takes_some_time():
    assert all(0 < seconds < 1e-3 for seconds in module.seconds_per_number(7, torch.float64))


def test_a_cost_is_one_line():
    assert str(Cost("dask", 400, 6_400_000_000, 0)) == "dask path, about 7 min, 6.4 GB of memory"
    assert (
        str(Cost("dask", 30, 64_000_000, 2_000_000_000))
        == "dask path, about 30 s, 64.0 MB of memory, 2.0 GB of files"
    )
    assert str(Cost("stream", None, 64_000_000, 0)) == "stream path, 64.0 MB of memory"
