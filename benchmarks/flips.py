"""The effect of bit errors: flips random bits in the members of a clip, and reads the clip with a stream.

    python -m benchmarks.flips --shards shards/ntu60_xsub

A flip is found (an error that names shard and key), does no harm (the same clip), or goes unseen (a clip with other
values). All frames of the clip are read; its heatmaps are stored or drawn. `epam-data check` finds all of these errors.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure import publish
from epam_data.shards.codec import MEMBERS
from epam_data.shards.index import load_index
from epam_data.shards.layout import BLOCK
from epam_data.shards.manifest import load_manifest
from epam_data.stream import StreamSettings
from epam_data.stream.damage import DamageError
from epam_data.stream.loading.clip_reader import ClipReader
from epam_data.stream.order.draws import Draw

FLIPS = 1000


def fates(reader: ClipReader, path: Path, start: int, size: int, rng: np.random.Generator) -> dict[str, int]:
    """Flip bits in a byte range of a shard, one at a time, and read its first clip."""
    frames = np.arange(int(reader.index.num_frames[0]))
    draw = Draw(rgb_frames=frames, pose_frames=frames, flip=False)
    arrays = reader.layout(1, 1, len(frames), len(frames)).fresh()
    reader.fill_sample(0, 0, 0, [draw], arrays)
    good = {name: array.copy() for name, array in arrays.items()}
    counts = {"found": 0, "no harm": 0, "unseen": 0}
    with path.open("r+b", buffering=0) as file:
        for bit in rng.integers(8 * size, size=FLIPS).tolist():
            offset = start + bit // 8
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1 << bit % 8]))
            try:
                reader.fill_sample(0, 0, 0, [draw], arrays)
                same = all(np.array_equal(arrays[name], good[name], equal_nan=True) for name in good)
                counts["no harm" if same else "unseen"] += 1
            except DamageError:
                counts["found"] += 1
            file.seek(offset)
            file.write(bytes([byte]))
    return counts


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    arguments = parser.parse_args()
    manifest, index = load_manifest(arguments.shards), load_index(arguments.shards)
    row, rows = index.row(0), []
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(shutil.copy(arguments.shards / f"{manifest.shards[0].name}.tar", temporary))
        manifest = replace(manifest, shards=manifest.shards[:1])
        ranges = dict(zip(MEMBERS, zip(row.member_offsets(), row.member_bytes, strict=True), strict=True))
        for heatmap in ("stored", "drawn"):
            reader = ClipReader(Path(temporary), manifest, index, StreamSettings(heatmap=heatmap))
            unread = "heatmap.npy.zst" if heatmap == "drawn" else "keypoints.npy"
            for name, (start, size) in {"tar header": (row.offset, BLOCK), **ranges}.items():
                if name != unread:
                    found = fates(reader, path, start, size, np.random.default_rng(0))
                    rows.append({"heatmap": heatmap, "member": name, "flips": FLIPS, **found})
    publish("flips", rows)


if __name__ == "__main__":
    main()
