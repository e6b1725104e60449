"""Sample -> members -> sample: exact but for the JPEGs; every member opens without this package."""

import hashlib
import io
import json
import re
import shutil
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from epam_data.check.check import CheckSettings, check
from epam_data.samples.heatmap import quantise
from epam_data.schema import Sample
from epam_data.shards import codec
from epam_data.shards.codec import (
    HEATMAP_CODECS,
    HEATMAP_TOLERANCE,
    KEYPOINT_CODECS,
    MEMBERS,
    USUAL_CODECS,
    ArrayCodec,
    MemberCodecs,
    decode,
    encode,
)
from epam_data.shards.head import read_head
from epam_data.shards.index import index_bytes, load_index
from epam_data.shards.layout import INDEX, MANIFEST, PROBLEMS
from epam_data.shards.manifest import ShardEntry, load_manifest
from epam_data.shards.reader import read_shard
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter
from epam_data.show.describe import describe, read_sample
from epam_data.stream import Stream, StreamSettings
from epam_data.system.executors import ExecutorSettings
from tests.data.damage import change_bytes
from tests.data.raw_data import background, make_sample

ENCODED = encode(make_sample())


def damaged(member: str, data: bytes) -> dict[str, bytes]:
    return {**ENCODED, member: data}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("persons", [1, 2])
def test_a_sample_survives(dtype: type, persons: int) -> None:
    sample = make_sample(seed=persons)
    keypoints = np.repeat(sample.keypoints, persons, axis=0).astype(dtype)
    keypoints[0, 0, 0] = np.nan
    sample = Sample(info=sample.info, keypoints=keypoints, heatmap=sample.heatmap, frames=sample.frames)
    back = decode(encode(sample))
    assert back.info == sample.info
    assert back.keypoints.dtype == dtype
    np.testing.assert_array_equal(back.keypoints, keypoints)
    np.testing.assert_array_equal(back.heatmap, sample.heatmap)
    assert np.abs(back.frames.astype(int) - sample.frames).mean() < 4


def test_a_hidden_label_survives() -> None:
    info = decode(encode(make_sample(label=None, coarse_label=None))).info
    assert info.label is None and info.coarse_label is None


def test_the_stored_heatmap_is_within_the_stated_tolerance() -> None:
    rng = np.random.default_rng(0)
    volume, scale = rng.uniform(0, 1.25, (6, 17, 8, 8)).astype(np.float32), 1.25
    sample = make_sample(heatmap_scale=scale)
    stored = Sample(info=sample.info, keypoints=sample.keypoints, heatmap=quantise(volume, scale), frames=sample.frames)
    back = decode(encode(stored))
    error = np.abs(back.heatmap * (back.info.heatmap_scale / 255) - volume)
    assert error.max() == pytest.approx(HEATMAP_TOLERANCE * scale, rel=1e-3), "no more, and no smaller one would do"


def test_equal_samples_give_equal_bytes() -> None:
    assert encode(make_sample()) == ENCODED
    assert encode(make_sample(seed=1)) != ENCODED


def test_quality_and_level_are_used() -> None:
    assert len(encode(make_sample(), ShardSettings(jpeg_quality=30))["rgb.mjpeg"]) < len(ENCODED["rgb.mjpeg"])
    assert encode(make_sample(), ShardSettings(zstd_level=19))["heatmap.npy.zst"] != ENCODED["heatmap.npy.zst"]


def test_the_members_open_with_common_tools() -> None:
    sample = make_sample()
    assert tuple(ENCODED) == MEMBERS == ("json", "keypoints.npy", "heatmap.npy.zst", "rgb.mjpeg")
    values = json.loads(ENCODED["json"])
    assert values["schema"] == 1 and values["key"] == "clip-1" and values["box"] == [10, 12, 60, 70]
    np.testing.assert_array_equal(np.load(io.BytesIO(ENCODED["keypoints.npy"])), sample.keypoints)
    unpacked = zstandard.ZstdDecompressor().decompress(ENCODED["heatmap.npy.zst"])
    np.testing.assert_array_equal(np.load(io.BytesIO(unpacked)), sample.heatmap)
    offsets = values["frame_offsets"]
    assert len(offsets) == 7 and offsets[0] == 0 and offsets[-1] == len(ENCODED["rgb.mjpeg"])
    for number, (start, end) in enumerate(pairwise(offsets)):
        with Image.open(io.BytesIO(ENCODED["rgb.mjpeg"][start:end])) as image:
            assert image.format == "JPEG" and image.size == (16, 16)
            pixels = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(pixels - sample.frames[number]).mean() < 4, "the channels are R, G, B"


def test_chosen_frames_decode_alone_and_in_any_order() -> None:
    offsets, every = read_head(ENCODED["json"]).members.frame_offsets, decode(ENCODED).frames
    out = np.empty((16, 16, 3), np.uint8)
    for frame in (5, 0, 2, 2):
        USUAL_CODECS.decode_frame(ENCODED["rgb.mjpeg"][offsets[frame] : offsets[frame + 1]], out, frame)
        np.testing.assert_array_equal(out, every[frame])


