"""KEY.json: what was written is read, what is damaged is named, any flipped bit is found."""

import json
import re
import zlib

import pytest

from epam_data.shards.codec import MEMBERS, encode
from epam_data.shards.head import MAX_HEAD_BYTES, read_head
from tests.data.raw_data import make_sample, sample_info

ENCODED = encode(make_sample())


def test_the_head_survives() -> None:
    head = read_head(ENCODED["json"])
    assert head.info == sample_info() and json.loads(ENCODED["json"])["schema"] == 1
    assert head.members.frame_offsets[-1] == len(ENCODED["rgb.mjpeg"])
    assert read_head(with_json(added_later=1)) == head


def test_older_shards_lack_checksums() -> None:
    values = {name: value for name, value in json.loads(ENCODED["json"]).items() if "crc32" not in name}
    head = read_head(json.dumps(values).encode())
    assert (head.members.crc32, head.members.frame_crc32) == ({}, None)
    head.check("rgb.mjpeg", b"anything")
    head.check_frame("rgb.mjpeg", 0, b"anything")


def test_another_member_or_frame_is_refused() -> None:
    head = read_head(ENCODED["json"])
    for ending, data in ENCODED.items():
        head.check(ending, data)
    with pytest.raises(ValueError, match=r"^rgb\.mjpeg: damaged \(its CRC-32 is not that in KEY\.json\)$"):
        head.check("rgb.mjpeg", b"x")
    with pytest.raises(ValueError, match=r"^KEY\.json: damaged \(its CRC-32"):
        head.check("json", b"x")
    with pytest.raises(ValueError, match=r"^rgb\.mjpeg: frame 3: damaged \(its CRC-32"):
        head.check_frame("rgb.mjpeg", 3, b"x")


def test_what_the_head_says_nothing_of_passes() -> None:
    head = read_head(ENCODED["json"])
    head.check("later.npy", b"x")
    head.check_frame("rgb.mjpeg", head.info.num_frames, b"x")


def with_json(**changes: object) -> bytes:
    values = {**json.loads(ENCODED["json"]), **changes}
    return json.dumps({name: value for name, value in values.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_json(frame_offsets=None), "clip-1: KEY.json: lacks frame_offsets"),
        (with_json(frame_offsets=[0, 1]), "clip-1: frame_offsets must be 7 numbers, got 2"),
        (with_json(frame_offsets=[0, 9, 5, 20, 30, 40, 50]), "clip-1: frame_offsets must rise from 0"),
        (with_json(frame_offsets=[0, 9, 9, 20, 30, 40, 50]), "clip-1: frame_offsets must rise from 0"),
        (with_json(frame_offsets=[-5, 0, 5, 20, 30, 40, 50]), "clip-1: frame_offsets must rise from 0"),
        (with_json(schema=2), "clip-1: shard schema 2 cannot be read, this code reads 1..1"),
        (with_json(frame_offsets="0123456"), "clip-1: KEY.json: frame_offsets: expected array, got 0123456"),
        (with_json(frame_offsets=[0.5] * 7), "clip-1: KEY.json: frame_offsets[0]: expected int, got 0.5"),
        (with_json(crc32="x"), "clip-1: KEY.json: crc32: expected object, got x"),
        (with_json(frame_crc32={"0": 1}), "clip-1: KEY.json: frame_crc32: expected array | null, got {'0': 1}"),
        (with_json(sigma_px=None), "clip-1: KEY.json: lacks sigma_px"),
        (with_json(rgb_size_px="16"), "clip-1: KEY.json: rgb_size_px: expected int, got 16"),
        (with_json(num_frames=6.5), "clip-1: KEY.json: num_frames: expected int, got 6.5"),
        (with_json(num_frames=True), "clip-1: KEY.json: num_frames: expected int, got True"),
        (with_json(sigma_px="x"), "clip-1: KEY.json: sigma_px: expected float, got x"),
        (with_json(box=5), "clip-1: KEY.json: box: expected array, got 5"),
        (with_json(label="x"), "clip-1: KEY.json: label: expected int | null, got x"),
        (with_json(image_size=[96]), "clip-1: KEY.json: image_size: expected array of length 2, got [96]"),
        (with_json(image_size=[0, 128]), "clip-1: KEY.json: image_size[0]: expected int >= 1, got 0"),
        (with_json(video_size=[96, "x"]), "clip-1: KEY.json: video_size[1]: expected int, got x"),
        (with_json(box=[1, 2, 3]), "clip-1: KEY.json: box: expected array of length 4, got [1, 2, 3]"),
        (with_json(box=[10, 12, 60.5, 70]), "clip-1: KEY.json: box[2]: expected int, got 60.5"),
        (with_json(num_frames=0), "clip-1: KEY.json: num_frames: expected int >= 1, got 0"),
        (with_json(rgb_size_px=-1), "clip-1: KEY.json: rgb_size_px: expected int >= 1, got -1"),
        (with_json(heatmap_size_px=0), "clip-1: KEY.json: heatmap_size_px: expected int >= 1, got 0"),
        (with_json(sigma_px=0), "clip-1: KEY.json: sigma_px: expected float >= 0.001, got 0"),
        (with_json(heatmap_scale=0.5), "clip-1: KEY.json: heatmap_scale: expected float >= 1.0, got 0.5"),
        (with_json(key=3), "3: KEY.json: key: expected str, got 3"),
        (b"[1]", "KEY.json: expected object, got [1]"),
    ],
)
def test_a_bad_info_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_head(data)


