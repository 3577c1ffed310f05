import pytest

from tutelage.scale import Cost, free_memory
from tutelage.scale import cost as module


@pytest.mark.parametrize(
    ("limit", "stat", "left"),
    [
        ("max", "anon 5\n", None),
        ("1000000", "anon 400000\nfile 500000\n", 600_000),  # files that were read can be given back
        ("9223372036854771712", "anon 400000\n", None),  # what the first version says for none
    ],
)
def test_a_control_group_leaves_what_it_does_not_hold(tmp_path, monkeypatch, limit, stat, left):
    monkeypatch.setattr(module, "_GROUPS", [])
    whole = free_memory()
    (tmp_path / "limit").write_text(f"{limit}\n")
    (tmp_path / "stat").write_text(stat)
    monkeypatch.setattr(module, "_GROUPS", [(tmp_path / "limit", tmp_path / "stat", "anon")])
    assert free_memory() == (pytest.approx(whole, rel=0.2) if left is None else left)


def test_a_cost_is_one_line():
    assert str(Cost("dask", 400, 6_400_000_000, 0)) == "dask path, about 7 min, 6.4 GB of memory"
    assert (
        str(Cost("dask", 30, 64_000_000, 2_000_000_000)) == "dask path, about 30 s, 64.0 MB of memory, 2.0 GB of files"
    )
    assert str(Cost("stream", None, 64_000_000, 0)) == "stream path, 64.0 MB of memory"
