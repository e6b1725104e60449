"""Files in folders where others can write: links are not followed, and only what is ours alone is used."""

import fcntl
import os
from pathlib import Path

import pytest

from epam_data.system.locked_files import ForeignFileError, open_locked, open_own, own_folder, release, remove

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("mine")
    link.symlink_to(victim)
    with pytest.raises(ForeignFileError, match="is a symbolic link, which is not followed; remove it"):
        open_locked(link, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
    assert not remove(link) and victim.read_text() == "mine"
    (tmp_path / "dangling").symlink_to(tmp_path / "not yet")
    with pytest.raises(ForeignFileError, match="symbolic link"):
        open_own(tmp_path / "dangling", os.O_WRONLY | os.O_CREAT)
    assert not (tmp_path / "not yet").exists()


def test_what_is_no_file_or_open_to_others_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ForeignFileError, match="is not a regular file; remove it"):
        open_own(tmp_path / "pipe", os.O_RDONLY)
    (tmp_path / "open").touch()
    (tmp_path / "open").chmod(0o620)
    with pytest.raises(ForeignFileError, match="may be written by others; remove it"):
        open_own(tmp_path / "open", os.O_RDONLY)


@NEEDS_ROOT
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").touch()
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(ForeignFileError, match="belongs to user 12345, only files of user 0 are used; choose another"):
        open_own(tmp_path / "theirs", os.O_RDONLY)
    assert not remove(tmp_path / "theirs")


def test_a_new_file_is_ours_alone(tmp_path: Path) -> None:
    descriptor = open_locked(tmp_path / "new", os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
    assert descriptor is not None and os.fstat(descriptor).st_mode & 0o777 == 0o600
    assert not remove(tmp_path / "new"), "it is locked"
    release(descriptor)
    assert remove(tmp_path / "new") and remove(tmp_path / "new")


def test_a_new_folder_is_ours_alone_and_one_of_ours_stays(tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "a" / "cache")
    assert folder == tmp_path / "a" / "cache" and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert own_folder(folder) == folder


@pytest.mark.parametrize("mode", [0o1777, 0o2775, 0o777])
def test_in_a_folder_of_all_each_user_has_one(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    folder = own_folder(tmp_path / "cache")
    assert folder == tmp_path / "cache" / f"user-{os.geteuid()}" and folder.stat().st_mode & 0o777 == 0o700
    assert own_folder(tmp_path / "cache") == folder
    folder.chmod(0o770)
    with pytest.raises(PermissionError, match="must be a folder that only user"):
        own_folder(tmp_path / "cache")
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="remove it, or choose another folder"):
        own_folder(tmp_path / "cache")


@NEEDS_ROOT
def test_a_second_user_is_told_why_not(tmp_path: Path) -> None:
    """A folder of mode 0755 that another user made; in one of mode 1777 the second user gets a folder."""
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:  # another user could not come here
            folder.chmod(0o755)
    cache = own_folder(tmp_path / "cache")
    cache.chmod(0o755)
    os.seteuid(12345)
    try:
        with pytest.raises(PermissionError, match="is a folder of user 0 in which user 12345 may not write; choose"):
            own_folder(cache)
    finally:
        os.seteuid(0)
    cache.chmod(0o1777)
    os.seteuid(12345)
    try:
        assert own_folder(cache) == cache / "user-12345"
    finally:
        os.seteuid(0)


@NEEDS_ROOT
def test_a_link_that_another_user_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "home")
    assert own_folder(tmp_path / "cache") == tmp_path / "cache"
    os.chown(tmp_path / "cache", 12345, 12345, follow_symlinks=False)
    with pytest.raises(PermissionError, match="is a symbolic link made by user 12345; choose another folder"):
        own_folder(tmp_path / "cache")
