"""Sample <-> its four members in a shard, and the table of codecs: one row per way to store a member.

A stored heatmap differs from the float one by at most `HEATMAP_TOLERANCE` of its scale; keypoints are stored unchanged;
frames are JPEGs. Every member can be opened without this package: `json`, `numpy.load`, `zstd -d`, `ffplay`.

To add a codec, write its functions and add a row. A codec's name is the ending of its member, so a tar shows how it is
stored; `manifest.json` names the codecs of its shards.
"""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import simplejpeg
import zstandard
from numpy.typing import NDArray

from epam_data.schema import Sample, SampleInfo
from epam_data.shards.head import HEAD, read_head, write_head
from epam_data.shards.settings import ShardSettings
from epam_data.system.printable import brief, printable

HEATMAP_TOLERANCE = 0.5 / 255
"""Largest error of a stored heatmap value, as a share of the sample's `heatmap_scale`."""

Data = bytes | memoryview

_USUAL_SETTINGS = ShardSettings()

_NPY_ERRORS = (ValueError, TypeError, MemoryError, SyntaxError, tokenize.TokenError)
"""What NumPy raises for a damaged array: it parses the header as Python source, and a damaged size can be anything."""


MAX_ARRAY_BYTES = 1 << 30
"""Largest decoded array of a member: a heatmap volume of 20,000 frames."""

