"""Sample <-> the four members of a shard.

Quantisation: a stored heatmap differs from the float one by at most `HEATMAP_TOLERANCE` of its scale; keypoints are
stored untouched; frames are JPEGs. Every member opens without this package: `json`, `numpy.load`, `zstd -d`, `ffplay`.
"""

from __future__ import annotations

import io
import json
import tokenize
import zlib
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import simplejpeg
import zstandard
from numpy.typing import NDArray

from epam_data.schema import Sample, SampleInfo

MEMBERS = ("json", "keypoints.npy", "heatmap.npy.zst", "rgb.mjpeg")
"""The endings of a sample's members, in the order in which they lie in a shard."""

HEATMAP_TOLERANCE = 0.5 / 255
"""Largest error of a stored heatmap value, as a share of the sample's `heatmap_scale`."""

_NPY_ERRORS = (ValueError, TypeError, MemoryError, SyntaxError, tokenize.TokenError)
"""What NumPy raises for a damaged array; its header is read as Python source, and a damaged size may be any."""


def encode(sample: Sample, *, jpeg_quality: int = 90, zstd_level: int = 3) -> dict[str, bytes]:
    """The members of a sample, by ending; the same sample gives the same bytes.

    Args:
        sample: what to store.
        jpeg_quality: 1 to 100; chroma is stored at half resolution.
        zstd_level: 1 to 22.
    """
    jpegs = [
        simplejpeg.encode_jpeg(frame, quality=jpeg_quality, colorspace="RGB", colorsubsampling="420")
        for frame in sample.frames
    ]
    offsets = np.cumsum([0, *map(len, jpegs)]).tolist()
    arrays = {
        "keypoints.npy": _npy(sample.keypoints),
        # The content size goes into the frame's header, so that a reader can check it before it decodes.
        "heatmap.npy.zst": zstandard.ZstdCompressor(level=zstd_level).compress(_npy(sample.heatmap)),
        "rgb.mjpeg": b"".join(jpegs),
    }
    # A reader of single frames cannot check the member as a whole, and libjpeg sees few of the bits that may flip.
    frames = {"frame_offsets": offsets, "frame_crc32": list(map(zlib.crc32, jpegs))}
    values = {**sample.info.to_dict(), **frames, "crc32": {}}
    members = {"json": _json(values), **arrays}
    checksums = {ending: checksum(ending, data) for ending, data in members.items()}
    return {**members, "json": _json({**values, "crc32": checksums})}


def checksum(ending: str, data: bytes | memoryview) -> int:
    """CRC-32 of a member, as `crc32` in `KEY.json` says it; of `KEY.json`, of all but the object `crc32` itself."""
    if ending != "json":
        return zlib.crc32(data)
    before, _, rest = bytes(data).partition(b'"crc32":{')
    return zlib.crc32(rest.partition(b"}")[2], zlib.crc32(before))


def check_checksum(values: dict[str, Any], ending: str, data: bytes | memoryview) -> None:
    """Refuse a member that is not what `KEY.json` was written with; one of which it says nothing passes.

    Args:
        values: the content of `KEY.json`.
        ending: of the member.
        data: the member's bytes.

    Raises:
        ValueError: the member's CRC-32 is another.
    """
    checksums = values.get("crc32")
    if isinstance(checksums, dict) and ending in checksums and checksums[ending] != checksum(ending, data):
        raise ValueError(f"{'KEY.json' if ending == 'json' else ending}: damaged (its CRC-32 is not that in KEY.json)")


def check_frame(values: dict[str, Any], frame: int, jpeg: bytes | memoryview) -> None:
    """Refuse a frame that is not what `KEY.json` was written with, as `check_checksum` does with a whole member."""
    checksums = values.get("frame_crc32")
    if isinstance(checksums, list) and frame < len(checksums) and checksums[frame] != zlib.crc32(jpeg):
        raise ValueError(f"rgb.mjpeg: frame {frame}: damaged (its CRC-32 is not that in KEY.json)")


def decode(members: dict[str, bytes]) -> Sample:
    """The sample that `encode` stored; frames within the JPEG's loss, everything else exact.

    Raises:
        ValueError: a member is absent or damaged; the key is named.
    """
    absent = [name for name in MEMBERS if name not in members]
    if absent:
        raise ValueError(f"the sample lacks {', '.join(absent)}")
    info, offsets = decode_info(members["json"])
    size = info.rgb_size_px
    frames = np.empty((info.num_frames, size, size, 3), np.uint8)
    try:
        decode_frames(members["rgb.mjpeg"], offsets, range(info.num_frames), frames)
        keypoints = decode_keypoints(members["keypoints.npy"])
        heatmap = decode_heatmap(members["heatmap.npy.zst"])
    except ValueError as error:
        raise ValueError(f"{info.key}: {error}") from error
    return Sample(info=info, keypoints=keypoints, heatmap=heatmap, frames=frames)


