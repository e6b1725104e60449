"""Check: a directory of shards -> what is wrong with it.

In breadth, for every sample: hashes, tar structure, members, shapes, labels, frame counts, sizes of the JPEGs.
In depth, for a seeded random subset: every JPEG is decoded, and the independent reference draws the heatmap anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import simplejpeg

from epam_data.codec import HEATMAP_TOLERANCE, decode, decode_heatmap, decode_info, decode_keypoints
from epam_data.executors import run_local
from epam_data.index import INDEX, Index, Manifest, ShardEntry, load_index, load_manifest
from epam_data.progress import OnProgress, silent
from epam_data.reference import reference_heatmap
from epam_data.schema import Sample, SampleInfo
from epam_data.shard import IndexRow, file_sha256, read_shard
from epam_data.skeleton import LAYOUTS

_ROUNDING = 1e-5  # of a level's share: the renderer works in float32, the reference in float64


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """How deep to look."""

    sample: int = 64
    """Clips whose heatmaps are drawn anew and whose frames are all decoded; 0: none, -1: all."""
    seed: int = 0
    """Chooses those clips."""

    def __post_init__(self) -> None:
        if self.sample < -1:
            raise ValueError(f"check.sample must be >= -1, got {self.sample}")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    shard: str  # "" where it concerns the whole directory
    key: str  # "" where it concerns the whole shard
    what: str


@dataclass(frozen=True, kw_only=True)
class ShardCheckTask:
    """One shard to check."""

    entry: ShardEntry
    rows: tuple[IndexRow, ...]  # what the index says of its samples
    deep: frozenset[str]  # keys to check in depth


@dataclass(frozen=True, kw_only=True)
class ShardCheck:
    """What was found in one shard."""

    findings: tuple[Finding, ...]
    num_samples: int
    num_deep: int
    heatmap_error: float  # largest |stored - reference| / scale of the clips checked in depth


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What was found in a directory."""

    root: Path
    manifest: Manifest
    index: Index
    findings: tuple[Finding, ...]
    num_samples: int
    num_deep: int
    heatmap_error: float


def check(root: Path, settings: CheckSettings, num_workers: int, progress: OnProgress = silent) -> CheckReport:
    """Check a directory of shards.

    Args:
        root: the directory.
        settings: how deep to look.
        num_workers: processes; 0 checks in this one.
        progress: is told of the shards that are done.

    Raises:
        ValueError: manifest or index cannot be read at all.
    """
    manifest, index = load_manifest(root), load_index(root)
    deep = deep_keys(index, settings)
    tasks = []
    for number, entry in enumerate(manifest.shards):
        rows = tuple(index.row(row) for row in np.flatnonzero(index.shard == number).tolist())
        keys = frozenset(row.key for row in rows)
        tasks.append(ShardCheckTask(entry=entry, rows=rows, deep=keys & deep))
    results: list[ShardCheck] = []
    for result in run_local(_CheckShard(root, manifest), tasks, num_workers):
        results.append(result)
        num_found = sum(len(result.findings) for result in results)
        progress(len(results), len(tasks), f"{num_found} problems")
    findings = [*check_directory(root, manifest, index), *(f for result in results for f in result.findings)]
    return CheckReport(
        root=root,
        manifest=manifest,
        index=index,
        findings=tuple(sorted(findings, key=lambda f: (f.shard, f.key, f.what))),
        num_samples=sum(result.num_samples for result in results),
        num_deep=sum(result.num_deep for result in results),
        heatmap_error=max((result.heatmap_error for result in results), default=0.0),
    )


def deep_keys(index: Index, settings: CheckSettings) -> frozenset[str]:
    """The seeded random subset of keys to check in depth."""
    count = len(index) if settings.sample < 0 else min(settings.sample, len(index))
    chosen = np.random.default_rng(settings.seed).choice(len(index), count, replace=False)
    return frozenset(key.decode() for key in index.keys[chosen].tolist())


def check_directory(root: Path, manifest: Manifest, index: Index) -> Iterator[Finding]:
    """Manifest against index against the files that are there."""
    if file_sha256(root / INDEX) != manifest.index_sha256:
        yield Finding(shard="", key="", what=f"{INDEX} is not the one that the manifest was written with")
    counts = np.bincount(index.shard, minlength=len(manifest.shards))
    for shard, count in zip(manifest.shards, counts, strict=False):
        if count != shard.num_samples:
            what = f"the manifest counts {shard.num_samples} samples, the index {count}"
            yield Finding(shard=shard.name, key="", what=what)
    keys, repeats = np.unique(index.keys, return_counts=True)
    for key in keys[repeats > 1]:
        yield Finding(shard="", key=key.decode(), what="the key stands more than once in the index")
    listed = {f"{shard.name}.tar" for shard in manifest.shards}
    for path in sorted(root.glob("*.tar")):
        if path.name not in listed:
            yield Finding(shard=path.stem, key="", what="a shard that the manifest does not list")


