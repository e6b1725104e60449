"""Basic checks of a sample's four members: each can be opened, and they agree with each other and the manifest."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from epam_data.readers.names import possible_keys
from epam_data.schema import SampleInfo, stored_label
from epam_data.shards.codec import CODECS, MemberCodecs, frames_shape
from epam_data.shards.head import HEAD, SampleHead, checksum, read_head
from epam_data.shards.layout import IndexRow
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.skeleton import SkeletonLayout


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A problem in one member."""

    member: str  # its ending
    what: str
    offset: int = 0  # byte in the member's content
    check: str = ""  # as in `Finding`; "": the kind of the member

    def __post_init__(self) -> None:
        if not self.check:
            role = next(role for role, endings in CODECS.items() if self.member in endings)
            object.__setattr__(self, "check", HEAD if role == "info" else role)


@dataclass(frozen=True, kw_only=True)
class OpenedSample:
    """The parts of a sample that could be opened; for a part that is None, a `Fault` gives the reason."""

    info: SampleInfo | None
    frame_offsets: list[int]
    keypoints: NDArray[np.floating] | None  # (M, T, V, 3), see `Sample`
    heatmap: NDArray[np.uint8] | None  # (T, V, h, w), see `Sample`
    faults: tuple[Fault, ...]


def open_sample(members: dict[str, memoryview], row: IndexRow, entry: ShardEntry, manifest: Manifest) -> OpenedSample:
    """Open everything except the frames' pixels.

    Args:
        members: the content of each member, by ending.
        row: index row of the sample.
        entry: manifest entry of its shard.
        manifest: settings shared by all samples.
    """
    codecs = manifest.codecs
    try:
        head = read_head(members[codecs.info])
    except ValueError as error:
        fault = Fault(member=codecs.info, what=str(error))
        return OpenedSample(info=None, frame_offsets=[], keypoints=None, heatmap=None, faults=(fault,))
    info, offsets = head.info, head.members.frame_offsets
    faults = [Fault(member=codecs.info, what=what) for what in json_faults(info, row, entry, manifest)]
    faults += crc_faults(head, members, codecs)
    keypoints, heatmap = None, None
    try:
        keypoints = _checked_keypoints(codecs.decode_keypoints(members[codecs.keypoints]), info, manifest.layout)
    except ValueError as error:
        faults.append(Fault(member=codecs.keypoints, what=str(error)))
    try:
        most = info.num_frames * manifest.num_channels * manifest.prepare.heatmap_size_px**2  # whatever the JSON says
        heatmap = _checked_heatmap(codecs.decode_heatmap(members[codecs.heatmap], most), info, manifest.layout)
    except ValueError as error:
        faults.append(Fault(member=codecs.heatmap, what=str(error)))
    faults += frame_faults(members[codecs.frames], offsets, info, codecs)
    return OpenedSample(info=info, frame_offsets=offsets, keypoints=keypoints, heatmap=heatmap, faults=tuple(faults))


def json_faults(info: SampleInfo, row: IndexRow, entry: ShardEntry, manifest: Manifest) -> Iterator[str]:
    """Compare `KEY.json` with the member's name, the index, the shard and the manifest."""
    if info.key != row.key:
        yield f"says key {info.key}, the member's name {row.key}"
    keys = possible_keys(info.name)
    if info.key not in keys:
        yield f"says name {info.name}, whose key is {keys[0] if keys else 'none'}, not {info.key}"
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
    names = ("rgb_size_px", "heatmap_size_px", "heatmap_kind", "sigma_px")
    wanted |= {name: getattr(manifest.prepare, name) for name in names}
    for name, value in wanted.items():
        if getattr(info, name) != value:
            yield f"{name} must be {value}, as in the manifest, got {getattr(info, name)}"


def crc_faults(head: SampleHead, members: dict[str, memoryview], codecs: MemberCodecs) -> Iterator[Fault]:
    """Compare each member with its checksum in `KEY.json`; finds any flipped bit, even in a JPEG's pixels."""
    checksums, others = head.members.crc32, codecs.endings[1:]
    # Older shards lack the checksum of KEY.json itself.
    if set(checksums) - {HEAD} != set(others):
        yield Fault(member=HEAD, what=f"crc32 must be of {', '.join(others)}, got {str(checksums)[:80]}")
        return
    for ending, wanted in checksums.items():
        if checksum(ending, members[ending]) != wanted:
            yield Fault(member=ending, what="its CRC-32 is not that in KEY.json")
            if ending == codecs.frames:
                return
    frames = [members[codecs.frames][start:end] for start, end in pairwise(head.members.frame_offsets)]
    if head.members.frame_crc32 not in (None, list(map(zlib.crc32, frames))):
        yield Fault(member=HEAD, what=f"frame_crc32 must be of the frames in {codecs.frames}")


def frame_faults(member: memoryview, offsets: list[int], info: SampleInfo, codecs: MemberCodecs) -> Iterator[Fault]:
    """Check the frames' offsets, headers, start and end marks, without decoding pixels."""

    def fault(what: str, offset: int) -> Fault:
        return Fault(member=codecs.frames, what=what, offset=offset)

    if offsets[-1] != len(member):  # `read_head` has checked that they rise from 0
        yield fault(
            f"frame_offsets end at {offsets[-1]}, the member has {len(member)} bytes", min(offsets[-1], len(member))
        )
    size = info.rgb_size_px
    for frame, (start, end) in enumerate(pairwise(offsets)):
        try:
            height, width = codecs.frame_size(member[start:end])
        except ValueError as error:
            yield fault(f"frame {frame} is {error}", start)
            continue
        if (height, width) != (size, size):
            yield fault(f"frame {frame} must be {size} pixels square, got {height} x {width}", start)


def decode_all_frames(
    member: memoryview, opened: OpenedSample, codecs: MemberCodecs
) -> tuple[NDArray[np.uint8] | None, Fault | None]:
    """All frames, (T, S, S, 3) uint8 RGB, or the fault of the first frame that cannot be decoded."""
    info, offsets = opened.info, opened.frame_offsets
    assert info is not None
    try:
        frames = np.empty(frames_shape(info, len(member), codecs), np.uint8)
    except ValueError as error:
        return None, Fault(member=codecs.frames, what=str(error))
    for frame, (start, end) in enumerate(pairwise(offsets)):
        try:
            codecs.decode_frame(member[start:end], frames[frame], frame)
        except ValueError as error:
            return None, Fault(member=codecs.frames, what=str(error), offset=start)
    return frames, None


def _checked_keypoints(
    keypoints: NDArray[np.floating], info: SampleInfo, layout: SkeletonLayout
) -> NDArray[np.floating]:
    num_joints = len(layout.joints)
    if keypoints.ndim != 4 or keypoints.shape[1:] != (info.num_frames, num_joints, 3):
        raise ValueError(f"must be (M, {info.num_frames}, {num_joints}, 3), got {keypoints.shape}")
    if keypoints.dtype not in (np.float16, np.float32):
        raise ValueError(f"must be float16 or float32, got {keypoints.dtype}")
    return keypoints


def _checked_heatmap(heatmap: NDArray[np.uint8], info: SampleInfo, layout: SkeletonLayout) -> NDArray[np.uint8]:
    side = info.heatmap_size_px
    wanted = (info.num_frames, layout.num_channels(info.heatmap_kind), side, side)
    if heatmap.shape != wanted:
        raise ValueError(f"must be {wanted}, got {heatmap.shape}")
    return heatmap
