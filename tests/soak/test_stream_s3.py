"""Streams from S3 while the server fails: the folder's very batches, each shard fetched once, nothing torn."""

import errno
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from epam_data.shards.manifest import load_manifest
from epam_data.stream import Batch, Stream, StreamSettings
from tests.data.people import write_people

pytest.importorskip("moto")
s3fs = pytest.importorskip("s3fs")
faulty_s3 = pytest.importorskip("tests.soak.faulty_s3")
pytestmark = pytest.mark.soak

URL = f"s3://{faulty_s3.BUCKET}/people"
BATCH, EPOCHS, WINDOW = 8, 2, 3


def digest(batch: Batch) -> str:
    """Of everything that a batch holds."""
    tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    return hashlib.sha256(repr(batch.keys).encode() + b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()


def read_epochs(root: str, rank: int, world: int, workers: int, cache_dir: str, cache_bytes: int) -> None:
    """One rank: print the digest of each of its batches, line by line. The program of a process of these tests."""
    settings = StreamSettings(
        batch_size=BATCH,
        rgb_frames=2,
        pose_frames=6,
        window_shards=WINDOW,
        workers=workers,
        cache_dir=cache_dir,
        cache_bytes=cache_bytes,
    )
    s3fs.S3FileSystem.retries = 1  # ours are to be tested
    stream = Stream(root, split="train", settings=settings, training=True, seed=7, rank=rank, world=world)
    for epoch in range(EPOCHS):
        for batch in stream.epoch(epoch):
            print(digest(batch), flush=True)


def start(
    root: str | Path,
    environment: dict[str, str],
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    cache_dir: Path | str = "",
    cache_bytes: int = 1 << 30,
) -> subprocess.Popen[str]:
    arguments = (str(root), rank, world, workers, str(cache_dir), cache_bytes)
    return subprocess.Popen(
        [sys.executable, "-c", f"from tests.soak.test_stream_s3 import read_epochs\nread_epochs(*{arguments!r})"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return out.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def sizes(folder: Path) -> list[int]:
    """Bytes of the training shards, largest first."""
    return sorted((e.num_bytes for e in load_manifest(folder).shards if e.split == "train"), reverse=True)


@pytest.fixture(scope="module")
def expected(folder: Path) -> Callable[[int], list[list[str]]]:
    """What each of some ranks reads from the folder."""
    return lambda world: [finish(start(folder, dict(os.environ), rank=rank, world=world)) for rank in range(world)]


@pytest.fixture
def server(folder: Path, seed: int) -> Iterator[Any]:
    with faulty_s3.FaultyS3(seed) as running:
        fs = s3fs.S3FileSystem(
            key="test", secret="test", endpoint_url=running.endpoint, use_listings_cache=False, skip_instance_cache=True
        )
        fs.mkdir(faulty_s3.BUCKET)
        for path in folder.iterdir():
            fs.put_file(str(path), f"{URL}/{path.name}")
        running.fs = fs
        yield running
        running.fault_rate = 0.0
        fs.rm(faulty_s3.BUCKET, recursive=True)


def shards_read(server: Any) -> Counter[str]:
    """How often each shard was fetched."""
    return Counter(name.rpartition("/")[2] for name, _ in server.read if name.endswith(".tar"))


@pytest.mark.parametrize("cached", [True, False])
def test_a_server_that_fails_costs_nothing(
    server: Any, expected: Callable[[int], list[list[str]]], sizes: list[int], tmp_path: Path, cached: bool
):
    """Two ranks of two workers. With a cache they fetch each shard once, together."""
    server.fault_rate, server.sure_faults = 0.2, 3
    cache = tmp_path / "cache" if cached else ""
    ranks = [start(URL, server.environment, rank=rank, world=2, workers=2, cache_dir=cache) for rank in range(2)]
    found = [finish(rank) for rank in ranks]
    print(f"{server.faults} faults")
    assert server.faults >= 3 and found == expected(2)
    if cached:
        counts = shards_read(server)
        assert len(counts) == len(sizes) and set(counts.values()) == {1}


def test_a_small_cache_is_shared_and_never_full(
    server: Any, expected: Callable[[int], list[list[str]]], sizes: list[int], tmp_path: Path
):
    server.fault_rate = 0.05
    cache, room = tmp_path / "cache", sum(sizes[:WINDOW]) + sizes[0]
    ranks = [
        start(URL, server.environment, rank=rank, world=2, workers=1, cache_dir=cache, cache_bytes=room)
        for rank in range(2)
    ]
    most = 0
    while any(rank.poll() is None for rank in ranks):
        most = max(most, used(cache))
        time.sleep(0.005)
    assert [finish(rank) for rank in ranks] == expected(2)
    assert sizes[0] < most <= room < sum(sizes)


def used(cache: Path) -> int:
    """Bytes that the files of a cache take; both names of one that is renamed meanwhile count once."""
    found: dict[int, int] = {}
    for path in cache.iterdir() if cache.is_dir() else ():
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found[stat.st_ino] = stat.st_size
    return sum(found.values())


def test_killed_again_and_again(
    server: Any, expected: Callable[[int], list[list[str]]], sizes: list[int], tmp_path: Path, full: bool
):
    """What a killed process leaves behind neither blocks the next one nor is ever read as a shard."""
    server.fault_rate, rng, cache = 0.05, random.Random(server.seed), tmp_path / "cache"
    room = sum(sizes[:WINDOW]) + sizes[0]
    for _ in range(12 if full else 3):
        process = start(URL, server.environment, workers=1, cache_dir=cache, cache_bytes=room)
        time.sleep(rng.uniform(1.5, 4))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert [finish(start(URL, server.environment, cache_dir=cache, cache_bytes=room))] == expected(1)
    assert used(cache) <= room


def test_a_disk_that_is_full(
    server: Any, expected: Callable[[int], list[list[str]]], sizes: list[int], mount: Callable[..., Path]
):
    """With room for a few shards the cache makes do with them; with room for none it is an error that says so."""
    disk = mount(f"size={(sum(sizes[:WINDOW]) + 2 * sizes[0]) >> 10}k")
    assert [finish(start(URL, server.environment, workers=1, cache_dir=disk / "cache"))] == expected(1)
    mount(f"size={16 + (shutil.disk_usage(disk).used >> 10)}k")
    for path in (disk / "cache").iterdir():
        path.rename(path.with_suffix(".mine"))  # the cache cannot make room of what is not its own
    process = start(URL, server.environment, workers=1, cache_dir=disk / "cache")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(rf"\[Errno {errno.ENOSPC}\] no room for train-\d+\.tar: '{disk}/cache'$", error, re.MULTILINE)


def test_a_replaced_shard_is_refused(server: Any, folder: Path, tmp_path: Path):
    """The object is as long, but another: its hash tells."""
    entry = load_manifest(folder).shards[0]
    data = bytearray((folder / f"{entry.name}.tar").read_bytes())
    data[len(data) // 2] ^= 1
    server.fs.pipe_file(f"{URL}/{entry.name}.tar", bytes(data))
    process = start(URL, server.environment, workers=1, cache_dir=tmp_path / "cache")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(rf"DamageError: {entry.name}\.tar: \S+: {URL}/{entry.name}\.tar: its SHA-256 is ", error)
