"""Check one shard: its bytes, basic checks of every clip, chosen clips in depth."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from epam_data.check.rules.alignment import alignment_faults, container_faults, joint_positions
from epam_data.check.rules.finding import Finding
from epam_data.check.rules.heatmaps import heatmap_error, property_faults
from epam_data.check.rules.members import Fault, OpenedSample, decode_all_frames, open_sample
from epam_data.check.rules.motion import Motion, motion_of
from epam_data.check.rules.splits import ClipContent
from epam_data.check.rules.tar_layout import compare_with_index, expected_headers, walk_tar
from epam_data.readers.videos import VideoFinder
from epam_data.shards.layout import IndexRow, MemberHeader
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.skeleton import joint_is_missing
from epam_data.system.file_reads import open_regular


@dataclass(frozen=True, kw_only=True)
class ClipMeasures:
    """Measurements of one clip, for statistics and rankings."""

    key: str
    shard: str
    num_frames: int
    jpeg_bytes: int  # of all frames
    num_persons: int  # visible in at least one frame
    joint_scores: tuple[float, ...]  # (V,) mean score of each joint where it is visible; NaN: never visible
    crop_px: tuple[int, int]  # (H, W) of the person box in the video
    visible: float  # share of the joints
    outside_image: float  # share of the visible joints
    outside_crop: float  # share of the visible joints inside the image
    heatmap_error: float | None = None  # of the scale; None: not checked in depth
    decoded: bool = False  # all frames were decoded
    motion: Motion | None = None  # None: not decoded, or too short


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Result of the in-depth check; the defaults mean that it was not done."""

    faults: tuple[Fault, ...] = ()
    heatmap_error: float | None = None
    decoded: bool = False
    motion: Motion | None = None


@dataclass(frozen=True, kw_only=True)
class CheckTask:
    """One shard to check."""

    entry: ShardEntry
    rows: tuple[IndexRow, ...]  # index rows of its samples
    deep: frozenset[str]  # keys to check in depth


