"""Text about shards or one clip: in a folder, in a single .tar without a manifest, or at a URL of either."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from epam_data.schema import SCHEMA_VERSION, Sample, Stored
from epam_data.shards.codec import absent_members, decode
from epam_data.shards.head import HEAD, MAX_HEAD_BYTES
from epam_data.shards.index import load_index
from epam_data.shards.layout import BLOCK, padded, read_header
from epam_data.shards.manifest import Manifest, load_manifest
from epam_data.system.file_reads import open_regular
from epam_data.system.printable import printable
from epam_data.system.remote import is_url
from epam_data.system.typed_json import decode_json

Members = dict[str, bytes]


def describe(location: str) -> str:
    """A text table about a directory of shards or one shard.

    Raises:
        ValueError: the location does not exist, or is not a shard or a shard directory.
    """
    return describe_shard(location) if is_shard(location) else describe_directory(location)


def describe_directory(location: str) -> str:
    """A text table of the manifest."""
    manifest = load_manifest(location)
    setting = manifest.prepare
    problems = ", ".join(f"{count} {printable(action, 40)}" for action, count in manifest.problems.items())
    lines = [
        f"{location}: {printable(manifest.dataset)} {printable(manifest.protocol or '')}".rstrip(),
        f"  classes   {len(manifest.classes)}" + (f" in {len(manifest.groups)} groups" if manifest.groups else ""),
        f"  joints    {len(manifest.joints)} ({printable(manifest.skeleton)})",
        f"  frames    {setting.rgb_size_px} px, JPEG quality {manifest.shard.jpeg_quality}",
        f"  heatmaps  {setting.heatmap_kind}, {setting.heatmap_size_px} px, sigma {setting.sigma_px}",
        f"  problems  {problems or 'none'}",
        f"  {'shard':<14} {'split':<6} {'clips':>7} {'MB':>9}  sha256",
    ]
    lines += [
        f"  {shard.name:<14} {shard.split:<6} {shard.num_samples:>7} {shard.num_bytes / 1e6:>9.1f}  {shard.sha256[:12]}"
        for shard in manifest.shards
    ]
    return "\n".join([*lines, *_totals(manifest)])


def describe_shard(location: str) -> str:
    """A text table of the clips in one shard, from their `KEY.json`; reads no manifest."""
    lines = [f"{location}", f"  {'clip':<24} {'split':<6} {'label':>6} {'frames':>7} {'kB':>9}"]
    total, count, end = 0, 0, 0
    with open_binary(location) as file:
        file.seek(0, os.SEEK_END)
        num_bytes = file.tell()
        for key, ranges in _clips_of_tar(file, location):
            size = sum(length for _, length in ranges.values())
            end = max(offset + padded(length) for offset, length in ranges.values())
            split, label, frames, damage = _head_columns(file, ranges.get(HEAD), num_bytes)
            absent = absent_members(ranges)
            lacks = f"  lacks {', '.join(absent)}" if absent else damage
            lines.append(f"  {printable(key):<24} {split:<6} {label:>6} {frames:>7} {size / 1e3:>9.1f}{lacks}")
            total, count = total + size, count + 1
    if num_bytes < end + 2 * BLOCK:
        lines.append(f"  cut short: the file ends at byte {num_bytes}, expected at {end + 2 * BLOCK} or later")
    return "\n".join([*lines, f"  {f'{count} clips':<24} {'':<6} {'':>6} {'':>7} {total / 1e3:>9.1f}"])


def _head_columns(file: BinaryIO, head: tuple[int, int] | None, num_bytes: int) -> tuple[str, str, str, str]:
    """Split, label and frames as `KEY.json` says, and what is wrong with it; damage costs this clip's columns alone."""
    if head is None or sum(head) > num_bytes:
        return "?", "?", "?", ""
    if head[1] > MAX_HEAD_BYTES:
        return "?", "?", "?", f"  KEY.json has {head[1]} bytes"
    try:
        values = decode_json(_read_at(file, *head), _HeadColumns, "KEY.json")
    except ValueError as error:
        return "?", "?", "?", f"  {printable(error)}"
    label = "hidden" if values.label is None else str(values.label)
    return printable(values.split, 20), label, "?" if values.num_frames is None else str(values.num_frames), ""


@dataclass(frozen=True, kw_only=True)
class _HeadColumns:
    split: str = "?"
    label: Stored | None = None
    num_frames: Stored | None = None


