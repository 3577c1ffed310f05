import json

import numpy as np
import pytest

from tutelage.exceptions import OutputError, TaskError
from tutelage.solve import Checkpoint

PRINT = {"task": "abc", "soft_ratio": [0.5], "seed": 0}


def test_arrays_are_kept_whole_under_their_names(tmp_path):
    kept = Checkpoint.of(tmp_path / "c", PRINT).inner("ordering-0")
    assert not kept.has("0-0")
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert kept.has("0-0") is False
    np.testing.assert_array_equal(kept.save("0-0", array), array)
    assert kept.has("0-0")
    assert np.isfortran(kept.load("0-0"))
    assert [p.name for p in (tmp_path / "c" / "ordering-0").iterdir()] == ["0-0.npy"]


def test_the_same_run_may_go_on_and_another_may_not(tmp_path):
    Checkpoint.of(tmp_path / "c", PRINT)
    Checkpoint.of(tmp_path / "c", dict(PRINT))
    with pytest.raises(TaskError) as caught:
        Checkpoint.of(tmp_path / "c", PRINT | {"soft_ratio": [0.7]})
    assert (
        str(caught.value)
        == f"The checkpoint in {tmp_path / 'c'} is of another run: its soft ratio is [0.5], and"
        " [0.7] was given. Give another folder, or the command that it was made by."
    )
    with pytest.raises(TaskError, match="its task is abc, and def was given"):
        Checkpoint.of(tmp_path / "c", PRINT | {"task": "def"})


def test_a_folder_of_something_else_is_not_written_to(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(
        OutputError, match="holds files, but no checkpoint; give a new or empty folder"
    ):
        Checkpoint.of(tmp_path, PRINT)
    (tmp_path / "checkpoint.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read as a checkpoint's label"):
        Checkpoint.of(tmp_path, PRINT)
    (tmp_path / "checkpoint.json").write_text(json.dumps([1]))
    with pytest.raises(TaskError, match="of another run"):
        Checkpoint.of(tmp_path, PRINT)


def test_nothing_half_written_is_taken_for_a_tile(tmp_path):
    kept = Checkpoint.of(tmp_path / "c", PRINT)
    (tmp_path / "c" / ".0-0.npy.abc.partial").write_bytes(b"half")
    assert not kept.has("0-0")
    Checkpoint.of(tmp_path / "c", PRINT)
