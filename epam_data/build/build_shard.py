"""One shard of a build: a pure function of its task and the raw files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

from epam_data.build.plan import BuildPlan, ClipLimits, ShardTask
from epam_data.build.receipts import ShardResult, write_receipt
from epam_data.build.skeleton_store import SkeletonStore
from epam_data.build.watch import Count, ShardNotes
from epam_data.samples.prepare import prepare
from epam_data.schema import Clip, Problem, SampleInfo
from epam_data.shards.codec import encode
from epam_data.shards.writer import ShardWriter
from epam_data.system.isolated import CallFailedError, IsolatedProcess, ProcessStartError


def build_shard(plan: BuildPlan, task: ShardTask) -> ShardResult:
    """Build one shard and leave its receipt. A clip that fails is recorded; its place stays empty."""
    problems: list[Problem] = []
    begun, notes, count = time.monotonic(), ShardNotes(plan.work_folder), Count()
    output = plan.output
    output.staging.mkdir(parents=True, exist_ok=True)
    with (
        SkeletonStore(plan.store) as store,
        ShardWriter(output.staging, task.name, task.split, plan.shard) as writer,
    ):
        for row, video in zip(task.rows, task.videos, strict=True):
            notes.write(task.name, count)
            clip = store.clip(row, plan.raw.videos / video if video else None)
            try:
                info, members, mended = _clip_process(plan.limits).call(make_members, plan, clip)
            except ProcessStartError:  # the machine is to blame, not the clip
                raise
            except Exception as error:  # the one boundary: a clip of many may fail, for whatever reason its files give
                reason = str(error) if isinstance(error, ValueError) else f"{clip.name}: {_describe(error)}"
                problems.append(Problem(name=clip.name, split=clip.split, action="skipped", reason=reason))
                count += Count(clips=1, skipped=1)
                continue
            assert info.key == clip.key, f"asked for {clip.key}, got {info.key}"
            if mended:
                problems.append(Problem(name=clip.name, split=clip.split, action="mended", reason=mended))
            writer.write_members(info, members)
            count += Count(clips=1, frames=info.num_frames)
        summary = writer.finish()
    result = ShardResult(
        summary=summary,
        problems=tuple(problems),
        fingerprint=task.fingerprint,
        stamp=output.publish(f"{task.name}.tar"),
        seconds=time.monotonic() - begun,
    )
    write_receipt(output, result)
    notes.remove([task.name])
    return result


def make_members(plan: BuildPlan, clip: Clip) -> tuple[SampleInfo, dict[str, bytes], str | None]:
    """Decode, prepare and encode one clip: all that needs its video, and all that its video can break."""
    sample, mended = prepare(clip, plan.prepare, plan.layout, plan.taxonomy)
    members = encode(sample, plan.shard)
    return sample.info, members, mended


@dataclass(frozen=True)
class _BuildShard:
    """`build_shard` with its plan: one picklable function of the task for every executor."""

    plan: BuildPlan

    def __call__(self, task: ShardTask) -> ShardResult:
        return build_shard(self.plan, task)


@cache
def _clip_process(limits: ClipLimits) -> IsolatedProcess:
    """The decoding process of this process; it lives from shard to shard."""
    return IsolatedProcess(timeout_seconds=limits.clip_seconds, memory_bytes=limits.process_mb * 1_000_000)


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, CallFailedError) else repr(error)