@pytest.mark.parametrize("member", MEMBERS)
def test_an_absent_member_is_named(member: str) -> None:
    members = {name: data for name, data in ENCODED.items() if name != member}
    with pytest.raises(ValueError, match=rf"^the sample lacks {re.escape(member)}$"):
        decode(members)


def npy(array: np.ndarray, **kwargs: object) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **kwargs)
    return zstandard.compress(buffer.getvalue())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"heatmap\.npy\.zst: damaged \("),
        (b"no zstd", r"heatmap\.npy\.zst: damaged \("),
        (ENCODED["heatmap.npy.zst"][:-20], r"heatmap\.npy\.zst: damaged \("),
        (zstandard.compress(b"no npy"), r"heatmap\.npy\.zst: damaged \("),
        (ENCODED["heatmap.npy.zst"] + b"x", r"heatmap\.npy\.zst: damaged \("),
        (npy(np.zeros((2, 2), np.uint8), version=(2, 0)), r".*: damaged \(expected npy format 1\.0, got \(2, 0\)\)"),
        (npy(np.zeros((2, 2), np.uint16)), r"heatmap\.npy\.zst: damaged \(expected C-ordered uint8, got uint16"),
        (npy(np.zeros((2, 2), np.uint8, order="F")), r".*: damaged \(expected C-ordered uint8, got uint8, fort"),
    ],
)  # fmt: skip
def test_a_bad_heatmap_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        USUAL_CODECS.decode_heatmap(data)
    with pytest.raises(ValueError, match=f"^clip-1: {message}"):
        decode(damaged("heatmap.npy.zst", data))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"text", ENCODED["keypoints.npy"][:-1]])
