"""The cache of remote shards: each fetched once, never too many, never torn, whoever dies."""

import errno
import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from epam_data.shards.manifest import ShardEntry
from epam_data.stream.loading import cache as cache_module
from epam_data.stream.loading import refusals
from epam_data.stream.loading.cache import ShardCache
from epam_data.system import remote as remote_module
from epam_data.system.remote import RemoteFolder
from tests.paths import ROOT

NUM_SHARDS, NUM_BYTES = 5, 1000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(NUM_SHARDS):
        (folder / f"train-{number:06d}.tar").write_bytes(random.Random(number).randbytes(NUM_BYTES))
    return folder


@pytest.fixture
def entries(source: Path) -> list[ShardEntry]:
    return [entry_of(path) for path in sorted(source.iterdir())]


def entry_of(path: Path) -> ShardEntry:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return ShardEntry(name=path.stem, split="train", num_samples=1, num_bytes=NUM_BYTES, sha256=sha256)


def make_cache(source: Path, room: int = NUM_SHARDS) -> ShardCache:
    return ShardCache(RemoteFolder(f"file://{source}", attempts=3), source.parent / "cache", room * NUM_BYTES)


def content(cache: ShardCache, entry: ShardEntry) -> bytes:
    with cache.open(entry) as descriptor:
        return os.pread(descriptor, NUM_BYTES + 1, 0)


def held(cache: ShardCache) -> list[str]:
    """What lies in the cache's folder, but for its lock and its notes."""
    return sorted(path.name for path in cache.folder.iterdir() if path.name != ".lock" and path.suffix != ".hashed")


def test_a_shard_is_fetched_once_and_is_what_the_source_holds(
    source: Path, entries: list[ShardEntry], fetched: list[str]
):
    for _ in range(2):
        for entry in entries:
            assert content(make_cache(source), entry) == (source / f"{entry.name}.tar").read_bytes()
    assert fetched == [f"{entry.name}.tar" for entry in entries]
    assert held(make_cache(source)) == [f"{entry.name}-{entry.sha256[:16]}.cached" for entry in entries]


def test_large_shards_come_in_blocks(source: Path, entries: list[ShardEntry], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache_module, "_BLOCK_BYTES", 90)  # twelve blocks, four at a time, the last one shorter
    assert content(make_cache(source), entries[0]) == (source / f"{entries[0].name}.tar").read_bytes()


def test_the_shard_that_was_not_used_for_longest_makes_room(
    source: Path, entries: list[ShardEntry], fetched: list[str]
):
    cache = make_cache(source, room=3)
    for number in (0, 1, 2, 0, 3, 0, 4):  # 0 stays in use; 3 takes the place of 1, 4 that of 2
        content(cache, entries[number])
        assert sum(path.stat().st_size for path in cache.folder.glob("*.cached")) <= cache.max_bytes
    assert [int(name[6:12]) for name in fetched] == [0, 1, 2, 3, 4]
    assert [int(name[6:12]) for name in held(cache)] == [0, 3, 4]


def test_a_shard_that_is_read_stays(source: Path, entries: list[ShardEntry]):
    """The oldest is in use, so the next older goes; with no other, the fetch waits until the reader is done."""
    cache = make_cache(source, room=2)
    with cache.open(entries[0]):
        content(cache, entries[1])
        content(cache, entries[2])
        assert [int(name[6:12]) for name in held(cache)] == [0, 2]
    small = make_cache(source, room=1)
    waiting = threading.Thread(target=content, args=(small, entries[3]))
    with small.open(entries[4]) as descriptor:
        waiting.start()
        waiting.join(3 * cache_module._WAIT_SECONDS)
        assert waiting.is_alive() and os.pread(descriptor, 1, 0)
    waiting.join(30)
    assert [int(name[6:12]) for name in held(small)] == [3]


