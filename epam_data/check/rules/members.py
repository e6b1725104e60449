"""The four members of one sample, in breadth: does each open, and do they agree with each other and the manifest."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from epam_data.schema import SampleInfo, key_from_name, stored_label
from epam_data.shards.codec import MEMBERS, checksum, decode_frames, decode_heatmap, decode_info, decode_keypoints
from epam_data.shards.layout import IndexRow
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.skeleton import SkeletonLayout

_CHECKS = {"json": "json", "keypoints.npy": "keypoints", "heatmap.npy.zst": "heatmap", "rgb.mjpeg": "frames"}
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something wrong with one member."""

    member: str
    what: str
    offset: int = 0  # byte in the member's content
    check: str = ""  # as in `Finding`; "": that of the member

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", self.check or _CHECKS[self.member])


@dataclass(frozen=True, kw_only=True)
class OpenedSample:
    """What could be opened of a sample; None: it could not, and a `Fault` says why."""

    info: SampleInfo | None
    frame_offsets: list[int]
    keypoints: NDArray[np.floating] | None  # (M, T, V, 3), see `Sample`
    heatmap: NDArray[np.uint8] | None  # (T, V, h, w), see `Sample`
    faults: tuple[Fault, ...]


def open_sample(members: dict[str, memoryview], row: IndexRow, entry: ShardEntry, manifest: Manifest) -> OpenedSample:
    """Open everything but the frames' pixels.

    Args:
        members: the content of each member, by ending.
        row: what the index says of the sample.
        entry: what the manifest says of its shard.
        manifest: the settings that all samples share.
    """
    try:
        info, offsets = decode_info(bytes(members["json"]))
    except ValueError as error:
        return OpenedSample(
            info=None, frame_offsets=[], keypoints=None, heatmap=None, faults=(Fault(member="json", what=str(error)),)
        )
    faults = [Fault(member="json", what=what) for what in json_faults(info, row, entry, manifest)]
    faults += crc_faults(members)
    keypoints, heatmap = None, None
    try:
        keypoints = _open_keypoints(members["keypoints.npy"], info, manifest.layout)
    except ValueError as error:
        faults.append(Fault(member="keypoints.npy", what=str(error)))
    try:
        heatmap = _open_heatmap(members["heatmap.npy.zst"], info, manifest.layout)
    except ValueError as error:
        faults.append(Fault(member="heatmap.npy.zst", what=str(error)))
    faults += mjpeg_faults(members["rgb.mjpeg"], offsets, info)
    return OpenedSample(info=info, frame_offsets=offsets, keypoints=keypoints, heatmap=heatmap, faults=tuple(faults))


def json_faults(info: SampleInfo, row: IndexRow, entry: ShardEntry, manifest: Manifest) -> Iterator[str]:
    """`KEY.json` against the member's name, the index, the shard and the manifest."""
    if info.key != row.key:
        yield f"says key {info.key}, the member's name {row.key}"
    try:
        if key_from_name(info.name) != info.key:
            yield f"says name {info.name}, whose key is {key_from_name(info.name)}, not {info.key}"
    except ValueError as error:
        yield f"name: {error}"
    if info.split != entry.split:
        yield f"says split {info.split}, the shard is of {entry.split}"
    labels = [stored_label(label) for label in (info.label, info.coarse_label)]
    if [*labels, info.num_frames] != [row.label, row.coarse_label, row.num_frames]:
        yield (
            f"label, coarse label and frames are {labels[0]}, {labels[1]}, {info.num_frames}, "
            f"the index has {row.label}, {row.coarse_label}, {row.num_frames}"
        )
    if info.label is None:
        if info.coarse_label is not None:
            yield f"the label is hidden, so the coarse label must be, got {info.coarse_label}"
    elif not 0 <= info.label < len(manifest.classes):
        yield f"label must be in 0..{len(manifest.classes) - 1}, got {info.label}"
    elif info.coarse_label != (wanted_coarse := manifest.coarse_of[info.label] if manifest.coarse_of else None):
        yield f"coarse label of class {info.label} must be {wanted_coarse}, got {info.coarse_label}"
    wanted = {"skeleton": manifest.skeleton}
    wanted |= {name: manifest.prepare[name] for name in ("rgb_size_px", "heatmap_size_px", "heatmap_kind", "sigma_px")}
    for name, value in wanted.items():
        if getattr(info, name) != value:
            yield f"{name} must be {value}, as in the manifest, got {getattr(info, name)}"


