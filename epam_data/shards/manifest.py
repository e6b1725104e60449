"""`manifest.json`: the content and the origin of a directory of shards."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from epam_data.samples.settings import PrepareSettings
from epam_data.schema import SCHEMA_VERSION, check_file_name, check_version
from epam_data.shards.codec import ROLES, USUAL_CODECS, MemberCodecs
from epam_data.shards.layout import BLOCK, MANIFEST, ShardSummary
from epam_data.shards.settings import ShardSettings
from epam_data.skeleton import LAYOUTS, SkeletonLayout
from epam_data.system.file_reads import read_small
from epam_data.system.printable import brief
from epam_data.system.remote import RemoteFolder, is_url
from epam_data.system.typed_json import decode_json

MAX_MANIFEST_BYTES = 128 << 20
"""Largest manifest that is read: that of 600,000 shards."""

MAX_SHARD_BYTES = 1 << 42
"""Largest shard that a manifest may list."""

READ_ATTEMPTS = 8
"""Attempts per read of shards by URL, so that a training run survives a minute without network."""


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard, as the manifest lists it."""

    name: str
    split: str
    num_samples: int
    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, shard: ShardSummary) -> ShardEntry:
        """The entry of a finished shard."""
        return cls(
            name=shard.name,
            split=shard.split,
            num_samples=len(shard.rows),
            num_bytes=shard.num_bytes,
            sha256=shard.sha256,
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`manifest.json`: the content and the origin of the shards."""

    dataset: str
    protocol: str | None
    skeleton: str  # joint layout
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] | None = None  # only for layouts outside `LAYOUTS`, see `SkeletonLayout`
    limbs: tuple[tuple[int, int], ...] | None = None  # only for layouts outside `LAYOUTS`
    taxonomy: str
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    coarse_of: tuple[int, ...]  # coarse label of each class; empty without groups
    prepare: PrepareSettings  # settings of the build
    shard: ShardSettings
    codecs: MemberCodecs = USUAL_CODECS
    sources: dict[str, str]  # skeleton pickles: name -> sha256
    versions: dict[str, str]  # versions of the tools that the bytes depend on
    problems: dict[str, int]  # number of clips by action, see `schema.Problem`
    index_sha256: str
    shards: tuple[ShardEntry, ...]

    @property
    def layout(self) -> SkeletonLayout:
        """The joints: the known layout of that name, or the one described in the manifest.

        Raises:
            ValueError: neither exists, or the described layout is invalid.
        """
        if self.skeleton in LAYOUTS:
            return LAYOUTS[self.skeleton]
        if self.flip_pairs is None or self.limbs is None:
            known = ", ".join(LAYOUTS)
            raise ValueError(
                f"skeleton must be one of {known}, or come with flip_pairs and limbs, got {self.skeleton!r}"
            )
        return SkeletonLayout(name=self.skeleton, joints=self.joints, flip_pairs=self.flip_pairs, limbs=self.limbs)

    @property
    def num_channels(self) -> int:
        """Channels of the stored heatmaps: joints, or limbs."""
        return self.layout.num_channels(self.prepare.heatmap_kind)

    def shards_of(self, split: str) -> list[int]:
        """Indices into `shards` of the shards of a split."""
        return [number for number, shard in enumerate(self.shards) if shard.split == split]

    def to_json(self) -> bytes:
        """The file's bytes; equal manifests give equal bytes."""
        values = {name: value for name, value in asdict(self).items() if name not in _OPTIONAL or value is not None}
        return (json.dumps({"schema": SCHEMA_VERSION, **values}, indent=1, allow_nan=False) + "\n").encode()


_MAX_JOINTS, _MAX_NAME = 1000, 200

_SHA256 = re.compile("[0-9a-f]{64}")

_OPTIONAL = ("flip_pairs", "limbs")


def load_manifest(root: Path | str) -> Manifest:
    """Read `manifest.json` of a shard directory, or of shards by URL (s3://bucket/ntu60).

    Raises:
        ValueError: the file is missing (the build is not finished, or this is not a shard directory), is not a
            manifest, or has a newer schema than this code.
    """
    data = read_small_file(root, MANIFEST, MAX_MANIFEST_BYTES)
    if data is None:
        raise ValueError(f"{root}: no {MANIFEST} found; not a shard directory, or its build is not finished")
    path = f"{root}/{MANIFEST}"
    raw = decode_json(data, _Raw, path)
    check_version(raw.schema, root)
    manifest = decode_json(data, Manifest, path)
    num_classes, num_grouped = len(manifest.classes), len(manifest.coarse_of)
    if num_grouped != (num_classes if manifest.groups else 0):
        raise ValueError(f"{path}: {num_classes} classes need a group each, {num_grouped} have one")
    for section, kind in (("prepare", PrepareSettings), ("shard", ShardSettings)):
        found, known = getattr(raw, section), [each.name for each in fields(kind)]
        absent, unknown = [name for name in known if name not in found], [name for name in found if name not in known]
        if absent and unknown:  # older manifests lack settings, newer ones have more; both means damage
            raise ValueError(f"{path}: {section} lacks {', '.join(absent)}, and has {', '.join(unknown)} instead")
    try:
        _check_limits(manifest)
        _ = manifest.layout
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return manifest


@dataclass(frozen=True, kw_only=True)
class _Raw:
    schema: Any = None
    prepare: Any = None
    shard: Any = None


def _check_limits(manifest: Manifest) -> None:
    """Refuse what a stranger's manifest must not contain: names that lead elsewhere, sizes without end."""
    _check_sha256(manifest.index_sha256, "index_sha256")
    for name in ("dataset", "protocol", "skeleton", "taxonomy"):
        text = getattr(manifest, name) or ""
        if len(text) > _MAX_NAME:
            raise ValueError(f"{name} must have {_MAX_NAME} or fewer characters, got {len(text)}: {brief(text, 80)}")
    last_group = len(manifest.groups) - 1
    for name, group in zip(manifest.classes, manifest.coarse_of, strict=True) if manifest.groups else ():
        if not 0 <= group <= last_group:
            raise ValueError(f"coarse_of: {brief(name, 80)} must be in a group of 0..{last_group}, got {brief(group)}")
    for name in ("joints", "limbs", "flip_pairs"):
        if (count := len(getattr(manifest, name) or ())) > _MAX_JOINTS:
            raise ValueError(f"{name} must be {_MAX_JOINTS} or fewer, got {count}")
    for number, shard in enumerate(manifest.shards):
        check_file_name(shard.name, f"shards[{number}].name")  # becomes a path, a URL and the name of a cached file
        check_file_name(shard.split, f"{shard.name}: split")
        _check_sha256(shard.sha256, f"{shard.name}: sha256")
        if not 0 <= shard.num_bytes <= MAX_SHARD_BYTES:
            raise ValueError(f"{shard.name}: num_bytes must be in 0..{MAX_SHARD_BYTES}, got {brief(shard.num_bytes)}")
        most = shard.num_bytes // (len(ROLES) * BLOCK)
        if not 0 <= shard.num_samples <= most:
            got = brief(shard.num_samples)
            raise ValueError(f"{shard.name}: {shard.num_bytes} bytes can hold 0..{most} samples, got {got}")


def _check_sha256(sha256: str, what: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{what} must be 64 hexadecimal digits, got {brief(sha256)}")


def read_small_file(root: Path | str, name: str, max_bytes: int) -> bytes | None:
    """A small file of a shard directory or URL; None if it does not exist.

    Args:
        root: the directory or URL.
        name: of the file.
        max_bytes: no more than this is read.

    Raises:
        ValueError: it is larger.
        OSError: it cannot be read, or is not a regular file.
    """
    if is_url(root):
        return RemoteFolder(str(root), attempts=READ_ATTEMPTS).read(name, max_bytes)
    try:
        return read_small(f"{root}/{name}", max_bytes)
    except (FileNotFoundError, NotADirectoryError):
        return None