@dataclass(frozen=True)
class _CheckShard:
    """Check one shard: picklable, for the executors."""

    root: Path
    manifest: Manifest

    def __call__(self, task: ShardCheckTask) -> ShardCheck:
        entry, rows = task.entry, task.rows
        path = self.root / f"{entry.name}.tar"
        findings: list[Finding] = []

        def found(what: str, key: str = "") -> None:
            findings.append(Finding(shard=entry.name, key=key, what=what))

        if not path.is_file():
            found("the shard is missing")
            return ShardCheck(findings=tuple(findings), num_samples=0, num_deep=0, heatmap_error=0.0)
        if path.stat().st_size != entry.num_bytes:
            found(f"has {path.stat().st_size} bytes, the manifest says {entry.num_bytes}")
        elif file_sha256(path) != entry.sha256:
            found(f"its sha256 is not the manifest's {entry.sha256[:12]}...")
        num_samples, num_deep, worst = 0, 0, 0.0
        try:
            for key, offset, members in read_shard(path):
                num_samples += 1
                row = rows[num_samples - 1] if num_samples <= len(rows) else None
                if row is None or (row.key, row.offset) != (key, offset):
                    found(f"the index does not have this sample at byte {offset}", key)
                    continue
                if row.member_bytes != tuple(map(len, members.values())):
                    found("the index has other sizes for its members", key)
                try:
                    info = check_sample(members, self.manifest)
                    if (info.key, info.split) != (key, entry.split):
                        found(f"KEY.json says {info.key} of split {info.split}", key)
                    labels = [-1 if label is None else label for label in (info.label, info.coarse_label)]
                    if [*labels, info.num_frames] != [row.label, row.coarse_label, row.num_frames]:
                        found("KEY.json and the index differ in label, coarse label or number of frames", key)
                    if key in task.deep:
                        num_deep += 1
                        worst = max(worst, heatmap_error(decode(members), self.manifest))
                except ValueError as error:
                    found(str(error), key)
        except ValueError as error:
            found(str(error))
        if num_samples < len(rows):
            found(f"holds {num_samples} samples, the index has {len(rows)}")
        if worst > HEATMAP_TOLERANCE + _ROUNDING:
            found(f"a heatmap differs from the reference by {worst:.4f} of its scale, allowed: {HEATMAP_TOLERANCE:.4f}")
        return ShardCheck(findings=tuple(findings), num_samples=num_samples, num_deep=num_deep, heatmap_error=worst)


def check_sample(members: dict[str, bytes], manifest: Manifest) -> SampleInfo:
    """One sample in breadth: shapes, label range, coarse group, frame counts and the size of each JPEG.

    Raises:
        ValueError: the first thing that is wrong.
    """
    info, offsets = decode_info(members["json"])
    _check_settings(info, manifest)
    if info.label is None and info.coarse_label is not None:
        raise ValueError(f"the label is hidden, so the coarse label must be, got {info.coarse_label}")
    if info.label is not None:
        if not 0 <= info.label < len(manifest.classes):
            raise ValueError(f"label must be in 0..{len(manifest.classes) - 1}, got {info.label}")
        if info.coarse_label != manifest.coarse_of[info.label]:
            raise ValueError(
                f"coarse label of class {info.label} must be {manifest.coarse_of[info.label]}, got {info.coarse_label}"
            )
    if info.num_frames != min(info.video_frames, info.skeleton_frames):
        raise ValueError(f"num_frames must be min({info.video_frames}, {info.skeleton_frames}), got {info.num_frames}")
    num_joints = len(manifest.joints)
    shape = decode_keypoints(members["keypoints.npy"]).shape
    if len(shape) != 4 or shape[1:] != (info.num_frames, num_joints, 3):
        raise ValueError(f"keypoints must be (M, {info.num_frames}, {num_joints}, 3), got {shape}")
    channels = LAYOUTS[info.skeleton].num_channels(info.heatmap_kind)
    wanted = (info.num_frames, channels, info.heatmap_size_px, info.heatmap_size_px)
    shape = decode_heatmap(members["heatmap.npy.zst"]).shape
    if shape != wanted:
        raise ValueError(f"heatmap must be {wanted}, got {shape}")
    mjpeg = memoryview(members["rgb.mjpeg"])
    if offsets[-1] != len(mjpeg):  # `decode_info` has seen them rise from 0
        raise ValueError(f"frame_offsets must rise from 0 to {len(mjpeg)}, got {offsets[0]} to {offsets[-1]}")
    for frame, (start, end) in enumerate(pairwise(offsets)):
        try:
            size = simplejpeg.decode_jpeg_header(mjpeg[start:end])[:2]
        except ValueError as error:
            raise ValueError(f"rgb.mjpeg: frame {frame} is no JPEG ({error})") from error
        if size != (info.rgb_size_px, info.rgb_size_px):
            raise ValueError(f"rgb.mjpeg: frame {frame} must be {info.rgb_size_px} pixels square, got {size}")
    return info


def _check_settings(info: SampleInfo, manifest: Manifest) -> None:
    """All samples of a directory are of one kind: that of its manifest."""
    wanted = {"skeleton": manifest.skeleton}
    wanted |= {name: manifest.prepare[name] for name in ("rgb_size_px", "heatmap_size_px", "heatmap_kind", "sigma_px")}
    for name, value in wanted.items():
        if getattr(info, name) != value:
            raise ValueError(f"{name} must be {value}, as in the manifest, got {getattr(info, name)}")


def heatmap_error(sample: Sample, manifest: Manifest) -> float:
    """Largest difference between the stored heatmap and the reference, as a share of the sample's scale."""
    reference = reference_heatmap(sample.info, sample.keypoints, bool(manifest.prepare["use_scores"]))
    stored = sample.heatmap.astype(np.float64) / 255
    return float(np.abs(stored - reference / sample.info.heatmap_scale).max(initial=0.0))
