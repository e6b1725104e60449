"""`KEY.json`, the head of a sample: its description, the offsets of its frames, the checksums of its members."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from epam_data.schema import MAX_KEY_LENGTH, SCHEMA_VERSION, SampleInfo, check_version
from epam_data.system.printable import brief, printable
from epam_data.system.typed_json import decode_json

HEAD = "json"
"""The ending of this member, whatever the codecs of the others."""

MAX_HEAD_BYTES = 8 << 20
"""Largest `KEY.json`: that of 400,000 frames."""


@dataclass(frozen=True, kw_only=True)
class MemberTable:
    """The part of `KEY.json` about the other members."""

    frame_offsets: list[int]  # T + 1 byte offsets: frame i is from offset i to offset i + 1 of its member
    crc32: dict[str, int] = field(default_factory=dict)  # of each member, by ending
    frame_crc32: list[int] | None = None  # of each frame; None: an older shard


@dataclass(frozen=True, kw_only=True)
class SampleHead:
    """The content of `KEY.json`."""

    info: SampleInfo
    members: MemberTable

    def check(self, ending: str, data: bytes | memoryview) -> None:
        """Compare a member with its CRC-32 in `KEY.json`; members without one pass.

        Raises:
            ValueError: the CRC-32 differs.
        """
        crc32 = self.members.crc32
        if ending in crc32 and crc32[ending] != checksum(ending, data):
            name = "KEY.json" if ending == HEAD else ending
            raise ValueError(f"{name}: damaged (its CRC-32 is not that in KEY.json)")

    def check_frame(self, ending: str, frame: int, data: bytes | memoryview) -> None:
        """The same for one frame of the member `ending`."""
        crc32 = self.members.frame_crc32
        if crc32 is not None and frame < len(crc32) and crc32[frame] != zlib.crc32(data):
            raise ValueError(f"{ending}: frame {frame}: damaged (its CRC-32 is not that in KEY.json)")


@dataclass(frozen=True, kw_only=True)
class _Name:
    schema: Any = None
    key: Any = None


def read_head(data: bytes | memoryview) -> SampleHead:
    """Parse `KEY.json`; unknown fields are ignored, so that version 1 can be extended.

    Raises:
        ValueError: too large, not JSON, a field is missing or invalid, the offsets do not match the number of frames,
            or the version is newer than this code; names the key.
    """
    if len(data) > MAX_HEAD_BYTES:
        raise ValueError(f"KEY.json: has {len(data)} bytes, expected {MAX_HEAD_BYTES} or less")
    name = decode_json(data, _Name, "KEY.json")
    key = printable(name.key, MAX_KEY_LENGTH) if isinstance(name.key, str) else brief(name.key, MAX_KEY_LENGTH)
    check_version(name.schema, key)
    what = f"{key}: KEY.json"
    info, members = decode_json(data, SampleInfo, what), decode_json(data, MemberTable, what)
    offsets = members.frame_offsets
    if len(offsets) != info.num_frames + 1:
        raise ValueError(f"{info.key}: frame_offsets must be {info.num_frames + 1} numbers, got {len(offsets)}")
    if offsets[0] != 0 or any(end <= start for start, end in pairwise(offsets)):
        raise ValueError(f"{info.key}: frame_offsets must rise from 0")
    return SampleHead(info=info, members=members)


def write_head(info: SampleInfo, frames: list[bytes], members: dict[str, bytes]) -> bytes:
    """`KEY.json` of a sample; equal samples give equal bytes.

    Args:
        info: description of the sample.
        frames: each encoded frame.
        members: the other members, by ending.

    Raises:
        ValueError: `read_head` would refuse it; names the key and the field.
    """
    offsets = [0]
    for frame in frames:
        offsets.append(offsets[-1] + len(frame))
    # Frames have their own checksums: a reader of single frames cannot check the whole member, and libjpeg misses most
    # flipped bits.
    table = {"frame_offsets": offsets, "frame_crc32": list(map(zlib.crc32, frames))}
    values = {"schema": SCHEMA_VERSION, **asdict(info), **table, "crc32": {}}
    all_members = {HEAD: _json(values), **members}
    head = _json({**values, "crc32": {ending: checksum(ending, data) for ending, data in all_members.items()}})
    read_head(head)  # a shard that nobody can read would only be noticed after the build
    return head


def checksum(ending: str, data: bytes | memoryview) -> int:
    """CRC-32 of a member, as stored in `KEY.json`; for `KEY.json` itself, without the object `crc32`."""
    if ending != HEAD:
        return zlib.crc32(data)
    before, _, rest = bytes(data).partition(b'"crc32":{')
    return zlib.crc32(rest.partition(b"}")[2], zlib.crc32(before))


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
