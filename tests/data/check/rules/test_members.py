import dataclasses
import io
import json
import re
import zlib
from typing import Any

import numpy as np
import pytest
import zstandard

from epam_data.check.rules.members import decode_all_frames, frame_faults, json_faults, open_sample
from epam_data.samples.settings import PrepareSettings
from epam_data.shards.codec import MEMBERS, USUAL_CODECS, encode
from epam_data.shards.layout import IndexRow
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.skeleton import COCO17
from epam_data.taxonomy import TAXONOMIES
from tests.data.raw_data import make_sample, sample_info

ENTRY = ShardEntry(name="train-000000", split="train", num_samples=1, num_bytes=0, sha256="")


def manifest() -> Manifest:
    info, table = sample_info(), TAXONOMIES["ntu60"]
    names = ("rgb_size_px", "heatmap_size_px", "heatmap_kind", "sigma_px")
    values: dict[str, Any] = dict.fromkeys(Manifest.__dataclass_fields__)
    values |= {name: getattr(table, name) for name in ("classes", "groups", "coarse_of")}
    values |= {"skeleton": "coco17", "joints": COCO17.joints, "codecs": USUAL_CODECS}
    values["prepare"] = PrepareSettings(**{name: getattr(info, name) for name in names})
    return Manifest(**values)


def row(**changes: Any) -> IndexRow:
    values = {"key": "clip-1", "label": 3, "coarse_label": 0, "num_frames": 6, "offset": 0, "member_bytes": (0,) * 4}
    return IndexRow(**{**values, **changes})


def members() -> dict[str, memoryview]:
    return {ending: memoryview(data) for ending, data in encode(make_sample()).items()}


def test_a_good_sample_opens_without_a_fault():
    opened = open_sample(members(), row(), ENTRY, manifest())
    assert opened.faults == ()
    assert opened.info == sample_info() and opened.keypoints.shape == (1, 6, 17, 3) and opened.heatmap.shape[0] == 6
    frames, fault = decode_all_frames(members()["rgb.mjpeg"], opened, USUAL_CODECS)
    assert frames.shape == (6, 16, 16, 3) and fault is None


def test_each_member_is_opened_though_another_is_broken():
    """So that one damaged byte does not hide another."""
    for broken in MEMBERS:
        opened = open_sample({**members(), broken: memoryview(b"x" * 40)}, row(), ENTRY, manifest())
        assert {fault.member for fault in opened.faults} == {broken}
        assert opened.faults[0].offset == 0  # the content as a whole
    everything = {ending: memoryview(b"x" * 40) for ending in MEMBERS[1:]} | {"json": members()["json"]}
    assert {fault.member for fault in open_sample(everything, row(), ENTRY, manifest()).faults} == set(MEMBERS[1:])


def test_the_json_is_compared_with_everything_that_says_the_same():
    assert list(json_faults(sample_info(), row(), ENTRY, manifest())) == []
    hidden = row(label=-1, coarse_label=-1)
    assert list(json_faults(sample_info(label=None, coarse_label=None), hidden, ENTRY, manifest())) == []
    for label in (0, 59):
        coarse = manifest().coarse_of[label]
        info, known = sample_info(label=label, coarse_label=coarse), row(label=label, coarse_label=coarse)
        assert list(json_faults(info, known, ENTRY, manifest())) == []
    cases = [
        (sample_info(), row(key="other"), "says key clip-1, the member's name other"),
        (sample_info(split="val"), row(), "says split val, the shard is of train"),
        (sample_info(), row(num_frames=7), "label, coarse label and frames are 3, 0, 6, the index has 3, 0, 7"),
        (sample_info(label=None, coarse_label=None), row(), "are -1, -1, 6, the index has 3, 0, 6"),
        (sample_info(label=60), row(), "label must be in 0..59, got 60"),
        (sample_info(label=-1), row(), "label must be in 0..59, got -1"),
        (sample_info(label=None), row(), "the label is hidden, so the coarse label must be, got 0"),
        (sample_info(coarse_label=1), row(), "coarse label of class 3 must be 0, got 1"),
        (sample_info(heatmap_kind="limbs"), row(), "heatmap_kind must be joints, as in the manifest, got limbs"),
    ]
    for info, index_row, what in cases:
        assert any(what in fault for fault in json_faults(info, index_row, ENTRY, manifest())), what