def test_text_that_is_not_json_is_refused() -> None:
    """NaN and Infinity, which Python would read, among them."""
    strange = [with_json(sigma_px=float("nan")), with_json(heatmap_scale=float("inf"))]
    for data in (b"", b"{", b"\xff\xfe", ENCODED["json"][:-5], b'{"a":' + b"[" * 100_000, *strange):
        with pytest.raises(ValueError, match=r"^KEY\.json: not JSON \("):
            read_head(data)


@pytest.mark.parametrize("version", [None, 0, 2, "1", True])
def test_another_schema_is_refused(version: object) -> None:
    """Whatever else the newer version changed."""
    data = json.dumps({"key": "clip-1", "schema": version}).encode()
    message = f"clip-1: shard schema {version!r} cannot be read, this code reads 1..1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_head(data)


def test_the_json_holds_a_checksum_of_each_member():
    members = encode(make_sample())
    stored = json.loads(members["json"])["crc32"]
    own = stored.pop("json")
    assert stored == {ending: zlib.crc32(members[ending]) for ending in MEMBERS if ending != "json"}
    assert own == zlib.crc32(re.sub(rb'"crc32":\{.*?\}', b"", members["json"]))


def test_the_json_is_compact_and_its_fields_are_sorted():
    """So that equal samples give equal bytes."""
    values = json.loads(ENCODED["json"])
    assert list(values) == sorted(values) and list(values["crc32"]) == sorted(values["crc32"])
    assert ENCODED["json"] == json.dumps(values, separators=(",", ":")).encode()


def test_any_flipped_bit_of_the_json_is_found_or_does_no_harm():
    """Those that do none lie in the checksums' own names."""
    good = encode(make_sample())["json"]
    expected, harmless = read_head(good), 0
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        try:
            head = read_head(bytes(data))
            head.check("json", bytes(data))
            assert (head.info, head.members.frame_offsets) == (expected.info, expected.members.frame_offsets)
            harmless += 1
        except ValueError:
            continue
    assert 0 < harmless < 8 * len('"crc32":"heatmap.npy.zst":"json":"keypoints.npy":"rgb.mjpeg":4294967295')


def test_a_json_without_end_or_bottom_is_refused_briefly() -> None:
    deep = b"[" * 100_000
    for data, message in (
        (b" " * (MAX_HEAD_BYTES + 1), rf"has {MAX_HEAD_BYTES + 1} bytes, expected {MAX_HEAD_BYTES} or less$"),
        (deep, "not JSON|expected object"),
        (b'{"schema": ' + b"[" * 800 + b"]" * 800 + b"}", "shard schema .* cannot be read"),
        (b'{"schema": ' + deep, "not JSON"),
        (b'{"schema": 1, "key": ' + b"[" * 800 + b"]" * 800 + b"}", r"^\[\[\[\[\.\.\.\]\]\]\]: KEY\.json: "),
        (b'{"schema": 1, "later": ' + deep, "not JSON"),
        (with_json(key="x" * 10**6), "a key must be 1 to 80 characters"),
        (with_json(key="\x1b[2J"), r"a key must be .*"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            read_head(data)
        assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 10**9) for name in ("rgb_size_px", "heatmap_size_px")),
        *((name, [10**9, 1]) for name in ("image_size", "video_size")),
        ("label", 2**31),
        ("coarse_label", 10**30),
        ("box", [0, 0, 10**30, 1]),
        ("heatmap_scale", 1e300),
        ("video_frames", 10**30),
    ],
)
def test_numbers_without_end_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"KEY\.json: .*{name}.*: expected "):
        read_head(with_json(**{name: value}))
