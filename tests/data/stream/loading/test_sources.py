"""Shards by URL give the very batches of the folder, through a cache or by ranges of bytes."""

import pickle
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.stream import Stream
from epam_data.stream.loading.sources import FolderShards, Span, open_shards
from epam_data.system import remote as remote_module
from tests.data.stream.test_stream import SETTINGS, assert_same_batches, error_of, global_batches, make_stream


@pytest.fixture
def copied(ntu60_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))


@pytest.fixture(params=["cached", "ranged"])
def changes(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return {"cache_dir": str(tmp_path / "cache")} if request.param == "cached" else {}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_url_gives_the_batches_of_the_folder(ntu60_shards: Path, changes: dict[str, Any], workers: int):
    for split, training in (("train", True), ("val", False)):
        expected = global_batches(ntu60_shards, 1, split=split, training=training)
        found = global_batches(f"file://{ntu60_shards}", 2, split=split, training=training, workers=workers, **changes)
        assert_same_batches(list(found), list(expected))


def test_the_shards_of_a_split_are_fetched_once_and_ahead(ntu60_shards: Path, tmp_path: Path, fetched: list[str]):
    entries = [entry for entry in load_manifest(ntu60_shards).shards if entry.split == "train"]
    assert len(entries) > SETTINGS.window_shards
    stream = make_stream(f"file://{ntu60_shards}", cache_dir=str(tmp_path / "cache"))
    next(stream.epoch(0))
    give_up = time.monotonic() + 60
    while len(fetched) < len(entries) and time.monotonic() < give_up:  # the thread needs a moment
        time.sleep(0.02)
    assert sorted(fetched) == sorted(f"{entry.name}.tar" for entry in entries)
    list(stream.epoch(0)), list(stream.epoch(1))
    assert len(fetched) == len(entries)


def test_a_window_is_all_that_a_small_cache_holds(ntu60_shards: Path, tmp_path: Path):
    sizes = sorted((e.num_bytes for e in load_manifest(ntu60_shards).shards if e.split == "train"), reverse=True)
    window, cache = sum(sizes[: SETTINGS.window_shards]), tmp_path / "cache"
    root = f"file://{ntu60_shards}"
    found = list(global_batches(root, 1, cache_dir=str(cache), cache_bytes=window))
    assert_same_batches(found, list(global_batches(ntu60_shards, 1)))
    assert sum(path.stat().st_size for path in cache.iterdir()) <= window < sum(sizes)
    message = (
        f"stream.cache_bytes must hold the 2 shards that are read together, {window} bytes, got {window - 1}; "
        "reduce stream.window_shards, or stream without stream.cache_dir"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_stream(root, cache_dir=str(cache), cache_bytes=window - 1)
    with pytest.raises(ValueError, match=r"must hold the 3 shards that are read together"):  # of 4: loaders read ahead
        make_stream(root, training=False, cache_dir=str(cache), cache_bytes=window)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_absent_shard_names_shard_and_key(copied: Path, changes: dict[str, Any], workers: int):
    index, manifest = load_index(copied), load_manifest(copied)
    shard = int(index.shard[9])
    name = manifest.shards[shard].name
    (copied / f"{name}.tar").unlink()
    error = error_of(make_stream(f"file://{copied}", batch_size=1, workers=workers, **changes))
    found = re.match(rf"{name}\.tar: (\S+): file://.*/{name}\.tar: the manifest lists this shard, but there is", error)
    assert found and found[1].encode() in index.keys[index.shard == shard]


def test_a_cut_shard_is_named(copied: Path, changes: dict[str, Any]):
    entry = load_manifest(copied).shards[0]
    path = copied / f"{entry.name}.tar"
    path.write_bytes(path.read_bytes()[:-512])
    error = error_of(make_stream(f"file://{copied}", **changes))
    assert f"{entry.name}.tar: has {entry.num_bytes - 512} bytes, the manifest says {entry.num_bytes}" in error


@pytest.mark.parametrize("url", ["", "file://"])
def test_the_index_of_another_build_is_refused(copied: Path, url: str):
    manifest = load_manifest(copied)
    (copied / "manifest.json").write_bytes(replace(manifest, index_sha256="0" * 64).to_json())
    message = f"{copied}/index.h5: does not match manifest.json: it is damaged or from another build"
    with pytest.raises(ValueError, match=re.escape(message)):
        make_stream(f"{url}{copied}" if url else copied)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_disk_error_of_a_worker_is_the_streams(ntu60_shards: Path, tmp_path: Path, workers: int):
    """What the machine is to blame for is an OSError, also when it happens in another process."""
    cache = tmp_path / "cache"
    stream = make_stream(f"file://{ntu60_shards}", cache_dir=str(cache), workers=workers)
    cache.rmdir()
    with pytest.raises(FileNotFoundError, match=str(cache)):
        next(stream.epoch(0))


def test_a_store_that_fails_for_good_is_named(ntu60_shards: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote_module, "_FIRST_WAIT_SECONDS", 0.0)
    stream = make_stream(f"file://{ntu60_shards}")
    calls: list[str] = []

    def fail(*_: Any, **__: Any) -> None:
        calls.append("call")
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.cat_ranges", fail)
    with pytest.raises(OSError, match=r"train-00000\d\.tar: could not be read in 8 attempts \(reset by peer\)$"):
        next(stream.epoch(0))
    assert len(calls) == 8


def test_no_manifest_at_a_url(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^file:///.*: no manifest\.json found"):
        make_stream(f"file://{tmp_path}")


def test_a_cache_is_for_urls(ntu60_shards: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"^stream\.cache_dir is for shards by URL, got the folder /"):
        make_stream(ntu60_shards, cache_dir=str(tmp_path))


def test_what_was_fetched_does_not_travel(ntu60_shards: Path, changes: dict[str, Any]):
    """A stream that was used goes to another process without its threads, connections and bytes."""
    stream: Stream = make_stream(f"file://{ntu60_shards}", **changes)
    first = stream.read_step(0, 0)
    copy = pickle.loads(pickle.dumps(stream))
    assert copy.read_step(0, 0).keys == first.keys
    assert len(pickle.dumps(stream)) < 100_000


def test_nothing_is_read_outside_a_sample(ntu60_shards: Path):
    manifest, index = load_manifest(ntu60_shards), load_index(ntu60_shards)
    span = Span.of(int(index.shard[1]), index.row(1))
    local = FolderShards(ntu60_shards, manifest)
    with open_shards(f"file://{ntu60_shards}", manifest, SETTINGS).sample(span) as data, local.sample(span) as same:
        places = [(0, 512), (span.end - span.begin - 9, 9)]
        assert list(data.read_many(span.begin, places)) == list(same.read_many(span.begin, places))
        with pytest.raises(ValueError, match="are outside the sample"):
            data.read(span.end - 9, 10)
        with pytest.raises(ValueError, match="are outside the sample"):
            data.read(span.begin - 1, 10)


@pytest.mark.parametrize("on_damage", ["raise", "skip"])
def test_a_damaged_copy_is_fetched_again(ntu60_shards: Path, tmp_path: Path, on_damage: str):
    """The data set is whole: nothing is damaged, and the batches are the right ones."""
    root, cache = f"file://{ntu60_shards}", tmp_path / "cache"
    list(make_stream(root, cache_dir=str(cache)).epoch(0))
    for path in cache.glob("train-*.cached"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2 :: 512] = b"\0" * len(data[len(data) // 2 :: 512])
        path.write_bytes(data)
    found = global_batches(root, 1, cache_dir=str(cache), on_damage=on_damage)
    assert_same_batches(list(found), list(global_batches(ntu60_shards, 1)))


def test_skipping_continues_without_a_replaced_shard(copied: Path, tmp_path: Path, fetched: list[str]):
    """Its samples are replaced, and it is not fetched again for each of them."""
    entry = next(entry for entry in load_manifest(copied).shards if entry.split == "train")
    path = copied / f"{entry.name}.tar"
    path.write_bytes(bytes(entry.num_bytes))
    stream = make_stream(f"file://{copied}", cache_dir=str(tmp_path / "cache"), on_damage="skip", window_shards=9)
    keys = [key for batch in stream.epoch(0) for key in batch.keys]
    assert len(keys) == 12 and {damage.shard for damage in stream.damage} == {path.name}
    assert all("its SHA-256 is " in damage.reason for damage in stream.damage) and len(stream.damage) > 1
    assert fetched.count(path.name) <= 4  # twice when it was read, twice ahead
