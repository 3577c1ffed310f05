import errno
import subprocess
import sys

import pytest

from tutelage.exceptions import OutputError
from tutelage.outputs import check_writable, written


def test_nothing_stands_under_the_final_name_until_all_is_written(tmp_path):
    path = tmp_path / "new" / "plan.json"
    with written(path) as partial:
        partial.write_text("done")
        assert not path.exists()
    assert path.read_text() == "done"
    assert [p.name for p in path.parent.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path, interruption):
    path = tmp_path / "plan.json"
    path.write_text("old")

    def write_and_fail():
        with written(path) as partial:
            partial.write_text("half")
            raise interruption

    with pytest.raises(interruption):
        write_and_fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "the disk is full. Free some space"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_system_refuses_is_said_in_a_sentence(tmp_path, code, message):
    with pytest.raises(OutputError) as caught, written(tmp_path / "plan.json"):
        raise OSError(code, "Input/output error")
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_checked_without_being_made(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder should"):
        check_writable(tmp_path / "file")
    with pytest.raises(OutputError, match="a file stands where a folder should"):
        check_writable(tmp_path / "file" / "below")


def test_a_folder_in_the_place_of_a_file_is_said(tmp_path):
    (tmp_path / "plan.json").mkdir()
    with (
        pytest.raises(OutputError, match="a folder of that name stands there"),
        written(tmp_path / "plan.json"),
    ):
        pass


def test_what_a_killed_run_has_left_is_removed_and_what_another_writes_is_not(tmp_path):
    path = tmp_path / "plan.json"
    (tmp_path / ".plan.json.killed.partial").write_text("half")
    (tmp_path / ".curves.nc.other.partial").write_text("half")
    hold = "; ".join(
        [
            "import fcntl, sys",
            "f = open(sys.argv[1], 'r+b')",
            "fcntl.lockf(f, fcntl.LOCK_EX)",
            "print('held', flush=True)",
            "sys.stdin.read()",
        ]
    )
    (tmp_path / ".plan.json.running.partial").write_text("half")
    other = subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path / ".plan.json.running.partial"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout.readline().strip() == b"held"
    with written(path) as first, written(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"plan.json", ".curves.nc.other.partial", ".plan.json.running.partial"}
    other.communicate(b"")