def crc_faults(members: dict[str, memoryview]) -> Iterator[Fault]:
    """Each member against the checksum in `KEY.json`: names the member of any flipped bit, even in a JPEG's pixels."""
    values = json.loads(bytes(members["json"]))
    checksums = values.get("crc32")
    # Shards that are older than the checksum of KEY.json itself lack that one.
    if not isinstance(checksums, dict) or set(checksums) - {"json"} != set(MEMBERS[1:]):
        yield Fault(member="json", what=f"crc32 must be of {', '.join(MEMBERS[1:])}, got {str(checksums)[:80]}")
        return
    for ending, wanted in checksums.items():
        if checksum(ending, members[ending]) != wanted:
            yield Fault(member=ending, what="its CRC-32 is not the one that KEY.json says")
            if ending == "rgb.mjpeg":
                return
    frames = [members["rgb.mjpeg"][start:end] for start, end in pairwise(values["frame_offsets"])]
    if values.get("frame_crc32", own := list(map(zlib.crc32, frames))) != own:
        yield Fault(member="json", what="frame_crc32 must be of the frames in rgb.mjpeg")


def mjpeg_faults(mjpeg: memoryview, offsets: list[int], info: SampleInfo) -> Iterator[Fault]:
    """The frames' places, their JPEG headers and marks, without decoding pixels."""

    def fault(what: str, offset: int = 0) -> Fault:
        return Fault(member="rgb.mjpeg", what=what, offset=offset)

    if offsets[-1] != len(mjpeg):  # `decode_info` has seen them rise from 0
        yield fault(
            f"frame_offsets end at {offsets[-1]}, the member has {len(mjpeg)} bytes", min(offsets[-1], len(mjpeg))
        )
    size = info.rgb_size_px
    for frame, (start, end) in enumerate(pairwise(offsets)):
        jpeg = mjpeg[start:end]
        try:
            height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
        except ValueError as error:
            yield fault(f"frame {frame} is no JPEG ({error})", start)
            continue
        if (height, width) != (size, size):
            yield fault(f"frame {frame} must be {size} pixels square, got {height} x {width}", start)
        if jpeg[:2] != _JPEG_START or jpeg[-2:] != _JPEG_END:
            yield fault(f"frame {frame} is not one whole JPEG", start)


def decode_all_frames(mjpeg: memoryview, opened: OpenedSample) -> tuple[NDArray[np.uint8] | None, Fault | None]:
    """Every pixel of every frame: (T, S, S, 3) uint8 RGB, or the first frame that does not decode."""
    info, offsets = opened.info, opened.frame_offsets
    assert info is not None
    frames = np.empty((info.num_frames, info.rgb_size_px, info.rgb_size_px, 3), np.uint8)
    for frame in range(info.num_frames):
        try:
            decode_frames(mjpeg, offsets, [frame], frames[frame : frame + 1])
        except ValueError as error:
            return None, Fault(member="rgb.mjpeg", what=str(error), offset=offsets[frame])
    return frames, None


def _open_keypoints(data: memoryview, info: SampleInfo, layout: SkeletonLayout) -> NDArray[np.floating]:
    keypoints = decode_keypoints(bytes(data))
    num_joints = len(layout.joints)
    if keypoints.ndim != 4 or keypoints.shape[1:] != (info.num_frames, num_joints, 3):
        raise ValueError(f"must be (M, {info.num_frames}, {num_joints}, 3), got {keypoints.shape}")
    if keypoints.dtype not in (np.float16, np.float32):
        raise ValueError(f"must be float16 or float32, got {keypoints.dtype}")
    return keypoints


def _open_heatmap(data: memoryview, info: SampleInfo, layout: SkeletonLayout) -> NDArray[np.uint8]:
    heatmap = decode_heatmap(data)
    side = info.heatmap_size_px
    wanted = (info.num_frames, layout.num_channels(info.heatmap_kind), side, side)
    if heatmap.shape != wanted:
        raise ValueError(f"must be {wanted}, got {heatmap.shape}")
    return heatmap
