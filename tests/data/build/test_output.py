"""Where a build writes: a folder and an object store behave alike, and nothing is ever half there."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from epam_data.build.build import build
from epam_data.build.output import FolderOutput, Output, UrlOutput, open_output
from epam_data.system import remote
from epam_data.system.files import file_sha256
from tests.data.raw_data import folder_bytes, ntu60_plan, write_ntu60

URL = "memory://bucket/prefix"


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.fixture(params=["folder", "url"])
def output(request: pytest.FixtureRequest, memory: Any, tmp_path: Path) -> Output:
    return open_output(tmp_path / "out" if request.param == "folder" else URL, tmp_path / "work")


def publish(output: Output, name: str, data: bytes) -> str | None:
    output.staging.mkdir(parents=True, exist_ok=True)
    (output.staging / name).write_bytes(data)
    return output.publish(name)


def test_small_files(output: Output):
    assert output.read("a/b.json") is None and output.read_folder("a") == {}
    output.write("a/b.json", b"one")
    output.write("a/b.json", b"two")
    output.write("a/c.json", b"three")
    assert output.read("a/b.json") == b"two"
    assert output.read_folder("a") == {"b.json": b"two", "c.json": b"three"}
    output.remove("a/b.json")
    output.remove("a/b.json")
    assert output.read("a/b.json") is None


def test_a_published_file_is_known_again(output: Output, tmp_path: Path):
    (tmp_path / "copy").write_bytes(b"shard")
    facts = {"num_bytes": 5, "sha256": file_sha256(tmp_path / "copy")}
    assert not output.is_intact("train-000000.tar", **facts, stamp=None)
    stamp = publish(output, "train-000000.tar", b"shard")
    assert output.read("train-000000.tar") == b"shard"
    assert output.is_intact("train-000000.tar", **facts, stamp=stamp)
    assert not output.is_intact("train-000000.tar", **{**facts, "num_bytes": 6}, stamp=stamp)
    output.write("train-000000.tar", b"shar!")  # as long, but another
    assert not output.is_intact("train-000000.tar", **facts, stamp=stamp)


def test_leftovers_of_a_killed_build_are_removed(tmp_path: Path):
    folder = FolderOutput(tmp_path)
    folder.write(".build/receipts/train-000000.json", b"{}")
    keep = [tmp_path / "notes.txt", tmp_path / ".hidden"]
    leftovers = [tmp_path / ".train-000001.tar.12ab.partial", tmp_path / ".build/receipts/.a.json.12ab.partial"]
    for path in (*keep, *leftovers):
        path.touch()
    folder.remove_leftovers()
    assert all(path.exists() for path in keep) and not any(path.exists() for path in leftovers)


def test_an_upload_leaves_nothing_on_this_machine(memory: Any, tmp_path: Path):
    url = UrlOutput(URL, tmp_path / "staging")
    publish(url, "train-000000.tar", b"shard")
    assert not list(url.staging.iterdir())
    url.remove_leftovers()
    assert not list(tmp_path.iterdir())


def test_a_store_that_fails_now_and_then_is_asked_again(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "_FIRST_WAIT_SECONDS", 0.0)
    failures = iter([ConnectionResetError("reset"), OSError("500"), None, ConnectionResetError("reset"), None])
    put = memory.put_file

    def flaky(*arguments: Any, **options: Any) -> None:
        failure = next(failures)
        if failure:
            raise failure
        put(*arguments, **options)

    monkeypatch.setattr(type(memory), "put_file", staticmethod(flaky))
    url = UrlOutput(URL, tmp_path)
    publish(url, "a.tar", b"one")
    publish(url, "b.tar", b"two")
    assert url.read("a.tar") == b"one" and url.read("b.tar") == b"two"


def test_a_store_that_fails_for_good_is_named(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "_FIRST_WAIT_SECONDS", 0.0)

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(type(memory), "pipe_file", staticmethod(fail))
    with pytest.raises(OSError, match=rf"^{URL}/a\.json: could not be written in 5 attempts \(reset by peer\)$"):
        UrlOutput(URL, tmp_path).write("a.json", b"")


def test_a_cut_upload_is_no_upload(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "_FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(type(memory), "put_file", lambda fs, local, path, **_: fs.pipe_file(path, b"sh"))
    with pytest.raises(OSError, match="received 2 of 5 bytes"):
        publish(UrlOutput(URL, tmp_path), "train-000000.tar", b"shard")


def test_urls_that_cannot_be_used_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^nowhere://bucket: Protocol not known: nowhere"):
        UrlOutput("nowhere://bucket", tmp_path)
    with pytest.raises(ValueError, match=r"^file:///tmp: out must be a folder or in an object store \(s3, "):
        open_output("file:///tmp", tmp_path)


def test_an_output_travels_to_a_worker(output: Output):
    publish(output, "a.tar", b"one")
    there = pickle.loads(pickle.dumps(output))
    assert there.read("a.tar") == b"one"


def test_a_build_to_a_url_equals_a_build_to_a_folder(memory: Any, tmp_path: Path):
    raw = write_ntu60(tmp_path / "raw", 3, 1)
    build(ntu60_plan(raw, tmp_path / "folder"))
    plan = ntu60_plan(raw, URL, work=tmp_path / "work")
    build(plan)
    published = {path.rpartition("/")[2]: memory.cat_file(path) for path in memory.find(URL) if ".build" not in path}
    assert published == folder_bytes(tmp_path / "folder")
    assert build(plan).num_reused == 2
    assert not (tmp_path / "work" / "staging").exists()


@pytest.mark.parametrize("what", [".build", ".build/receipts"])
def test_a_work_folder_that_is_a_link_is_refused(tmp_path: Path, what: str):
    """A stranger's folder of shards could name any folder there, whose files a build would replace or remove."""
    victim, out = tmp_path / "documents", tmp_path / "out"
    victim.mkdir()
    (victim / "thesis.json").write_text("{}")
    (out / what).parent.mkdir(parents=True, exist_ok=True)
    (out / what).symlink_to(victim)
    with pytest.raises(ValueError, match=rf"out/{what}: must not be a link, since a build writes and removes files"):
        build(ntu60_plan(write_ntu60(tmp_path / "raw", 2, 1), out))
    assert [path.name for path in victim.iterdir()] == ["thesis.json"]


def test_files_that_are_none_or_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = FolderOutput(tmp_path)
    output.write("a/small.json", b"12345")
    output.write("a/large.json", b"123456")
    os.mkfifo(tmp_path / "a" / "pipe.json")
    monkeypatch.setattr("epam_data.build.output.MAX_SMALL_BYTES", 5)
    assert output.read_folder("a") == {"small.json": b"12345"} and output.read("a/small.json") == b"12345"
    with pytest.raises(ValueError, match=r"a/large\.json: is larger than 5 bytes, the most that is read"):
        output.read("a/large.json")
    with pytest.raises(OSError, match="Not a regular file"):
        output.read("a/pipe.json")


def test_large_objects_are_not_read(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = open_output(URL, tmp_path / "work")
    output.write("a/small.json", b"12345")
    output.write("a/large.json", b"123456")
    monkeypatch.setattr("epam_data.build.output.MAX_SMALL_BYTES", 5)
    assert output.read_folder("a") == {"small.json": b"12345"}
    with pytest.raises(OSError, match="larger than 5 bytes, the most that is read"):
        output.read("a/large.json")
