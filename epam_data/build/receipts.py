"""Receipts: how a build knows again the shards that are finished.

The receipt of a shard lies in the output, beside the shards, and is written after its shard: where there is one, the
shard is whole. It holds what index and manifest will say of the shard, so that nobody has to open it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from epam_data.build.output import WORK_FOLDER, Output
from epam_data.schema import Problem
from epam_data.shards.layout import ShardSummary
from epam_data.system.typed_json import decode_json

_FOLDER = f"{WORK_FOLDER}/receipts"


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """A finished shard and the clips that it had to skip or mend."""

    summary: ShardSummary
    problems: tuple[Problem, ...]
    fingerprint: str  # of its task
    stamp: str | None  # of its content, by the output; None: the output has none
    seconds: float  # that it took to build

    @property
    def num_frames(self) -> int:
        """Frames of all its samples."""
        return sum(row.num_frames for row in self.summary.rows)

    @property
    def num_skipped(self) -> int:
        """Clips that should be in the shard and are not."""
        return sum(problem.action == "skipped" for problem in self.problems)


def write_receipt(output: Output, result: ShardResult) -> None:
    """Leave the receipt of a shard that is published."""
    output.write(f"{_FOLDER}/{result.summary.name}.json", msgspec.json.encode(result))


def read_receipts(output: Output) -> dict[str, ShardResult]:
    """All receipts, by the name of the shard; one that cannot be read counts for nothing."""
    receipts = {}
    for name, data in output.read_folder(_FOLDER).items():
        with suppress(ValueError):
            receipts[name.removesuffix(".json")] = decode_json(data, ShardResult, name)
    return receipts


def is_intact(output: Output, receipt: ShardResult) -> bool:
    """Whether the shard of a receipt is still there, whole."""
    summary = receipt.summary
    return output.is_intact(
        f"{summary.name}.tar", num_bytes=summary.num_bytes, sha256=summary.sha256, stamp=receipt.stamp
    )


def remove_others(output: Output, names: Iterable[str]) -> None:
    """Remove the shards of an earlier plan: all that have a receipt, so that they are ours, and are not of `names`."""
    wanted = set(names)
    for file in output.read_folder(_FOLDER):
        name = file.removesuffix(".json")
        if name not in wanted:
            output.remove(f"{name}.tar")
            output.remove(f"{_FOLDER}/{file}")
