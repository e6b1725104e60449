"""Sample <-> its four members in a shard, and the table of codecs: one row per way to store a member.

A stored heatmap differs from the float one by at most `HEATMAP_TOLERANCE` of its scale; keypoints are stored unchanged;
frames are JPEGs. Every member can be opened without this package: `json`, `numpy.load`, `zstd -d`, `ffplay`.

To add a codec, write its functions and add a row. A codec's name is the ending of its member, so a tar shows how it is
stored; `manifest.json` names the codecs of its shards.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import simplejpeg
import zstandard
from numpy.typing import NDArray

from epam_data.schema import Sample
from epam_data.shards.head import HEAD, read_head, write_head
from epam_data.shards.settings import ShardSettings

ROLES = ("info", "keypoints", "heatmap", "frames")
"""The members of a sample, in the order of the shard."""

INFO, KEYPOINTS, HEATMAP, FRAMES = range(len(ROLES))

HEATMAP_TOLERANCE = 0.5 / 255
"""Largest error of a stored heatmap value, as a share of the sample's `heatmap_scale`."""

Data = bytes | memoryview

_USUAL_SETTINGS = ShardSettings()

_NPY_ERRORS = (ValueError, TypeError, MemoryError, SyntaxError, tokenize.TokenError)
"""What NumPy raises for a damaged array: it parses the header as Python source, and a damaged size can be anything."""


@dataclass(frozen=True, kw_only=True)
class ArrayCodec:
    """A way to store an array as a member. `decode` raises a ValueError for damaged data."""

    encode: Callable[[NDArray[Any], ShardSettings], bytes]
    decode: Callable[[Data], NDArray[Any]]  # may be read-only


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


def _decode_npy(data: Data) -> NDArray[Any]:
    try:
        file = io.BytesIO(data)
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.tell() != len(data):
            raise ValueError(f"{len(data) - file.tell()} bytes after the array")
    except _NPY_ERRORS as error:
        raise ValueError(f"damaged ({error})") from error
    return array


def _encode_npy_zst(array: NDArray[Any], settings: ShardSettings) -> bytes:
    # The compressor stores the content size in the header, so readers can check it before decoding.
    return zstandard.ZstdCompressor(level=settings.zstd_level).compress(_npy(array))


def _decode_npy_zst(data: Data) -> NDArray[np.uint8]:
    try:
        raw = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        start = 10 + int.from_bytes(raw[8:10], "little")
        shape = _bytes_shape(raw[:start])
        # A view of the decompressed bytes: np.load would copy the volume again.
        return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
    except (zstandard.ZstdError, *_NPY_ERRORS) as error:
        raise ValueError(f"damaged ({error})") from error


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
CODECS: Mapping[str, Iterable[str]] = dict(
    zip(ROLES, ((HEAD,), KEYPOINT_CODECS, HEATMAP_CODECS, FRAME_CODECS), strict=True)
)


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
        return _decode_array(KEYPOINT_CODECS, self.keypoints, data)

    def decode_heatmap(self, data: Data) -> NDArray[np.uint8]:
        """(T, V, h, w) uint8, may be read-only."""
        return _decode_array(HEATMAP_CODECS, self.heatmap, data)

    def decode_frame(self, data: Data, out: NDArray[np.uint8], frame: int) -> None:
        """Frame number `frame` into `out` (S, S, 3) uint8 RGB, C-ordered."""
        try:
            FRAME_CODECS[self.frames].decode(data, out)
        except ValueError as error:
            raise ValueError(f"{self.frames}: frame {frame}: {error}") from error

    def frame_size(self, data: Data) -> tuple[int, int]:
        """(H, W) of one frame, without decoding its pixels."""
        return FRAME_CODECS[self.frames].size(data)


def _decode_array(codecs: dict[str, ArrayCodec], name: str, data: Data) -> NDArray[Any]:
    try:
        return codecs[name].decode(data)
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
    frames = np.empty((info.num_frames, info.rgb_size_px, info.rgb_size_px, 3), np.uint8)
    try:
        for frame, (start, end) in enumerate(pairwise(head.members.frame_offsets)):
            codecs.decode_frame(stored[start:end], frames[frame], frame)
        keypoints = codecs.decode_keypoints(members[codecs.keypoints])
        heatmap = codecs.decode_heatmap(members[codecs.heatmap])
    except ValueError as error:
        raise ValueError(f"{info.key}: {error}") from error
    return Sample(info=info, keypoints=keypoints, heatmap=heatmap, frames=frames)


def absent_members(endings: Container[str]) -> list[str]:
    """The missing members of a sample with these endings, by their endings in `MEMBERS`."""
    present = [any(name in endings for name in names) for names in CODECS.values()]
    return [ending for ending, is_there in zip(MEMBERS, present, strict=True) if not is_there]
