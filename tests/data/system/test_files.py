"""Files appear whole."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from epam_data.system.files import atomic_write, atomic_write_bytes


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    atomic_write_bytes(path, b"one")
    atomic_write_bytes(path, b"two")
    assert path.read_bytes() == b"two" and list(tmp_path.iterdir()) == [path]

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write_bytes(path, b"three")
    assert path.read_bytes() == b"two"


@pytest.mark.parametrize("hidden", [False, True])
def test_a_full_disk_is_said_with_the_file_and_the_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    """`torch.save` raises a RuntimeError while the OSError of the file is handled."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1500))
    path = tmp_path / "last.pt"
    with pytest.raises(OSError) as caught, atomic_write(path):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            if hidden:
                raise RuntimeError("unexpected pos") from None
            raise
    assert str(caught.value) == f"[Errno 28] No space left on device, 1.5 kB are free: '{path}'"
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_the_writer_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no tensor"), atomic_write(tmp_path / "last.pt"):
        raise RuntimeError("no tensor")