def test_a_broken_frame_is_named_by_its_place():
    good = members()["rgb.mjpeg"]
    opened = open_sample(members(), row(), ENTRY, manifest())
    start, end = opened.frame_offsets[4:6]
    data = bytearray(good)
    data[start + 2] = 0
    faults = list(frame_faults(memoryview(data), opened.frame_offsets, sample_info(), USUAL_CODECS))
    assert [(fault.offset, fault.check) for fault in faults] == [(start, "frames")]
    # Pixels that end before their frame does: only decoding sees it.
    data = bytearray(good)
    data[end - 40 : end - 2] = b"\xff\xd9" * 19
    assert list(frame_faults(memoryview(data), opened.frame_offsets, sample_info(), USUAL_CODECS)) == []
    frames, fault = decode_all_frames(memoryview(data), opened, USUAL_CODECS)
    assert frames is None and fault.offset == start and "frame 4" in fault.what


@pytest.mark.parametrize("size", [8, 32])
def test_frames_of_another_size_are_faults(size: int):
    info = dataclasses.replace(sample_info(), rgb_size_px=size)
    opened = open_sample(members(), row(), ENTRY, manifest())
    faults = list(frame_faults(members()["rgb.mjpeg"], opened.frame_offsets, info, USUAL_CODECS))
    assert len(faults) == 6 and f"must be {size} pixels square, got 16 x 16" in faults[0].what


def json_with(**values: Any) -> dict[str, memoryview]:
    changed = {**json.loads(bytes(members()["json"])), **values}
    return {**members(), "json": memoryview(json.dumps(changed).encode())}


@pytest.mark.parametrize("crc32", [{}, {"rgb.mjpeg": 1}, dict.fromkeys((*MEMBERS, "other"), 1)])
def test_checksums_are_of_each_member(crc32: object):
    faults = open_sample(json_with(crc32=crc32), row(), ENTRY, manifest()).faults
    assert [(fault.member, fault.what.split(", got")[0]) for fault in faults] == [
        ("json", f"crc32 must be of {', '.join(MEMBERS[1:])}")
    ]


def test_a_flipped_bit_of_the_json_is_a_fault():
    flipped = bytes(members()["json"]).replace(b'"box":[10,', b'"box":[11,')
    assert flipped != members()["json"]
    (fault,) = open_sample({**members(), "json": memoryview(flipped)}, row(), ENTRY, manifest()).faults
    assert (fault.member, fault.what) == ("json", "its CRC-32 is not that in KEY.json")


def test_checksums_of_frames_are_of_the_frames():
    own = json.loads(bytes(members()["json"]))["frame_crc32"]
    assert len(own) == 6
    for checksums in ([*own[:-1], 7], own[:-1], []):
        sample = json_with(
            frame_crc32=checksums, crc32={ending: zlib.crc32(members()[ending]) for ending in MEMBERS[1:]}
        )
        (fault,) = open_sample(sample, row(), ENTRY, manifest()).faults
        assert (fault.member, fault.what) == ("json", "frame_crc32 must be of the frames in rgb.mjpeg")


def with_checksums(changed: dict[str, bytes]) -> dict[str, memoryview]:
    """The sample with these members, of which the checksums of `KEY.json` know."""
    now = {**members(), **changed}
    crc32 = {ending: zlib.crc32(now[ending]) for ending in MEMBERS[1:]}
    return {**now, "json": json_with(crc32=crc32, frame_crc32=None)["json"]}