def test_nothing_else_in_the_folder_is_touched(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source, room=1)
    others = [cache.folder / name for name in ("mine.tar", "train-000000.tar", ".notes.partial")]
    for path in others:
        path.write_bytes(b"x" * NUM_BYTES)
        os.utime(path, (0, 0))
    for entry in entries:
        content(cache, entry)
    assert all(path.exists() for path in others)


def test_what_a_killed_process_left_is_removed(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source, room=2)
    path = cache.path(entries[0])
    path.with_name(f".{path.name}.partial").write_bytes(b"x" * NUM_BYTES)
    content(cache, entries[1])
    content(cache, entries[2])  # needs the room
    assert [int(name[6:12]) for name in held(cache)] == [1, 2]


def test_a_half_fetched_shard_is_fetched_again(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source)
    path = cache.path(entries[0])
    path.with_name(f".{path.name}.partial").write_bytes(b"x" * 2 * NUM_BYTES)
    assert content(cache, entries[0]) == (source / "train-000000.tar").read_bytes()
    assert held(cache) == [path.name]


def test_a_truncated_shard_is_fetched_again(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source)
    content(cache, entries[0])
    os.truncate(cache.path(entries[0]), 10)
    assert content(cache, entries[0]) == (source / "train-000000.tar").read_bytes()


def test_a_shard_of_another_build_is_refused(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source)
    (source / "train-000000.tar").write_bytes(bytes(NUM_BYTES))
    with pytest.raises(ValueError, match=r"/train-000000\.tar: its SHA-256 is 541b3e9d.*, the manifest says "):
        content(cache, entries[0])
    (source / "train-000001.tar").write_bytes(bytes(7))
    with pytest.raises(ValueError, match=r"/train-000001\.tar: has 7 bytes, the manifest says 1000$"):
        content(cache, entries[1])
    (source / "train-000002.tar").unlink()
    with pytest.raises(ValueError, match=r"/train-000002\.tar: the manifest lists this shard, but there is no such"):
        content(cache, entries[2])
    assert held(cache) == [f"{entries[0].name}-{entries[0].sha256[:16]}.refused"]  # no shard, and none half fetched


def test_a_cache_that_holds_no_shard_is_refused(source: Path, entries: list[ShardEntry]):
    cache = ShardCache(RemoteFolder(f"file://{source}", attempts=1), source.parent / "cache", NUM_BYTES - 1)
    with pytest.raises(ValueError, match=r"^stream\.cache_bytes must hold train-000000\.tar of .*, got 999$"):
        content(cache, entries[0])


def test_torn_answers_are_asked_for_again(source: Path, entries: list[ShardEntry], monkeypatch: pytest.MonkeyPatch):
    cache = make_cache(source)
    monkeypatch.setattr(remote_module, "_FIRST_WAIT_SECONDS", 0.0)
    whole, answers = type(cache.remote.fs).cat_ranges, iter([ConnectionResetError("reset"), "torn", "whole"])

    def flaky(self: Any, *arguments: Any, **options: Any) -> list[bytes]:
        answer, parts = next(answers), whole(self, *arguments, **options)
        if isinstance(answer, Exception):
            raise answer
        return [part[:-1] for part in parts] if answer == "torn" else parts

    monkeypatch.setattr(type(cache.remote.fs), "cat_ranges", flaky)
    assert content(cache, entries[0]) == (source / "train-000000.tar").read_bytes()
    assert next(answers, None) is None


def test_one_that_fails_leaves_the_work_to_the_next(source: Path, entries: list[ShardEntry], fetched: list[str]):
    cache = make_cache(source)
    hidden = (source / "train-000000.tar").rename(source / "hidden")
    with pytest.raises(ValueError, match="no such object"):
        content(cache, entries[0])
    hidden.rename(source / "train-000000.tar")
    assert len(content(cache, entries[0])) == NUM_BYTES and len(fetched) == 1


def test_an_absent_folder_is_named(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source)
    cache.folder.rmdir()
    with pytest.raises(FileNotFoundError, match=str(cache.folder)):
        content(cache, entries[0])


