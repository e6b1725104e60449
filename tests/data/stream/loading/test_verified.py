"""A cached shard is hashed once in a run, whichever of its processes comes first; nobody else can say that it was."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest

from epam_data.shards.manifest import ShardEntry
from epam_data.stream.loading import verified
from epam_data.stream.loading.verified import VerifiedShards

DATA = b"x" * 3_000_000
ENTRY = ShardEntry(
    name="train-0", split="train", num_samples=1, num_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest()
)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls, whole = [], verified.file_hash
    monkeypatch.setattr(verified, "file_hash", lambda descriptor: calls.append(descriptor) or whole(descriptor))
    return calls


def check(run: VerifiedShards, path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return run.check(path, descriptor, ENTRY)
    finally:
        os.close(descriptor)


def test_the_processes_of_a_run_hash_once_and_another_run_again(tmp_path: Path, hashed: list[int]) -> None:
    path = tmp_path / "train-0.cached"
    path.write_bytes(DATA)
    run = VerifiedShards()
    workers = [pickle.loads(pickle.dumps(run)) for _ in range(3)]
    assert all(check(each, path) for each in (*workers, *workers, run)) and len(hashed) == 1
    assert check(VerifiedShards(), path) and len(hashed) == 2
    assert check(pickle.loads(pickle.dumps(run)), path) and len(hashed) == 2, "both runs' notes are kept"


def test_another_content_is_refused_each_time(tmp_path: Path, hashed: list[int]) -> None:
    path, run = tmp_path / "train-0.cached", VerifiedShards()
    path.write_bytes(DATA[:-1] + b"y")
    assert not check(run, path) and not check(run, path) and len(hashed) == 2


def test_another_file_of_the_name_is_hashed_again(tmp_path: Path, hashed: list[int]) -> None:
    path, run = tmp_path / "train-0.cached", VerifiedShards()
    path.write_bytes(DATA)
    assert check(run, path)
    (tmp_path / "new").write_bytes(DATA[:-1] + b"y")
    (tmp_path / "new").replace(path)
    assert not check(run, path) and len(hashed) == 2


def test_a_note_of_somebody_else_counts_for_nothing(tmp_path: Path, hashed: list[int]) -> None:
    path = tmp_path / "train-0.cached"
    path.write_bytes(DATA)
    (tmp_path / "train-0.hashed").write_bytes(bytes(32) * 1000)
    assert check(VerifiedShards(), path) and len(hashed) == 1
    for _ in range(100):
        assert check(VerifiedShards(), path)
    assert (tmp_path / "train-0.hashed").stat().st_size < 100_000


def test_what_was_hashed_while_it_was_fetched_is_not_hashed_again(tmp_path: Path, hashed: list[int]) -> None:
    path, run = tmp_path / "train-0.cached", VerifiedShards()
    path.write_bytes(DATA)
    with path.open("rb") as file:
        run.add(path, file.fileno(), ENTRY)
    assert check(run, path) and check(pickle.loads(pickle.dumps(run)), path) and not hashed


def test_notes_are_not_needed(tmp_path: Path, hashed: list[int]) -> None:
    """A full disk, or a link in their place, costs another hash."""
    path, victim, run = tmp_path / "train-0.cached", tmp_path / "victim", VerifiedShards()
    path.write_bytes(DATA)
    victim.write_text("mine")
    (tmp_path / "train-0.hashed").symlink_to(victim)
    assert check(run, path) and check(run, path) and len(hashed) == 1
    assert check(pickle.loads(pickle.dumps(VerifiedShards())), path) and len(hashed) == 2
    assert victim.read_text() == "mine"
