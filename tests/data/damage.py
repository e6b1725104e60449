"""Ways to damage a shard directory: behind the manifest's back, or with hashes and index made to agree."""

import io
import json
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from epam_data.schema import Sample
from epam_data.shards.codec import MEMBERS, ROLES, decode, encode
from epam_data.shards.index import index_bytes, load_index
from epam_data.shards.layout import INDEX, MANIFEST, IndexRow, ShardSummary
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import read_shard
from epam_data.system.files import file_sha256

Members = dict[str, bytes]


def change_bytes(path: Path, change: Callable[[bytearray], Any]) -> None:
    """Change a file behind the manifest's back."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def change_manifest(root: Path, **values: Any) -> None:
    manifest = json.loads((root / MANIFEST).read_text())
    (root / MANIFEST).write_text(json.dumps({**manifest, **values}))


def change_index(root: Path, **columns: Any) -> None:
    """Set whole columns, or with {row: value} single entries, and let the manifest know the new hash."""
    with h5py.File(root / INDEX, "r+") as file:
        for name, values in columns.items():
            column = file[name][()]
            for row, value in values.items() if isinstance(values, dict) else enumerate(values):
                column[row] = value
            file[name][...] = column
    change_manifest(root, index_sha256=file_sha256(root / INDEX))


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    """A tar of (name, content), as any tool would write it."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def rewrite(root: Path, name: str, change: Callable[[str, Members], Members]) -> None:
    """Write one shard anew with changed members, and index and manifest so that all hashes and sizes agree."""
    manifest, index = load_manifest(root), load_index(root)
    summaries = []
    for number, entry in enumerate(manifest.shards):
        rows = [index.row(row) for row in np.flatnonzero(index.shard == number).tolist()]
        path = root / f"{entry.name}.tar"
        if entry.name == name:
            samples = [(key, _with_checksums(change(key, members))) for key, _, members in read_shard(path)]
            write_tar(path, [(f"{key}.{ending}", members[ending]) for key, members in samples for ending in MEMBERS])
            offset, new = 0, []
            for row, (key, members) in zip(rows, samples, strict=True):
                sizes = tuple(len(members[ending]) for ending in MEMBERS)
                new.append(IndexRow(**{**row.__dict__, "key": key, "offset": offset, "member_bytes": sizes}))
                offset += sum(512 + -(-size // 512) * 512 for size in sizes)
            rows = new
        num_bytes, sha256 = path.stat().st_size, file_sha256(path)
        summaries.append(
            ShardSummary(name=entry.name, split=entry.split, num_bytes=num_bytes, sha256=sha256, rows=tuple(rows))
        )
    (root / INDEX).write_bytes(index_bytes(summaries))
    shards = [
        {**json_shard, "num_bytes": shard.num_bytes, "sha256": shard.sha256}
        for json_shard, shard in zip(json.loads((root / MANIFEST).read_text())["shards"], summaries, strict=True)
    ]
    change_manifest(root, shards=shards, index_sha256=file_sha256(root / INDEX))


def _with_checksums(members: Members) -> Members:
    checksums = {ending: zlib.crc32(members[ending]) for ending in MEMBERS[1:]}
    try:
        return with_json(members, crc32=checksums)
    except (ValueError, RecursionError):  # damaged on purpose
        return members


def rewrite_first(root: Path, change: Callable[[Members], Members], name: str = "train-000000") -> str:
    """`rewrite` of a shard's first sample; returns its key."""
    first, _, _ = next(read_shard(root / f"{name}.tar"))
    rewrite(root, name, lambda key, members: change(members) if key == first else members)
    return first


def with_json(members: Members, **values: Any) -> Members:
    return {**members, "json": json.dumps({**json.loads(members["json"]), **values}).encode()}


def with_sample(members: Members, **arrays: Any) -> Members:
    """The sample with other arrays (`keypoints`, `heatmap`, `frames`) and its untouched members kept byte for byte."""
    sample = decode(members)
    values = {"info": sample.info, "keypoints": sample.keypoints, "heatmap": sample.heatmap, "frames": sample.frames}
    new = encode(Sample(**{**values, **arrays}))
    old = {ending: members[ending] for role, ending in zip(ROLES, MEMBERS, strict=True) if role not in arrays}
    return {**new, **old, "json": new["json"] if "frames" in arrays else members["json"]}