def test_fetching_ahead_does_not_wait(source: Path, entries: list[ShardEntry], fetched: list[str]):
    cache = make_cache(source)
    path = cache.path(entries[0])
    with path.with_name(f".{path.name}.partial").open("wb") as somebody:
        fcntl.flock(somebody, fcntl.LOCK_EX)
        assert cache.fetch(entries[0], keep=[])
    assert cache.fetch(entries[1], keep=[]) and cache.fetch(entries[1], keep=[])
    assert fetched == ["train-000001.tar"] and content(cache, entries[1]) and len(fetched) == 1


def test_fetching_ahead_keeps_what_is_wanted(source: Path, entries: list[ShardEntry], fetched: list[str]):
    cache = make_cache(source, room=2)
    assert cache.fetch(entries[0], keep=entries[:3]) and cache.fetch(entries[1], keep=entries[:3])
    assert not cache.fetch(entries[2], keep=entries[:3])
    assert [int(name[6:12]) for name in held(cache)] == [0, 1]
    assert cache.fetch(entries[2], keep=entries[1:3])
    assert [int(name[6:12]) for name in held(cache)] == [1, 2] and len(fetched) == 3


def test_shards_that_are_wanted_next_count_as_used(source: Path, entries: list[ShardEntry]):
    """What was fetched ahead and not yet read is older than the window that is over."""
    cache = make_cache(source, room=3)
    for number in (1, 2, 0):
        content(cache, entries[number])
    cache.touch([entries[1], entries[2], entries[3]])
    content(cache, entries[4])
    assert [int(name[6:12]) for name in held(cache)] == [1, 2, 4]


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_smaller_than_the_cache(
    source: Path, entries: list[ShardEntry], monkeypatch: pytest.MonkeyPatch, full: int
):
    """Whoever needs a shard takes the place of another; whoever fetches ahead leaves it."""
    cache = make_cache(source)
    monkeypatch.setattr(cache_module, "_allocate", small_disk(cache, 2, full))
    assert cache.fetch(entries[0], keep=[]) and cache.fetch(entries[1], keep=[])
    assert not cache.fetch(entries[2], keep=[])
    assert content(cache, entries[2]) and [int(name[6:12]) for name in held(cache)] == [1, 2]
    monkeypatch.setattr(cache_module, "_allocate", small_disk(cache, 0, full))
    with pytest.raises(OSError, match=rf"no room for train-000003\.tar: '{cache.folder}'$"):
        content(cache, entries[3])
    assert held(cache) == []


def small_disk(cache: ShardCache, room: int, error: int) -> Callable[[int, int], None]:
    def allocate(descriptor: int, num_bytes: int) -> None:
        if len(list(cache.folder.glob("*.cached"))) >= room:
            raise OSError(error, os.strerror(error))
        os.ftruncate(descriptor, num_bytes)

    return allocate


def test_a_refused_shard_is_not_fetched_again_for_a_while(
    source: Path, entries: list[ShardEntry], fetched: list[str], monkeypatch: pytest.MonkeyPatch
):
    (source / "train-000000.tar").write_bytes(bytes(NUM_BYTES))
    for _ in range(3):  # as three processes
        with pytest.raises(ValueError, match=r"/train-000000\.tar: its SHA-256 is "):
            content(make_cache(source), entries[0])
    assert len(fetched) == 2
    monkeypatch.setattr(refusals, "_SECONDS", 0.0)
    (source / "train-000000.tar").write_bytes(random.Random(0).randbytes(NUM_BYTES))
    assert content(make_cache(source), entries[0]) == random.Random(0).randbytes(NUM_BYTES)


def test_a_copy_that_went_bad_is_removed(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source)
    content(cache, entries[0]), content(cache, entries[1])
    with cache.path(entries[0]).open("r+b") as file:
        file.write(b"rot")
    for entry in entries[:3]:
        cache.remove_damaged(entry)
    assert [int(name[6:12]) for name in held(cache)] == [1]


