"""Whether the rows of an index can be: keys are file names, bytes are inside their shards, labels are classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import MAX_KEY_LENGTH
from epam_data.shards.layout import BLOCK
from epam_data.shards.manifest import Manifest
from epam_data.system.printable import brief

if TYPE_CHECKING:
    from epam_data.shards.index import Index

_KEY_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_ROWS = 1 << 16  # looked at together, so that a large index takes no memory


def check_values(index: Index, manifest: Manifest, what: str) -> None:
    """Refuse an index with a row that its manifest does not allow.

    Args:
        index: the rows.
        manifest: of the same directory.
        what: the name of the index, for the error.

    Raises:
        ValueError: names the row, what is allowed and what it has.
    """
    num_samples = [shard.num_samples for shard in manifest.shards]
    stray = (index.shard < 0) | (index.shard >= len(num_samples))
    if stray.any():
        row = int(stray.argmax())
        raise ValueError(f"{what}: row {row}: shard must be in 0..{len(num_samples) - 1}, got {index.shard[row]}")
    counts = np.bincount(index.shard, minlength=len(num_samples)).tolist()
    if counts != num_samples:
        number = next(number for number, count in enumerate(counts) if count != num_samples[number])
        name = manifest.shards[number].name
        raise ValueError(f"{what}: has {counts[number]} samples of {name}, the manifest {num_samples[number]}")
    for first in range(0, len(index), _ROWS):
        for bad, wrong in _impossible(index, slice(first, first + _ROWS), manifest):
            if bad.any():
                row = first + int(bad.argmax())
                raise ValueError(
                    f"{what}: row {row} ({brief(bytes(index.keys[row]))}): {wrong}, got {_shown(index, row)}"
                )


def _impossible(index: Index, rows: slice, manifest: Manifest) -> Iterator[tuple[Any, str]]:
    """For each rule: which of the rows break it, and the rule in words."""
    yield _bad_keys(index.keys[rows]), f"a key must be 1 to {MAX_KEY_LENGTH} characters of [A-Za-z0-9_-]"
    num_bytes = np.array([shard.num_bytes for shard in manifest.shards], np.int64)[index.shard[rows]]
    offset, sizes = index.offset[rows], index.member_bytes[rows]
    yield (offset < 0) | (offset % BLOCK != 0), f"offset must be a multiple of {BLOCK} and >= 0"
    yield (sizes < 0).any(axis=1), "sizes of members must be >= 0"
    # No sum below overflows: a manifest's shards are smaller than 2**50 bytes.
    outside = (offset > num_bytes) | (sizes > num_bytes[:, None]).any(axis=1)
    padded = -(-sizes // BLOCK) * BLOCK
    yield outside | (offset + (padded + BLOCK).sum(axis=1) > num_bytes), "its members must be inside the shard"
    yield index.num_frames[rows] < 1, "num_frames must be >= 1"
    for name, count in (("label", len(manifest.classes)), ("coarse_label", len(manifest.groups))):
        label = getattr(index, name)[rows]
        yield (label < -1) | (label >= count), f"{name} must be in 0..{count - 1}, or -1 if there is none"


def _bad_keys(keys: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    matrix = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), -1)
    ended = matrix == 0
    bad: NDArray[np.bool_] = ended[:, 0] | (ended[:, :-1] & ~ended[:, 1:]).any(axis=1)  # empty, or a NUL inside
    if matrix.tobytes().translate(None, _KEY_BYTES + b"\0"):
        bad |= ~np.isin(matrix, np.frombuffer(_KEY_BYTES + b"\0", np.uint8)).all(axis=1)
    return bad


def _shown(index: Index, row: int) -> str:
    values = ("offset", "member_bytes", "num_frames", "label", "coarse_label")
    return ", ".join(f"{name} {getattr(index, name)[row].tolist()}" for name in values)