@dataclass(frozen=True, kw_only=True)
class ShardFindings:
    """The result of checking one shard."""

    findings: tuple[Finding, ...]
    measures: tuple[ClipMeasures, ...] = ()  # of the clips that could be opened
    contents: tuple[ClipContent, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ShardChecker:
    """Checks the shards of one directory, one per call; picklable, for the executors."""

    root: Path
    manifest: Manifest
    rgb: bool  # decode every frame of the clips checked in depth
    videos: Path | None  # folder of the recordings, to compare with the frame counts in their headers

    def __call__(self, task: CheckTask) -> tuple[str, ShardFindings]:
        """The name and the findings of the shard."""
        entry = task.entry
        try:
            data = _mapped(self.root / f"{entry.name}.tar")
        except FileNotFoundError:
            missing = Finding(check="shard", shard=entry.name, what="the shard is missing")
            return entry.name, ShardFindings(findings=(missing,))
        except OSError as error:  # a folder or a pipe has its name, no permission, a disk failure
            unread = Finding(check="shard", shard=entry.name, what=f"cannot be read ({error.strerror})")
            return entry.name, ShardFindings(findings=(unread,))
        findings = list(shard_findings(data, entry))
        damaged = bool(findings)
        endings = self.manifest.codecs.endings
        expected = expected_headers(task.rows, endings)
        members, wrong = walk_tar(data, entry.name, expected)
        findings += [*wrong, *compare_with_index(members, expected, entry.name)]
        headers = {(member.key, member.ending): member for member in members}
        measures, contents = [], []
        for row in task.rows:
            mine = {ending: headers[row.key, ending] for ending in endings if (row.key, ending) in headers}
            if len(mine) < len(endings):
                continue
            clip = {ending: data[header.start : header.start + header.size] for ending, header in mine.items()}
            try:
                # If the shard's hash is wrong, check every clip in depth to find the damage. Numbers of strangers may
                # be beyond what floats hold: what is then no number is a fault, not a warning on the terminal.
                with np.errstate(all="ignore"):
                    faults, measured = self.check_clip(
                        clip, row, entry, deep=damaged or row.key in task.deep, rgb=damaged or self.rgb
                    )
            except Exception as error:  # an unforeseen error in one clip must not stop the check of the others
                what = f"cannot be checked ({type(error).__name__}: {error})"
                findings.append(Finding(check="clip", shard=entry.name, key=row.key, what=what))
                continue
            findings += [_finding(fault, entry.name, mine) for fault in faults]
            if measured:
                measures.append(measured)
                contents.append(self._content(clip, row.key, entry.split))
        return entry.name, ShardFindings(findings=tuple(findings), measures=tuple(measures), contents=tuple(contents))

    def check_clip(
        self, members: dict[str, memoryview], row: IndexRow, entry: ShardEntry, *, deep: bool, rgb: bool
    ) -> tuple[tuple[Fault, ...], ClipMeasures | None]:
        """The faults and the measures of one clip; no measures (None) if it cannot be opened."""
        opened = open_sample(members, row, entry, self.manifest)
        depth = self.look_deep(members, opened, rgb=rgb) if deep else Depth()
        measures = clip_measures(opened, row, entry, depth, len(members[self.manifest.codecs.frames]))
        return (*opened.faults, *depth.faults), measures

    def _content(self, members: dict[str, memoryview], key: str, split: str) -> ClipContent:
        parts = {"frames": self.manifest.codecs.frames, "keypoints": self.manifest.codecs.keypoints}
        digests = {name: hashlib.sha256(members[ending]).digest()[:16] for name, ending in parts.items()}
        return ClipContent(key=key, split=split, digests=digests)

    @cached_property
    def finder(self) -> VideoFinder | None:
        """Finds recordings; shared by all clips, since it lists each folder once."""
        return None if self.videos is None else VideoFinder(self.videos)

    def look_deep(self, members: dict[str, memoryview], opened: OpenedSample, *, rgb: bool) -> Depth:
        """Check one clip in depth: heatmap, alignment and, with `rgb`, frames and motion."""
        info, keypoints, heatmap = opened.info, opened.keypoints, opened.heatmap
        if info is None:
            return Depth()
        same_size = info.rgb_size_px == self.manifest.prepare.rgb_size_px  # else a few bytes could be huge pictures
        openable = same_size and not any(fault.check == "frames" for fault in opened.faults)
        codecs = self.manifest.codecs
        frames, fault = None, None
        if rgb and openable:
            frames, fault = decode_all_frames(members[codecs.frames], opened, codecs)
        faults = [fault] if fault else []
        if keypoints is None:
            return Depth(faults=tuple(faults))
        error, motion, prepare = None, None, self.manifest.prepare
        if heatmap is not None:
            error = heatmap_error(info, keypoints, heatmap, prepare.use_scores, self.manifest.layout)
            wrong = [] if error.allowed else [str(error)]
            wrong += property_faults(info, keypoints, heatmap, prepare.use_scores, self.manifest.layout)
            faults += [Fault(check="heatmap", member=codecs.heatmap, what=what) for what in wrong]
        misaligned = list(alignment_faults(info, keypoints, joint_positions(info, keypoints), prepare))
        if self.finder is not None:
            misaligned += container_faults(info, self.finder, prepare)
        if frames is not None:
            motion = motion_of(info, keypoints, frames)
            misaligned += [motion.alarm] if motion and motion.shifted else []
        faults += [Fault(check="alignment", member=codecs.keypoints, what=what) for what in misaligned]
        return Depth(
            faults=tuple(faults),
            heatmap_error=None if error is None else error.largest,
            decoded=frames is not None,
            motion=motion,
        )


def clip_measures(
    opened: OpenedSample, row: IndexRow, entry: ShardEntry, depth: Depth, jpeg_bytes: int
) -> ClipMeasures | None:
    """The measures of one clip; None if it cannot be opened."""
    info, keypoints = opened.info, opened.keypoints
    if info is None or keypoints is None or opened.heatmap is None:
        return None
    joints = joint_positions(info, keypoints)
    scores = np.where(joint_is_missing(keypoints[..., :2], keypoints[..., 2]), np.nan, keypoints[..., 2])
    return ClipMeasures(
        key=row.key,
        shard=entry.name,
        num_frames=info.num_frames,
        jpeg_bytes=jpeg_bytes,
        num_persons=int(np.isfinite(scores).any(axis=(1, 2)).sum()),
        joint_scores=_mean_scores(scores),
        crop_px=(info.box[3] - info.box[1], info.box[2] - info.box[0]),
        visible=joints.visible,
        outside_image=joints.outside_image,
        outside_crop=joints.outside_crop,
        heatmap_error=depth.heatmap_error,
        decoded=depth.decoded,
        motion=depth.motion,
    )


def shard_findings(data: memoryview, entry: ShardEntry) -> Iterator[Finding]:
    """Compare the size and hash of a shard with the manifest."""
    if len(data) != entry.num_bytes:
        yield Finding(
            check="shard", shard=entry.name, what=f"has {len(data)} bytes, the manifest says {entry.num_bytes}"
        )
    elif hashlib.sha256(data).hexdigest() != entry.sha256:
        yield Finding(check="shard", shard=entry.name, what=f"its sha256 is not the manifest's {entry.sha256[:12]}...")


def _mapped(path: Path) -> memoryview:
    """The memory-mapped bytes of a file."""
    with os.fdopen(open_regular(path), "rb") as file:
        if not os.fstat(file.fileno()).st_size:  # an empty file cannot be mapped
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _finding(fault: Fault, shard: str, headers: dict[str, MemberHeader]) -> Finding:
    header = headers[fault.member]
    what = fault.what.removeprefix(f"{fault.member}: ")  # the finding names the member already
    offset = header.start + fault.offset
    return Finding(check=fault.check, shard=shard, key=header.key, member=fault.member, offset=offset, what=what)


def _mean_scores(scores: NDArray[np.floating]) -> tuple[float, ...]:
    """(V,) mean over persons and frames of (M, T, V) scores, NaN for joints that are never visible."""
    values = scores.astype(np.float64)
    count = np.isfinite(values).sum(axis=(0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        means: list[float] = (np.nansum(values, axis=(0, 1)) / count).tolist()
    return tuple(means)