_MAX_NPY_HEADER_BYTES = 1 << 17
_NPY_HEADERS: Mapping[tuple[int, int], Callable[[BinaryIO], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

_MAX_JPEG_RATIO = 1000  # decoded bytes of a frame to stored ones: one of a single colour has some 500


@dataclass(frozen=True, kw_only=True)
class ArrayCodec:
    """A way to store an array as a member. `decode` raises a ValueError for damaged data, and for larger arrays."""

    encode: Callable[[NDArray[Any], ShardSettings], bytes]
    decode: Callable[[Data, int], NDArray[Any]]  # at most so many bytes; may be read-only


@dataclass(frozen=True, kw_only=True)
class FrameCodec:
    """A way to store frames one after another, each decodable without the others.

    `decode` and `size` raise a ValueError for damaged data.
    """

    encode: Callable[[NDArray[np.uint8], ShardSettings], bytes]  # of one frame, (S, S, 3) RGB
    decode: Callable[[Data, NDArray[np.uint8]], None]  # one frame into (S, S, 3) RGB, C-ordered
    size: Callable[[Data], tuple[int, int]]  # (H, W) of one frame; checks its start and end, decodes no pixels


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _encode_npy(array: NDArray[Any], _: ShardSettings) -> bytes:
    return _npy(array)


def _decode_npy(data: Data, max_bytes: int) -> NDArray[Any]:
    try:
        start, shape, fortran, dtype = _npy_header(data)
        if dtype.kind not in "fiu":
            raise ValueError(f"expected numbers, got {brief(dtype, 60)}")
        # NumPy's own reader takes the memory that the header asks for before it looks for the bytes.
        num_bytes = math.prod(shape) * dtype.itemsize
        if num_bytes < len(data) - start:
            raise ValueError(f"{len(data) - start - num_bytes} bytes after the array")
        if min(shape, default=0) < 0 or num_bytes != len(data) - start or num_bytes > max_bytes:
            raise ValueError(f"its header says {brief(shape, 60)} {dtype}, there are {len(data) - start} bytes")
        flat = np.frombuffer(data, dtype, offset=start) if num_bytes else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")
    except _NPY_ERRORS as error:
        raise ValueError(f"damaged ({printable(error) or type(error).__name__})") from error


def _npy_header(data: Data) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Where the data of an npy file start, the shape, whether it is in Fortran's order, and the dtype."""
    file = io.BytesIO(data[:_MAX_NPY_HEADER_BYTES])
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:
        raise ValueError(f"expected npy format 1.0 or 2.0, got {version}")
    shape, fortran, dtype = _NPY_HEADERS[version](file)
    return file.tell(), shape, fortran, dtype


def _encode_npy_zst(array: NDArray[Any], settings: ShardSettings) -> bytes:
    # The compressor stores the content size in the header, so readers can check it before decoding.
    return zstandard.ZstdCompressor(level=settings.zstd_level).compress(_npy(array))


def _decode_npy_zst(data: Data, max_bytes: int) -> NDArray[np.uint8]:
    try:
        stated = zstandard.get_frame_parameters(data).content_size  # of an unknown one, the largest number
        if stated > max_bytes + _MAX_NPY_HEADER_BYTES:
            raise ValueError(f"a frame of {stated} bytes, expected {max_bytes} or less")
        raw = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        start = 10 + int.from_bytes(raw[8:10], "little")
        shape = _bytes_shape(raw[:start])
        # A view of the decompressed bytes: np.load would copy the volume again.
        return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
    except (zstandard.ZstdError, *_NPY_ERRORS) as error:
        raise ValueError(f"damaged ({printable(error) or type(error).__name__})") from error


@lru_cache(maxsize=4096)  # NumPy compiles the header as Python source; clips of equal length share it
def _bytes_shape(header: bytes) -> tuple[int, ...]:
    """The array shape in the header of a uint8 npy file."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"expected npy format 1.0, got {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.uint8 or fortran:
        raise ValueError(f"expected C-ordered uint8, got {dtype}, fortran_order={fortran}")
    return shape


def _encode_jpeg(frame: NDArray[np.uint8], settings: ShardSettings) -> bytes:
    data: bytes = simplejpeg.encode_jpeg(frame, quality=settings.jpeg_quality, colorspace="RGB", colorsubsampling="420")
    return data


def _decode_jpeg(data: Data, out: NDArray[np.uint8]) -> None:
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    if (height, width) != out.shape[:2]:
        raise ValueError(f"expected {out.shape[0]} x {out.shape[1]} pixels, got {height} x {width}")
    simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=out)


def _jpeg_size(data: Data) -> tuple[int, int]:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise ValueError(f"not a JPEG ({error})") from error
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        raise ValueError("not one complete JPEG")
    return height, width


KEYPOINT_CODECS: dict[str, ArrayCodec] = {"keypoints.npy": ArrayCodec(encode=_encode_npy, decode=_decode_npy)}
HEATMAP_CODECS: dict[str, ArrayCodec] = {"heatmap.npy.zst": ArrayCodec(encode=_encode_npy_zst, decode=_decode_npy_zst)}
FRAME_CODECS: dict[str, FrameCodec] = {
    "rgb.mjpeg": FrameCodec(encode=_encode_jpeg, decode=_decode_jpeg, size=_jpeg_size)
}
CODECS: Mapping[str, Iterable[str]] = {
    "info": (HEAD,),
    "keypoints": KEYPOINT_CODECS,
    "heatmap": HEATMAP_CODECS,
    "frames": FRAME_CODECS,
}

ROLES = tuple(CODECS)
"""The members of a sample, in the order of the shard."""

INFO, KEYPOINTS, HEATMAP, FRAMES = range(len(ROLES))


@dataclass(frozen=True, kw_only=True)
class MemberCodecs:
    """The codec of each member, by name. Builds write the defaults; they also apply to older manifests without codecs.

    If a member is damaged, the methods raise a ValueError that names it.
    """

    info: str = HEAD
    keypoints: str = "keypoints.npy"
    heatmap: str = "heatmap.npy.zst"
    frames: str = "rgb.mjpeg"

    def __post_init__(self) -> None:
        for role, allowed in CODECS.items():
            if (name := getattr(self, role)) not in tuple(allowed):
                raise ValueError(f"codecs.{role} must be one of {', '.join(allowed)}, got {name!r}")

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of the members, in the order of the shard."""
        return tuple(getattr(self, role) for role in ROLES)

    def decode_keypoints(self, data: Data) -> NDArray[np.floating]:
        """(M, T, V, 3): x, y, score."""
        return _decode_array(KEYPOINT_CODECS, self.keypoints, data, MAX_ARRAY_BYTES)

    def decode_heatmap(self, data: Data, max_bytes: int = MAX_ARRAY_BYTES) -> NDArray[np.uint8]:
        """(T, V, h, w) uint8, may be read-only; a volume of more than `max_bytes` is refused before it is decoded."""
        return _decode_array(HEATMAP_CODECS, self.heatmap, data, min(max_bytes, MAX_ARRAY_BYTES))

    def decode_frame(self, data: Data, out: NDArray[np.uint8], frame: int) -> None:
        """Frame number `frame` into `out` (S, S, 3) uint8 RGB, C-ordered."""
        try:
            FRAME_CODECS[self.frames].decode(data, out)
        except ValueError as error:
            raise ValueError(f"{self.frames}: frame {frame}: {error}") from error

    def frame_size(self, data: Data) -> tuple[int, int]:
        """(H, W) of one frame, without decoding its pixels."""
        return FRAME_CODECS[self.frames].size(data)


def _decode_array(codecs: dict[str, ArrayCodec], name: str, data: Data, max_bytes: int) -> NDArray[Any]:
    try:
        return codecs[name].decode(data, max_bytes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


USUAL_CODECS = MemberCodecs()
"""The codecs that builds write."""

MEMBERS = USUAL_CODECS.endings
"""The member endings that builds write."""


def encode(
    sample: Sample, settings: ShardSettings = _USUAL_SETTINGS, codecs: MemberCodecs = USUAL_CODECS
) -> dict[str, bytes]:
    """The members of a sample, by ending, in the order of the shard; equal samples give equal bytes.

    Args:
        sample: the sample to store.
        settings: JPEG quality and zstd level.
        codecs: codec of each member.
    """
    frames = [FRAME_CODECS[codecs.frames].encode(frame, settings) for frame in sample.frames]
    members = {
        codecs.keypoints: KEYPOINT_CODECS[codecs.keypoints].encode(sample.keypoints, settings),
        codecs.heatmap: HEATMAP_CODECS[codecs.heatmap].encode(sample.heatmap, settings),
        codecs.frames: b"".join(frames),
    }
    return {codecs.info: write_head(sample.info, frames, members), **members}


def decode(members: Mapping[str, bytes]) -> Sample:
    """The sample that `encode` stored; frames with JPEG loss, everything else exact.

    Raises:
        ValueError: a member is missing or damaged; names the key.
    """
    if absent := absent_members(members):
        raise ValueError(f"the sample lacks {', '.join(absent)}")
    codecs = MemberCodecs(**{role: next(name for name in names if name in members) for role, names in CODECS.items()})
    head = read_head(members[codecs.info])
    info, stored = head.info, memoryview(members[codecs.frames])
    try:
        frames = np.empty(frames_shape(info, len(stored), codecs), np.uint8)
        for frame, (start, end) in enumerate(pairwise(head.members.frame_offsets)):
            codecs.decode_frame(stored[start:end], frames[frame], frame)
        keypoints = codecs.decode_keypoints(members[codecs.keypoints])
        heatmap = codecs.decode_heatmap(members[codecs.heatmap], _heatmap_bytes(info, keypoints))
    except ValueError as error:
        raise ValueError(f"{info.key}: {error}") from error
    return Sample(info=info, keypoints=keypoints, heatmap=heatmap, frames=frames)


def frames_shape(info: SampleInfo, num_bytes: int, codecs: MemberCodecs) -> tuple[int, int, int, int]:
    """The shape of all frames, if the stored bytes can be so many pixels: the size comes from `KEY.json` alone."""
    shape = (info.num_frames, info.rgb_size_px, info.rgb_size_px, 3)
    if math.prod(shape) > num_bytes * _MAX_JPEG_RATIO:
        size = f"{info.num_frames} frames of {info.rgb_size_px} pixels square"
        raise ValueError(f"{codecs.frames}: {num_bytes} bytes cannot be {size}")
    return shape


def _heatmap_bytes(info: SampleInfo, keypoints: NDArray[np.floating]) -> int:
    """The most bytes that the heatmap of a sample can have."""
    joints = keypoints.shape[2] if keypoints.ndim == 4 else 1
    channels = joints if info.heatmap_kind == "joints" else max(joints * (joints - 1) // 2, 1)
    return info.num_frames * channels * info.heatmap_size_px**2


def absent_members(endings: Container[str]) -> list[str]:
    """The missing members of a sample with these endings, by their endings in `MEMBERS`."""
    absent = [role for role, names in CODECS.items() if not any(name in endings for name in names)]
    return [getattr(USUAL_CODECS, role) for role in absent]
