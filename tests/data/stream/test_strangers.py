"""Streams of shards that strangers made: a bad sample costs itself, no worker runs HDF5 or copies the index."""

import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from epam_data.check.check import CheckSettings, check
from epam_data.shards.head import checksum
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.show.describe import describe, read_sample
from epam_data.stream import Stream, StreamSettings
from epam_data.system.executors import ExecutorSettings
from tests.data.damage import rewrite_first
from tests.paths import ROOT

Members = dict[str, bytes]


def sealed(members: Members, **values: Any) -> Members:
    """The members with checksums that fit, as a stranger can write them."""
    head = {**json.loads(members["json"]), **values, "crc32": {}}
    others = {ending: data for ending, data in members.items() if ending != "json"}

    def text() -> bytes:
        return json.dumps(head, sort_keys=True, separators=(",", ":")).encode()

    crc32 = {"json": checksum("json", text()), **{ending: zlib.crc32(data) for ending, data in others.items()}}
    head["crc32"] = crc32
    return {"json": text(), **others}


def nested(members: Members) -> Members:
    return {**members, "json": b'{"schema": 1, "later": ' + b"[" * 100_000}


def nested_schema(members: Members) -> Members:
    return {**members, "json": b'{"schema": ' + b"[" * 700 + b"]" * 700 + b"}"}


def heatmap_bomb(members: Members) -> Members:
    return sealed({**members, "heatmap.npy.zst": zstandard.ZstdCompressor().compress(bytes(400_000_000))})


def huge_frames(members: Members) -> Members:
    frame = bytearray(members["rgb.mjpeg"])
    for start in re.finditer(b"\xff\xc0\x00\x11\x08", frame):
        frame[start.end() : start.end() + 4] = b"\xff\xff\xff\xff"  # height and width
    return sealed({**members, "rgb.mjpeg": bytes(frame)}, frame_crc32=None)


def huge_head(members: Members) -> Members:
    return sealed(members, later="x" * (9 << 20))


def huge_keypoints(members: Members) -> Members:
    return sealed({**members, "keypoints.npy": members["keypoints.npy"] + bytes(20_000_000)})


HOSTILE = [nested, nested_schema, heatmap_bomb, huge_frames, huge_head, huge_keypoints]


def stream(root: Path, **settings: Any) -> Stream:
    usual = {"rgb_frames": 4, "pose_frames": 4, "batch_size": 2, "workers": 0}
    return Stream(root, split="train", settings=StreamSettings(**{**usual, **settings}), training=False)


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_sample_costs_itself(
    ntu60_shards: Path, tmp_path: Path, change: Callable[[Members], Members]
) -> None:
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    key = rewrite_first(root, change)
    with pytest.raises(ValueError, match=rf"^train-000000\.tar: {key}: ") as caught:
        list(stream(root).epoch(0))
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()
    skipping = stream(root, on_damage="skip")
    assert sum(len(batch) for batch in skipping.epoch(0)) == 13
    assert [damage.key for damage in skipping.damage] == [key]
    report = check(root, CheckSettings(sample="all", rgb=True), ExecutorSettings())
    assert {finding.key for finding in report.findings} <= {key, ""} and report.findings
    assert key in describe(str(root / "train-000000.tar"))


def test_members_that_the_settings_do_not_allow_are_not_read(ntu60_shards: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    key = rewrite_first(root, huge_keypoints)
    with pytest.raises(ValueError, match=rf"{key}: its first members have 200\d+ bytes, expected \d+ or less$"):
        list(stream(root).epoch(0))


def test_frames_of_another_size_than_the_manifest_are_not_decoded(ntu60_shards: Path, tmp_path: Path) -> None:
    def larger(members: Members) -> Members:
        size = b"\xff\xc0\x00\x11\x08"  # before height and width in a JPEG
        frames = re.sub(size + b"....", lambda _: size + b"\x01\x00\x01\x00", members["rgb.mjpeg"], flags=re.DOTALL)
        return sealed({**members, "rgb.mjpeg": frames}, rgb_size_px=256, frame_crc32=None)

    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    key = rewrite_first(root, larger)
    report = check(root, CheckSettings(sample="all", rgb=True), ExecutorSettings())
    assert [finding.check for finding in report.findings if finding.key == key] == ["json"]
    assert report.num_decoded == report.num_samples - 1


CHILD = """
import sys
from pathlib import Path
from epam_data.stream import Stream, StreamSettings
settings = StreamSettings(rgb_frames=4, pose_frames=4, batch_size=2, workers=1)
stream = Stream(sys.argv[1], split="train", settings=settings, training=False)
batches = stream.epoch(0)
next(batches)
maps = [Path("/proc/self/maps").read_text()]
children = [child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()]
maps += [Path(f"/proc/{child}/maps").read_text() for child in children]
print(len(maps), *("hdf5" in each for each in maps), *(any(name in each for name in sys.argv[2:]) for each in maps))
print("h5py" in sys.modules, sum(map(len, batches)))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_no_process_of_a_stream_loads_hdf5_and_all_map_the_index(ntu60_shards: Path, scheme: str) -> None:
    command = [sys.executable, "-c", CHILD, f"{scheme}{ntu60_shards}", "(deleted)" if scheme else "index.h5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False", "False", "True", "True", "False", "12"], done.stderr


def test_a_pickled_reader_holds_no_copy_of_the_index(ntu60_shards: Path) -> None:
    import pickle

    data = pickle.dumps(stream(ntu60_shards)._reader)
    assert load_index(ntu60_shards).row(0).key.encode() not in data


def test_folders_that_cannot_be_written_work(ntu60_shards: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    for path in root.iterdir():
        path.chmod(0o444)
    root.chmod(0o555)
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:  # another user could not come here
            folder.chmod(0o755)
    is_root = os.geteuid() == 0
    before = sorted(root.iterdir())
    if is_root:  # whom modes do not stop
        os.seteuid(12345)
    try:
        assert sum(len(batch) for batch in stream(root).epoch(0)) == 14
        assert not check(root, CheckSettings(sample=2), ExecutorSettings()).findings
        key = load_index(root, load_manifest(root)).row(0).key
        assert describe(str(root)) and read_sample(root, key)[0].info.key == key
        assert sorted(root.iterdir()) == before and not os.access(root, os.W_OK, effective_ids=True)
    finally:
        if is_root:
            os.seteuid(0)
        root.chmod(0o755)