def read_sample(location: str | Path, key: str) -> tuple[Sample, Members]:
    """One clip by its key, and its stored members.

    Args:
        location: a folder or a .tar, or an fsspec URL of one.
        key: of the clip.

    Raises:
        ValueError: no clip has this key, or it is damaged.
    """
    members = _from_tar(str(location), key) if is_shard(str(location)) else _from_directory(str(location), key)
    try:
        return decode(members), members
    except ValueError as error:
        raise ValueError(f"{location}: {key}: {str(error).removeprefix(f'{key}: ')}") from error


def describe_sample(sample: Sample, members: Members) -> str:
    """Text with the members, shapes and JSON of a sample."""
    key = sample.info.key
    lines = [f"{key}.{ending:<16} {len(data):>9} bytes" for ending, data in members.items()]
    for name in ("keypoints", "heatmap", "frames"):
        array = getattr(sample, name)
        lines.append(f"{name:<10} {array.shape} {array.dtype}")
    return "\n".join([*lines, json.dumps({"schema": SCHEMA_VERSION, **asdict(sample.info)}, indent=1, allow_nan=False)])


def is_shard(location: str) -> bool:
    """Whether a location is one shard rather than a directory of them."""
    return location.endswith(".tar")


def open_binary(location: str) -> BinaryIO:
    """Open a local file or any fsspec URL; a shard at a URL is read in parts, not downloaded completely.

    Raises:
        ValueError: the file does not exist, or the URL's protocol needs a package that is not installed.
    """
    try:
        if not is_url(location):
            return os.fdopen(open_regular(location), "rb")
        import fsspec

        opened: BinaryIO = fsspec.open(location, "rb").open()
        return opened
    except ImportError as error:
        raise ValueError(f"{location}: {error}; pip install 'epam[s3]'") from None
    except FileNotFoundError:
        raise ValueError(f"{location}: no such file") from None
    except Exception as error:  # each store's package has its own errors: no credentials, no route, unknown protocol
        raise ValueError(f"{location}: cannot be opened ({error})") from error


def _from_directory(location: str, key: str) -> Members:
    manifest = load_manifest(location)
    index = load_index(location, manifest)
    if key not in index.row_of_key:
        raise ValueError(_no_clip(location, key, list(index.row_of_key)))
    number = index.row_of_key[key]
    row = index.row(number)
    shard = f"{location}/{manifest.shards[index.shard[number]].name}.tar"
    ranges = zip(manifest.codecs.endings, row.member_offsets(), row.member_bytes, strict=True)
    with open_binary(shard) as file:
        return {ending: _read_at(file, offset, num_bytes) for ending, offset, num_bytes in ranges}


def _from_tar(location: str, key: str) -> Members:
    known = []
    with open_binary(location) as file:
        for name, ranges in _clips_of_tar(file, location):
            known.append(name)
            if name == key:
                return {ending: _read_at(file, *byte_range) for ending, byte_range in ranges.items()}
    raise ValueError(_no_clip(location, key, known))


def _no_clip(location: str, key: str, known: list[str]) -> str:
    such_as = f", such as {printable(known[0])}" if known else ""
    return f"{location}: no clip {key!r} among {len(known)}{such_as}"


def _clips_of_tar(file: BinaryIO, location: str) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """(key, {ending: (offset, size)}) of each clip, in the order of the file; only headers are read."""
    clip: tuple[str, dict[str, tuple[int, int]]] | None = None
    position = 0
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if len(block) < BLOCK or not any(block):
            break
        try:
            member = read_header(block, position)
        except ValueError as error:
            raise ValueError(f"{location}: invalid tar header at byte {position} ({error})") from error
        if clip is None or clip[0] != member.key:
            if clip:
                yield clip
            clip = (member.key, {})
        clip[1][member.ending] = (member.start, member.size)
        position = member.end
    if clip:
        yield clip


def _read_at(file: BinaryIO, offset: int, num_bytes: int) -> bytes:
    """The bytes there; fewer at the end of the file, which may have any size in a header."""
    left = file.seek(0, os.SEEK_END) - offset
    file.seek(offset)
    return file.read(max(min(num_bytes, left), 0))


def _totals(manifest: Manifest) -> list[str]:
    """Clips and bytes of each split and in total."""
    lines = []
    for split in (*dict.fromkeys(shard.split for shard in manifest.shards), "total"):
        shards = [shard for shard in manifest.shards if split in (shard.split, "total")]
        clips, num_bytes = sum(shard.num_samples for shard in shards), sum(shard.num_bytes for shard in shards)
        lines.append(f"  {split:<14} {'':<6} {clips:>7} {num_bytes / 1e6:>9.1f}")
    return lines