def test_bad_keypoints_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^keypoints\.npy: damaged \("):
        USUAL_CODECS.decode_keypoints(data)


def test_bytes_behind_the_keypoints_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^keypoints\.npy: damaged \(2 bytes \w+ the array\)$"):
        USUAL_CODECS.decode_keypoints(ENCODED["keypoints.npy"] + b"xy")


@pytest.mark.parametrize("codecs", [KEYPOINT_CODECS, HEATMAP_CODECS])
def test_objects_are_not_pickled(codecs: dict[str, ArrayCodec]) -> None:
    for one in codecs.values():
        with pytest.raises(ValueError, match=r"^Object arrays cannot be saved"):
            one.encode(np.array([{}], object), ShardSettings())


def test_pickled_keypoints_are_not_run() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^keypoints\.npy: damaged \(expected numbers, got dtype\(\'O\'\)\)$"):
        USUAL_CODECS.decode_keypoints(buffer.getvalue())


def test_a_damaged_frame_is_named() -> None:
    offsets = json.loads(ENCODED["json"])["frame_offsets"]
    data = bytearray(ENCODED["rgb.mjpeg"])
    data[offsets[3] : offsets[3] + 4] = bytes(4)
    with pytest.raises(ValueError, match=r"^clip-1: rgb\.mjpeg: frame 3: "):
        decode(damaged("rgb.mjpeg", bytes(data)))


def test_a_frame_of_another_size_is_named() -> None:
    image = simplejpeg.encode_jpeg(background((16, 24)), colorspace="RGB")
    assert USUAL_CODECS.frame_size(image) == (16, 24)
    with pytest.raises(ValueError, match=r"^rgb\.mjpeg: frame 7: expected 16 x 16 pixels, got 16 x 24$"):
        USUAL_CODECS.decode_frame(image, np.empty((16, 16, 3), np.uint8), 7)


def test_what_is_not_one_complete_jpeg_has_no_size() -> None:
    image = simplejpeg.encode_jpeg(background((16, 24)), colorspace="RGB")
    for data, message in (
        (b"text", r"not a JPEG \("),
        (image[:-2], "not one complete JPEG"),
        (image + b"\0", "not one complete"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            USUAL_CODECS.frame_size(data)


# A second codec: a row of the table, named by the manifest


def heatmap_npy(array: np.ndarray, _: ShardSettings) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def load_npy(data: bytes | memoryview, max_bytes: int) -> np.ndarray:
    return np.load(io.BytesIO(data))


@pytest.fixture
def other_shards(ntu60_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same clips, whose heatmaps are not compressed."""
    monkeypatch.setitem(HEATMAP_CODECS, "heatmap.npy", ArrayCodec(encode=heatmap_npy, decode=load_npy))
    manifest, codecs, summaries = load_manifest(ntu60_shards), MemberCodecs(heatmap="heatmap.npy"), []
    for entry in manifest.shards:
        with ShardWriter(tmp_path, entry.name, entry.split, manifest.shard, codecs) as writer:
            for _, _, members in read_shard(ntu60_shards / f"{entry.name}.tar"):
                writer.write(decode(members))
            summaries.append(writer.finish())
    index = index_bytes(summaries)
    (tmp_path / INDEX).write_bytes(index)
    shards, sha256 = tuple(map(ShardEntry.of, summaries)), hashlib.sha256(index).hexdigest()
    manifest = replace(manifest, shards=shards, codecs=codecs, index_sha256=sha256)
    (tmp_path / MANIFEST).write_bytes(manifest.to_json())
    shutil.copy(ntu60_shards / PROBLEMS, tmp_path)
    return tmp_path


def test_a_second_codec_gives_the_same_clips(ntu60_shards: Path, other_shards: Path) -> None:
    assert load_manifest(other_shards).codecs.heatmap == "heatmap.npy"
    for key in load_index(ntu60_shards).row_of_key:
        (one, _), (other, members) = read_sample(ntu60_shards, key), read_sample(other_shards, key)
        assert one.info == other.info and tuple(members) == ("json", "keypoints.npy", "heatmap.npy", "rgb.mjpeg")
        np.testing.assert_array_equal(one.heatmap, other.heatmap)
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
    assert "lacks" not in describe(str(other_shards / "train-000000.tar"))


def test_a_second_codec_gives_the_same_batches(ntu60_shards: Path, other_shards: Path) -> None:
    clips = StreamSettings(batch_size=2, rgb_frames=2, pose_frames=4, workers=0, heatmap="stored", train_crop="none")
    one, other = (Stream(root, split="train", settings=clips, training=True) for root in (ntu60_shards, other_shards))
    for mine, theirs in zip(one.epoch(0), other.epoch(0), strict=True):
        assert mine.keys == theirs.keys and mine.heatmap.equal(theirs.heatmap) and mine.flip.equal(theirs.flip)


def test_the_check_knows_a_second_codec(other_shards: Path) -> None:
    assert check(other_shards, CheckSettings(sample="all", rgb=True), ExecutorSettings()).findings == ()
    rewritten = next(read_shard(other_shards / "val-000001.tar", load_manifest(other_shards).codecs.endings))
    change_bytes(other_shards / "val-000001.tar", lambda data: data.__setitem__(rewritten[1] + 512 * 6, 0))
    found = check(other_shards, CheckSettings(sample=0), ExecutorSettings()).findings
    assert {finding.member for finding in found} & {"heatmap.npy", "keypoints.npy"}


def test_codecs_are_named_nowhere_else() -> None:
    """So that another one is a row of the table."""
    package = Path(codec.__file__).parents[1]
    for path in [*package.rglob("*.py"), *package.with_name("epam_model").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        named = [ending for ending in MEMBERS[1:] if f'"{ending}"' in text or f'"{ending}: ' in text]
        assert not named or path.name == "codec.py", path


@settings(deadline=None, max_examples=400)
@given(
    member=st.sampled_from(MEMBERS),
    places=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), max_size=3),
    length=st.floats(0, 1),
)
def test_damage_gives_a_sample_or_a_value_error(member: str, places: list[tuple[float, int]], length: float) -> None:
    """Whatever bytes a member holds, nothing but a ValueError comes out."""
    data = bytearray(ENCODED[member])
    for place, value in places:
        data[int(place * len(data))] = value
    with suppress(ValueError):
        decode(damaged(member, bytes(data[: round(length * len(data))])))


def npy_header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text.encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 17, 3)}"), "its header says "),
        (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2)}") + bytes(8), ""),
        (npy_header("{'descr': '|V8', 'fortran_order': False, 'shape': (1,)}") + bytes(8), "expected numbers, got "),
        (npy_header("{'descr': '<U2', 'fortran_order': False, 'shape': (1,)}") + bytes(8), "expected numbers, got "),
        (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", (3, 0)), "expected npy format 1.0 or "),
    ],
)
def test_keypoints_take_no_more_memory_than_there_are_bytes(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^keypoints\.npy: damaged \({message}"):
        USUAL_CODECS.decode_keypoints(data)


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3)])
def test_any_array_of_numbers_is_decoded(array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    decoded = USUAL_CODECS.decode_keypoints(buffer.getvalue())
    assert np.array_equal(decoded, array) and decoded.dtype == array.dtype and decoded.flags.writeable


def test_a_heatmap_is_not_decompressed_beyond_its_size() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(300_000_000))
    assert len(bomb) < 50_000
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"damaged \(a frame of 300000000 bytes, expected 1000 or less\)$"):
        USUAL_CODECS.decode_heatmap(bomb, 1000)
    with pytest.raises(ValueError, match=r"^clip-1: heatmap\.npy\.zst: damaged \(a frame of 300000000 bytes, expected"):
        decode(damaged("heatmap.npy.zst", bomb))
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_frames_take_no_memory_that_their_bytes_cannot_fill() -> None:
    values = json.loads(ENCODED["json"])
    members = damaged("json", json.dumps({**values, "rgb_size_px": 60_000, "crc32": {}}).encode())
    with pytest.raises(
        ValueError, match=r"^clip-1: rgb\.mjpeg: \d+ bytes cannot be \d+ frames of 60000 pixels square$"
    ):
        decode(members)


def test_an_error_without_words_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_magic", fails)
    with pytest.raises(ValueError, match=r"damaged \(MemoryError\)"):
        decode(encode(make_sample()))