def as_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("shape", "dtype", "what"),
    [
        ((1, 5, 17, 3), "float16", "must be (M, 6, 17, 3), got (1, 5, 17, 3)"),
        ((1, 6, 16, 3), "float16", "must be (M, 6, 17, 3), got (1, 6, 16, 3)"),
        ((1, 6, 17, 2), "float16", "must be (M, 6, 17, 3), got (1, 6, 17, 2)"),
        ((6, 17, 3), "float16", "must be (M, 6, 17, 3), got (6, 17, 3)"),
        ((1, 6, 17, 3, 1), "float16", "must be (M, 6, 17, 3), got (1, 6, 17, 3, 1)"),
        ((1, 6, 17, 3), "float64", "must be float16 or float32, got float64"),
    ],
)
def test_keypoints_of_another_shape_or_type_are_faults(shape: tuple[int, ...], dtype: str, what: str):
    sample = with_checksums({"keypoints.npy": as_npy(np.ones(shape, dtype))})
    opened = open_sample(sample, row(), ENTRY, manifest())
    (fault,) = opened.faults
    assert (fault.member, fault.check, fault.offset) == ("keypoints.npy", "keypoints", 0)
    assert fault.what.endswith(what) and opened.keypoints is None and opened.heatmap is not None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("num_persons", [0, 2])
def test_keypoints_of_any_number_of_persons_open(dtype: str, num_persons: int):
    sample = with_checksums({"keypoints.npy": as_npy(np.ones((num_persons, 6, 17, 3), dtype))})
    opened = open_sample(sample, row(), ENTRY, manifest())
    assert opened.faults == () and opened.keypoints.shape == (num_persons, 6, 17, 3)


@pytest.mark.parametrize("shape", [(5, 17, 8, 8), (6, 16, 8, 8), (6, 17, 9, 8), (6, 17, 8, 7)])
def test_a_heatmap_of_another_shape_is_a_fault(shape: tuple[int, ...]):
    data = zstandard.compress(as_npy(np.zeros(shape, np.uint8)))
    opened = open_sample(with_checksums({"heatmap.npy.zst": data}), row(), ENTRY, manifest())
    (fault,) = opened.faults
    assert (fault.member, fault.check, fault.offset) == ("heatmap.npy.zst", "heatmap", 0)
    assert fault.what.endswith(f"must be (6, 17, 8, 8), got {shape}")
    assert opened.heatmap is None and opened.keypoints is not None


@pytest.mark.parametrize(("change", "end"), [(-3, -3), (5, 0)])
def test_offsets_that_do_not_end_with_the_member_are_a_fault(change: int, end: int):
    frames = bytes(members()["rgb.mjpeg"])
    changed = frames[:change] if change < 0 else frames + bytes(change)
    opened = open_sample(with_checksums({"rgb.mjpeg": changed}), row(), ENTRY, manifest())
    first = opened.faults[0]
    assert first.what == f"frame_offsets end at {len(frames)}, the member has {len(changed)} bytes"
    assert (first.member, first.check, first.offset) == ("rgb.mjpeg", "frames", len(frames) + end)


@pytest.mark.parametrize("offsets", [None, "0123456", ["0"] * 7, {"0": 0}, [0.5] * 7])
def test_offsets_that_are_no_integers_are_a_fault(offsets: object):
    (fault,) = open_sample(json_with(frame_offsets=offsets), row(), ENTRY, manifest()).faults
    assert fault.member == "json" and re.search(r"frame_offsets(\[0\])?: expected (array|int), got", fault.what)


def test_the_name_gives_the_key():
    (fault,) = json_faults(sample_info(name="train/clip-2"), row(), ENTRY, manifest())
    assert fault == "says name train/clip-2, whose key is clip-2, not clip-1"
    (fault,) = json_faults(sample_info(name="../clip-1"), row(), ENTRY, manifest())
    assert fault == "says name ../clip-1, whose key is none, not clip-1"