def decode_info(data: bytes) -> tuple[SampleInfo, list[int]]:
    """`KEY.json` as the sample's info and the T + 1 byte offsets of its frames inside `KEY.rgb.mjpeg`.

    Raises:
        ValueError: no JSON, a field is absent, or the offsets do not fit the number of frames.
    """
    return info_from_json(decode_json(data))


def decode_json(data: bytes) -> dict[str, Any]:
    """What `KEY.json` holds; a ValueError if that is no JSON object."""
    try:
        values = json.loads(data)
    except ValueError as error:
        raise ValueError(f"KEY.json: no JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"KEY.json must hold an object, got {type(values).__name__}")
    return values


def info_from_json(values: dict[str, Any]) -> tuple[SampleInfo, list[int]]:
    """What `decode_info` gives, of a `KEY.json` that was decoded already."""
    info = SampleInfo.from_dict(values)
    offsets: list[int] = values.get("frame_offsets", [])
    if not isinstance(offsets, list) or not all(type(offset) is int for offset in offsets):
        raise ValueError(f"{info.key}: frame_offsets must be a list of integers, got {str(offsets)[:80]}")
    if len(offsets) != info.num_frames + 1:
        raise ValueError(f"{info.key}: frame_offsets must be {info.num_frames + 1} numbers, got {len(offsets)}")
    if offsets[0] != 0 or any(end <= start for start, end in pairwise(offsets)):
        raise ValueError(f"{info.key}: frame_offsets must rise from 0")
    return info, offsets


def decode_keypoints(data: bytes) -> NDArray[np.floating]:
    """`KEY.keypoints.npy` as (M, T, V, 3): x, y, score.

    Raises:
        ValueError: the array is damaged.
    """
    try:
        file = io.BytesIO(data)
        keypoints: NDArray[np.floating] = np.lib.format.read_array(file, allow_pickle=False)
        if file.tell() != len(data):
            raise ValueError(f"{len(data) - file.tell()} bytes behind the array")
    except _NPY_ERRORS as error:
        raise ValueError(f"keypoints.npy: damaged ({error})") from error
    return keypoints


def decode_heatmap(data: bytes | memoryview) -> NDArray[np.uint8]:
    """`KEY.heatmap.npy.zst` as (T, V, h, w) uint8, read-only.

    Raises:
        ValueError: the zstd frame or the array inside is damaged.
    """
    try:
        raw = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        start = 10 + int.from_bytes(raw[8:10], "little")
        shape = _heatmap_shape(raw[:start])
        # A view of the decompressed bytes: np.load would copy the volume once more.
        return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
    except (zstandard.ZstdError, *_NPY_ERRORS) as error:
        raise ValueError(f"heatmap.npy.zst: damaged ({error})") from error


@lru_cache(maxsize=4096)  # NumPy compiles it as Python source, and clips of one length have the same
def _heatmap_shape(header: bytes) -> tuple[int, ...]:
    """What the header of a npy file of bytes says."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"expected npy format 1.0, got {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.uint8 or fortran:
        raise ValueError(f"expected C-ordered uint8, got {dtype}, fortran_order={fortran}")
    return shape


def decode_frames(mjpeg: bytes | memoryview, offsets: list[int], indices: Any, out: NDArray[np.uint8]) -> None:
    """Decode chosen frames into `out`.

    Args:
        mjpeg: `KEY.rgb.mjpeg`.
        offsets: T + 1 byte offsets of the frames.
        indices: n frame numbers in 0 ... T - 1.
        out: (n, S, S, 3) uint8, C-ordered; filled with RGB.

    Raises:
        ValueError: a frame is damaged or has another size; its number is named.
    """
    view = memoryview(mjpeg)
    for slot, index in zip(out, indices, strict=True):
        decode_jpeg(view[offsets[index] : offsets[index + 1]], slot, what=f"frame {index}")


def decode_jpeg(data: bytes | memoryview, out: NDArray[np.uint8], what: str) -> None:
    """Decode one JPEG into `out` (S, S, 3) uint8; a ValueError names `what` where it is damaged."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        if (height, width) != out.shape[:2]:
            raise ValueError(f"expected {out.shape[0]} x {out.shape[1]} pixels, got {height} x {width}")
        simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=out)
    except ValueError as error:
        raise ValueError(f"rgb.mjpeg: {what}: {error}") from error


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
