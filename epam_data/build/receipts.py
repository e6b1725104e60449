"""Receipts: how a resumed build recognises finished shards.

The receipt of a shard is stored in the output beside the shards and written after its shard, so if it exists, the shard
is complete. It contains the shard's rows of the index and its entry of the manifest, so the shard need not be read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from epam_data.build.output import WORK_FOLDER, Output
from epam_data.schema import STORED_SPLITS, Problem
from epam_data.shards.layout import ShardSummary
from epam_data.system.typed_json import decode_json

_FOLDER = f"{WORK_FOLDER}/receipts"

_SHARD_NAME = re.compile(rf"({'|'.join(STORED_SPLITS)})-\d{{6,}}")
"""Names of our shards: a shard of another name, which a stranger's receipt claims, is never touched."""

_SEALED = re.compile(rb'\{"sha256":"([0-9a-f]{64})","result":(.*)\}', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """A finished shard and its skipped or mended clips."""

    summary: ShardSummary
    problems: tuple[Problem, ...]
    fingerprint: str  # of its task
    stamp: str | None  # of its content, from the output; None: the output has no stamps
    seconds: float  # build time

    @property
    def num_frames(self) -> int:
        """Frames of all its samples."""
        return sum(row.num_frames for row in self.summary.rows)

    @property
    def num_skipped(self) -> int:
        """Clips that are missing from the shard because they failed."""
        return sum(problem.action == "skipped" for problem in self.problems)


def write_receipt(output: Output, result: ShardResult) -> None:
    """Write the receipt of a published shard."""
    content = msgspec.json.encode(result)
    sha256 = hashlib.sha256(content).hexdigest().encode()
    output.write(f"{_FOLDER}/{result.summary.name}.json", b'{"sha256":"%b","result":%b}' % (sha256, content))


def read_receipts(output: Output) -> dict[str, ShardResult]:
    """All receipts, by shard name; ignored are those that are not, byte for byte, as they were written."""
    receipts = {}
    for file, data in output.read_folder(_FOLDER).items():
        name, sealed = file.removesuffix(".json"), _SEALED.fullmatch(data)
        if (
            sealed is None
            or not _SHARD_NAME.fullmatch(name)
            or hashlib.sha256(sealed[2]).hexdigest().encode() != sealed[1]
        ):
            continue
        with suppress(ValueError):
            result = decode_json(sealed[2], ShardResult, file)
            if result.summary.name == name:
                receipts[name] = result
    return receipts


def is_intact(output: Output, receipt: ShardResult) -> bool:
    """Whether the shard of a receipt still exists and is complete."""
    summary = receipt.summary
    return output.is_intact(
        f"{summary.name}.tar", num_bytes=summary.num_bytes, sha256=summary.sha256, stamp=receipt.stamp
    )


def remove_others(output: Output, names: Iterable[str]) -> None:
    """Remove shards of an earlier plan: those with a whole receipt (so a build wrote them) that are not in `names`."""
    wanted = set(names)
    for name in read_receipts(output):
        if name not in wanted:
            output.remove(f"{name}.tar")
            output.remove(f"{_FOLDER}/{name}.json")
