"""Shards for benchmarks: copies of the clips of a shard directory, enough for an epoch or for a large index."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from epam_data.shards.head import HEAD, read_head
from epam_data.shards.index import index_bytes, load_index
from epam_data.shards.layout import INDEX, MANIFEST, ShardSummary
from epam_data.shards.manifest import Manifest, ShardEntry, load_manifest
from epam_data.shards.reader import ShardReader
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter


def write_copies(source: Path, target: Path, *, clips: int, shard_clips: int) -> Manifest:
    """Writes shards with `clips` copies of the clips of `source`, each with its own key."""
    manifest, index = load_manifest(source), load_index(source)
    reader = ShardReader(source, [shard.name for shard in manifest.shards])
    originals = [reader.read_members(int(index.shard[row]), index.row(row)) for row in range(len(index))]
    shards = []
    for first in range(0, clips, shard_clips):
        with ShardWriter(target, f"train-{first // shard_clips:06d}", "train", ShardSettings()) as writer:
            for number in range(first, min(first + shard_clips, clips)):
                members = originals[number % len(originals)]
                values = {**json.loads(members[HEAD]), "key": f"clip-{number}", "split": "train"}
                values["crc32"].pop(HEAD, None)  # that of the original
                head = json.dumps(values).encode()
                writer.write_members(read_head(head).info, {**members, HEAD: head})
            shards.append(writer.finish())
    return _write_index(target, manifest, shards)


def link_copies(source: Path, target: Path, *, times: int) -> Manifest:
    """Links each shard of `source` several times under new names: many samples that take no disk space."""
    manifest, index = load_manifest(source), load_index(source)
    shards = []
    for number in range(times * len(manifest.shards)):
        original = manifest.shards[number % len(manifest.shards)]
        name = f"train-{number:06d}"
        os.link(source / f"{original.name}.tar", target / f"{name}.tar")
        own = (index.shard == number % len(manifest.shards)).nonzero()[0].tolist()
        rows = tuple(index.row(row) for row in own)
        values = {"split": "train", "num_bytes": original.num_bytes, "sha256": original.sha256}
        shards.append(ShardSummary(name=name, rows=rows, **values))
    return _write_index(target, manifest, shards)


def _write_index(target: Path, manifest: Manifest, shards: list[ShardSummary]) -> Manifest:
    index = index_bytes(shards)
    (target / INDEX).write_bytes(index)
    entries = tuple(map(ShardEntry.of, shards))
    manifest = replace(manifest, shards=entries, index_sha256=hashlib.sha256(index).hexdigest())
    (target / MANIFEST).write_bytes(manifest.to_json())
    return manifest
