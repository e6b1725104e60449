"""Sample -> members -> sample: exact but for the JPEGs; every member opens without this package."""

import io
import json
import re
import zlib
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
import simplejpeg
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from epam_data.samples.heatmap import quantise
from epam_data.schema import Sample
from epam_data.shards.codec import (
    HEATMAP_TOLERANCE,
    MEMBERS,
    check_checksum,
    decode,
    decode_frames,
    decode_heatmap,
    decode_info,
    decode_json,
    decode_keypoints,
    encode,
    info_from_json,
)
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
    assert error.max() <= HEATMAP_TOLERANCE * scale + 1e-6


def test_equal_samples_give_equal_bytes() -> None:
    assert encode(make_sample()) == ENCODED
    assert encode(make_sample(seed=1)) != ENCODED


def test_quality_and_level_are_used() -> None:
    assert len(encode(make_sample(), jpeg_quality=30)["rgb.mjpeg"]) < len(ENCODED["rgb.mjpeg"])
    assert encode(make_sample(), zstd_level=19)["heatmap.npy.zst"] != ENCODED["heatmap.npy.zst"]


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
    info, offsets = decode_info(ENCODED["json"])
    every = decode(ENCODED).frames
    out = np.empty((4, 16, 16, 3), np.uint8)
    decode_frames(ENCODED["rgb.mjpeg"], offsets, np.array([5, 0, 2, 2]), out)
    np.testing.assert_array_equal(out, every[[5, 0, 2, 2]])
    assert info.num_frames == 6


@pytest.mark.parametrize("member", MEMBERS)
def test_an_absent_member_is_named(member: str) -> None:
    members = {name: data for name, data in ENCODED.items() if name != member}
    with pytest.raises(ValueError, match=rf"^the sample lacks {re.escape(member)}$"):
        decode(members)


def with_json(**changes: object) -> bytes:
    values = {**json.loads(ENCODED["json"]), **changes}
    return json.dumps({name: value for name, value in values.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_json(frame_offsets=None), "clip-1: frame_offsets must be 7 numbers, got 0"),
        (with_json(frame_offsets=[0, 1]), "clip-1: frame_offsets must be 7 numbers, got 2"),
        (with_json(frame_offsets=[0, 9, 5, 20, 30, 40, 50]), "clip-1: frame_offsets must rise from 0"),
        (with_json(frame_offsets=[-5, 0, 5, 20, 30, 40, 50]), "clip-1: frame_offsets must rise from 0"),
        (with_json(schema=2), "clip-1: shard schema 2 cannot be read, this code reads 1..1"),
        (with_json(sigma_px=None), "clip-1: KEY.json lacks sigma_px"),
        (with_json(rgb_size_px="16"), "clip-1: KEY.json: rgb_size_px must be int, got '16'"),
        (with_json(num_frames=6.5), "clip-1: KEY.json: num_frames must be int, got 6.5"),
        (with_json(sigma_px="x"), "clip-1: KEY.json: sigma_px must be float, got 'x'"),
        (with_json(box=5), "clip-1: KEY.json: box must be tuple[int, int, int, int], got 5"),
        (with_json(label="x"), "clip-1: KEY.json: label must be int | None, got 'x'"),
        (b"[1]", "KEY.json must hold an object, got list"),
    ],
)
def test_a_bad_info_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        decode_info(data)


def test_text_that_is_no_json_is_refused() -> None:
    for data in (b"", b"{", b"\xff\xfe", ENCODED["json"][:-5]):
        with pytest.raises(ValueError, match=r"^KEY\.json: no JSON \("):
            decode_info(data)


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
        (npy(np.zeros((2, 2), np.uint8), version=(2, 0)), r".*: damaged \(expected npy format 1\.0, got \(2, 0\)\)"),
        (npy(np.zeros((2, 2), np.uint16)), r"heatmap\.npy\.zst: damaged \(expected C-ordered uint8, got uint16"),
        (npy(np.zeros((2, 2), np.uint8, order="F")), r".*: damaged \(expected C-ordered uint8, got uint8, fort"),
    ],
)  # fmt: skip
def test_a_bad_heatmap_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        decode_heatmap(data)
    with pytest.raises(ValueError, match=f"^clip-1: {message}"):
        decode(damaged("heatmap.npy.zst", data))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"text", ENCODED["keypoints.npy"][:-1]])
def test_bad_keypoints_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^keypoints\.npy: damaged \("):
        decode_keypoints(data)


def test_pickled_keypoints_are_not_run() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^keypoints\.npy: damaged \(Object arrays"):
        decode_keypoints(buffer.getvalue())


def test_a_damaged_frame_is_named() -> None:
    offsets = json.loads(ENCODED["json"])["frame_offsets"]
    data = bytearray(ENCODED["rgb.mjpeg"])
    data[offsets[3] : offsets[3] + 4] = bytes(4)
    with pytest.raises(ValueError, match=r"^clip-1: rgb\.mjpeg: frame 3: "):
        decode(damaged("rgb.mjpeg", bytes(data)))


def test_a_frame_of_another_size_is_named() -> None:
    image = simplejpeg.encode_jpeg(background((16, 24)), colorspace="RGB")
    offsets = [0, *([len(image)] * 6)]
    with pytest.raises(ValueError, match=r"^rgb\.mjpeg: frame 0: expected 16 x 16 pixels, got 16 x 24$"):
        decode_frames(image, offsets, [0], np.empty((1, 16, 16, 3), np.uint8))


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


def test_the_json_holds_a_checksum_of_each_member():
    members = encode(make_sample())
    stored = json.loads(members["json"])["crc32"]
    own = stored.pop("json")
    assert stored == {ending: zlib.crc32(members[ending]) for ending in MEMBERS if ending != "json"}
    assert own == zlib.crc32(re.sub(rb'"crc32":\{.*?\}', b"", members["json"]))


def test_any_flipped_bit_of_the_json_is_found_or_does_no_harm():
    """Those that do none lie in the checksums' own names."""
    good = encode(make_sample())["json"]
    expected, harmless = decode_info(good), 0
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        try:
            values = decode_json(bytes(data))
            check_checksum(values, "json", bytes(data))
            assert info_from_json(values) == expected
            harmless += 1
        except ValueError:
            continue
    assert 0 < harmless < 8 * len('"crc32":"heatmap.npy.zst":"json":"keypoints.npy":"rgb.mjpeg":4294967295')
