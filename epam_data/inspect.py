"""Words about a directory of shards, or about one sample of it."""

from __future__ import annotations

import json
from pathlib import Path

from epam_data.codec import decode
from epam_data.index import load_index, load_manifest
from epam_data.schema import Sample
from epam_data.shard import ShardReader


def describe_directory(root: Path) -> str:
    """What the manifest says, as a table of lines."""
    manifest = load_manifest(root)
    setting = manifest.prepare
    lines = [
        f"{root}: {manifest.dataset} {manifest.protocol or ''}".rstrip(),
        f"  classes   {len(manifest.classes)} in {len(manifest.groups)} groups",
        f"  joints    {len(manifest.joints)} ({manifest.skeleton})",
        f"  frames    {setting['rgb_size_px']} px, JPEG quality {manifest.shard['jpeg_quality']}",
        f"  heatmaps  {setting['heatmap_kind']}, {setting['heatmap_size_px']} px, sigma {setting['sigma_px']}",
        f"  problems  {', '.join(f'{count} {action}' for action, count in manifest.problems.items()) or 'none'}",
        f"  {'shard':<14} {'split':<6} {'clips':>7} {'MB':>9}  sha256",
    ]
    lines += [
        f"  {shard.name:<14} {shard.split:<6} {shard.num_samples:>7} {shard.num_bytes / 1e6:>9.1f}  {shard.sha256[:12]}"
        for shard in manifest.shards
    ]
    total = (
        sum(shard.num_samples for shard in manifest.shards),
        sum(shard.num_bytes for shard in manifest.shards),
    )
    return "\n".join([*lines, f"  {'all':<14} {'':<6} {total[0]:>7} {total[1] / 1e6:>9.1f}"])


def read_sample(root: Path, key: str) -> tuple[Sample, dict[str, bytes]]:
    """One sample by its key, and its members as they are stored.

    Raises:
        ValueError: no sample has this key, or it is damaged.
    """
    manifest, index = load_manifest(root), load_index(root)
    if key not in index.row_of_key:
        raise ValueError(f"{root}: no clip {key!r} among {len(index)}")
    number = index.row_of_key[key]
    row, shard = index.row(number), int(index.shard[number])
    reader = ShardReader(root, [entry.name for entry in manifest.shards])
    members = reader.read_members(shard, row)
    reader.close()
    return decode(members), members


def describe_sample(sample: Sample, members: dict[str, bytes]) -> str:
    """Members, shapes and JSON of a sample."""
    key = sample.info.key
    lines = [f"{key}.{ending:<16} {len(data):>9} bytes" for ending, data in members.items()]
    for name in ("keypoints", "heatmap", "frames"):
        array = getattr(sample, name)
        lines.append(f"{name:<10} {array.shape} {array.dtype}")
    return "\n".join([*lines, json.dumps(sample.info.to_dict(), indent=1)])
