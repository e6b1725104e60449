import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from epam_data.system.folder_lock import STALE_SECONDS, FolderLock


def write_lock(folder: Path, age_seconds: float = 0, **changes: object) -> None:
    stat = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "born": stat, "since": "2026-01-02T03:04:05+00:00"}
    path = folder / "lock"
    path.write_text(json.dumps({**holder, **changes}))
    os.utime(path, (path.stat().st_mtime - age_seconds,) * 2)


def test_the_second_is_refused_and_names_the_first(tmp_path: Path):
    with FolderLock(tmp_path):
        message = rf"another build is running here: process {os.getpid()} on {socket.gethostname()}, since 20\d\d-"
        with pytest.raises(ValueError, match=message), FolderLock(tmp_path):
            pass
    with FolderLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_names_are_locks_of_their_own(tmp_path: Path):
    with FolderLock(tmp_path, "lock-1"), FolderLock(tmp_path, "lock-2"):
        pass


def test_a_killed_process_leaves_a_stale_lock(tmp_path: Path):
    script = "import os, signal, sys; from pathlib import Path; from epam_data.system.folder_lock import FolderLock\n"
    script += "FolderLock(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert (tmp_path / "lock").exists()
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_number_that_went_to_another_process_is_stale(tmp_path: Path):
    write_lock(tmp_path, born="1")
    with FolderLock(tmp_path):
        pass


def test_another_host_counts_while_it_touches_its_lock(tmp_path: Path):
    write_lock(tmp_path, host="node17", pid=99)
    threading.Timer(0.3, os.utime, [tmp_path / "lock"]).start()
    with pytest.raises(ValueError, match="another run is running here: process 99 on node17, since 2026-01-02"):
        FolderLock(tmp_path, what="run").__enter__()
    write_lock(tmp_path, host="node17", pid=99, age_seconds=STALE_SECONDS + 1)
    with FolderLock(tmp_path):
        pass


def test_another_host_that_died_a_moment_ago_is_found_out(tmp_path: Path):
    """A job that a cluster starts again on another node must not fail for the lock of the node that died."""
    write_lock(tmp_path, host="node17", pid=99, age_seconds=STALE_SECONDS - 0.5)
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_another_host_that_ends_meanwhile_is_not_in_the_way(tmp_path: Path):
    write_lock(tmp_path, host="node17", pid=99)
    threading.Timer(0.3, (tmp_path / "lock").unlink).start()
    with FolderLock(tmp_path):
        pass


def test_a_lock_that_was_taken_over_is_another_s_to_release(tmp_path: Path):
    mine = FolderLock(tmp_path)
    mine.__enter__()
    write_lock(tmp_path, host="node17", pid=99)  # as if it had seemed stale from there
    mine.__exit__()
    assert json.loads((tmp_path / "lock").read_text())["host"] == "node17"


def test_waiting_for_a_live_holder(tmp_path: Path):
    first = FolderLock(tmp_path)
    first.__enter__()
    threading.Timer(0.5, first.__exit__).start()
    with FolderLock(tmp_path, wait=True):
        assert (tmp_path / "lock").exists()


WHOLE = b'{"host": "node17", "pid": 99, "born": "1", "since": "x"}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        WHOLE.replace(b"node", b"\xff"),
        WHOLE.replace(b"99", b"-1"),
        WHOLE.replace(b"99", b"99999999999999999999"),
        WHOLE.replace(b"99", b"true"),
        WHOLE.replace(b'"node17"', b"17"),
        b"[" * 100_000,
    ],
)
def test_a_lock_that_cannot_be_read_is_stale(tmp_path: Path, content: bytes):
    (tmp_path / "lock").write_bytes(content)
    with FolderLock(tmp_path):
        assert (tmp_path / "lock").read_text() != content
    assert list(tmp_path.iterdir()) == []