def test_a_disk_that_writes_in_pieces(source: Path, entries: list[ShardEntry], monkeypatch: pytest.MonkeyPatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: write(descriptor, data[:300], offset))
    assert content(make_cache(source), entries[0]) == (source / "train-000000.tar").read_bytes()


def test_a_lock_ends_with_the_block_also_where_a_child_has_it(source: Path, entries: list[ShardEntry]):
    """A process that is forked while a shard is read keeps the descriptor for its whole life."""
    cache = make_cache(source, room=1)
    with cache.open(entries[0]) as descriptor:
        copy = os.dup(descriptor)  # what a fork does
    assert content(cache, entries[1])
    os.close(copy)


READ_ALL = """
import sys
from pathlib import Path
from tests.data.stream.loading.test_cache import read_at_random
read_at_random(Path(sys.argv[1]), seed=int(sys.argv[2]))
"""


def read_at_random(source: Path, seed: int) -> None:
    rng, cache = random.Random(seed), make_cache(source, room=2)
    for count in range(150):
        if count == 20:
            print("under way", flush=True)
        path = rng.choice(sorted(source.iterdir()))
        data = path.read_bytes()
        assert content(cache, entry_of(path)) == data, path


def test_processes_that_share_a_small_cache(source: Path):
    """Four processes, room for two shards, one process killed: the others read what is right, and nothing is left."""
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READ_ALL, str(source), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for seed in range(4)
    ]
    assert readers[0].stdout is not None and readers[0].stdout.readline() == "under way\n"
    readers[0].send_signal(signal.SIGKILL)
    for reader in readers[1:]:
        assert reader.communicate(timeout=120)[1] == "" and reader.returncode == 0
    assert readers[0].wait(60) == -signal.SIGKILL
    cache = make_cache(source, room=2)
    content(cache, entry_of(source / "train-000000.tar"))
    assert sum(path.stat().st_size for path in cache.folder.glob("*.cached*")) <= cache.max_bytes


def test_a_planted_shard_is_fetched_again(source: Path, entries: list[ShardEntry], fetched: list[str]):
    """Of the right length; its checksums may fit, too, since whoever plants it can write them."""
    path = make_cache(source).path(entries[0])
    path.write_bytes(bytes(NUM_BYTES))
    path.chmod(0o600)
    for _ in range(2):
        assert content(make_cache(source), entries[0]) == (source / "train-000000.tar").read_bytes()
    assert fetched == ["train-000000.tar"]


@pytest.mark.parametrize("name", ["{}", ".{}.partial"])
def test_a_planted_link_is_not_followed(source: Path, entries: list[ShardEntry], name: str):
    cache, victim = make_cache(source), source.parent / "thesis.tex"
    victim.write_bytes(b"y" * NUM_BYTES)
    path = cache.path(entries[0])
    path.with_name(name.format(path.name)).symlink_to(victim)
    with pytest.raises(PermissionError, match="is a symbolic link, which is not followed; remove it"):
        content(cache, entries[0])
    assert victim.read_bytes() == b"y" * NUM_BYTES


def test_the_note_of_a_refused_shard_replaces_a_planted_link(source: Path, entries: list[ShardEntry]):
    cache, victim = make_cache(source), source.parent / "thesis.tex"
    victim.write_text("mine")
    (source / "train-000000.tar").write_bytes(bytes(NUM_BYTES))
    cache.path(entries[0]).with_suffix(".refused").symlink_to(victim)
    with pytest.raises(ValueError, match="its SHA-256 is"):
        content(cache, entries[0])
    assert victim.read_text() == "mine"


def test_all_files_are_of_this_user_alone(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source)
    content(cache, entries[0])
    assert {path.stat().st_mode & 0o777 for path in cache.folder.iterdir()} == {0o600}
    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_notes_go_with_their_shard(source: Path, entries: list[ShardEntry]):
    cache = make_cache(source, room=1)
    for entry in entries:
        content(cache, entry)
    assert len(list(cache.folder.glob("*.hashed"))) == 1
