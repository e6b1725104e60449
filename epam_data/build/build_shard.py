"""One shard of a build: a pure function of its task and the raw files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path

from epam_data.build.plan import BuildPlan, ClipLimits, ShardTask, clips_of
from epam_data.build.receipts import ShardResult, write_receipt
from epam_data.build.skeleton_store import SkeletonStore
from epam_data.build.watch import Count, ShardNotes
from epam_data.readers.videos import VideoFinder
from epam_data.samples.prepare import prepare
from epam_data.schema import Clip, Problem, SampleInfo
from epam_data.shards.codec import MAX_ARRAY_BYTES, encode
from epam_data.shards.writer import ShardWriter
from epam_data.system.isolated import CallFailedError, ChildTraceback, IsolatedProcess, ProcessStartError

Members = tuple[SampleInfo, dict[str, bytes], str | None]
"""Of one clip: what its KEY.json says, the content of each member, and what had to be mended."""

FIRST_CLIPS = 20
"""A build does not begin if its first clips, so many, all fail for one reason."""

_PROCESS_BYTES = 200_000_000
"""The least that a decoding process takes beside the arrays of a clip."""

_PACKAGE = Path(__file__).parents[1]
_BUGS = (TypeError, AttributeError, NameError, ImportError, AssertionError, LookupError)


class BugError(RuntimeError):
    """A clip met a bug of this package: the build ends, since other clips may meet it, too."""


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
        for row, video in clips_of([task]):
            notes.write(task.name, count)
            clip = store.clip(row, plan.raw.videos / video if video else None)
            made = members_or_problem(_clip_process(plan.limits), plan, clip)
            if isinstance(made, Problem):
                problems.append(made)
                count += Count(clips=1, skipped=1)
                continue
            info, members, mended = made
            assert info.key == clip.key, f"asked for {clip.key}, got {info.key}"
            if mended:
                reason = f"{clip.name}: {mended}"
                problems.append(Problem(name=clip.name, split=clip.split, action="mended", reason=reason))
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


def check_first_clips(plan: BuildPlan, store: SkeletonStore, tasks: list[ShardTask]) -> None:
    """Try the first clips of a build, until one can be built or two fail for different reasons: often a single clip.

    Raises:
        ValueError: the first `FIRST_CLIPS` clips all fail for one reason, as they do where a path is wrong.
    """
    problems: list[Problem] = []
    for row, video in islice(clips_of(tasks), FIRST_CLIPS):
        clip = store.clip(row, plan.raw.videos / video if video else None)
        made = members_or_problem(_clip_process(plan.limits), plan, clip)
        if not isinstance(made, Problem) or made.kind != (problems or [made])[0].kind:
            return
        problems.append(made)
    if len(problems) == FIRST_CLIPS:
        raise ValueError(
            f"the first {FIRST_CLIPS} clips all failed for one reason: {problems[0].kind} (one of them: "
            f"{problems[0].reason}). Check --raw.videos {plan.raw.videos} and --raw.skeletons {plan.raw.skeletons}; "
            f"to build the other clips, allow failures with --max-failures {FIRST_CLIPS} or more"
        )


def members_or_problem(process: IsolatedProcess, plan: BuildPlan, clip: Clip) -> Members | Problem:
    """What one clip gives, or why it is skipped.

    Args:
        process: where it is decoded.
        plan: how.
        clip: the recording.

    Raises:
        BugError: the clip met a bug of this package; its causes say where.
        ProcessStartError: the machine cannot start a process.
    """
    if clip.video is None:
        reason = f"{clip.name}: no video found; {_finder(plan.raw.videos).describe_absence(clip.name)}"
        return Problem(name=clip.name, split=clip.split, action="skipped", reason=reason)
    try:
        check_length(plan, clip)
        members: Members = process.call(make_members, plan, clip)
    except ProcessStartError:  # the machine is to blame, not the clip
        raise
    except Exception as error:  # the one boundary: a clip of many may fail, for whatever reason its files give
        if _is_bug(error):
            raise BugError(
                f"{clip.name}: {error!r} is a bug of epam_data, please report it with the lines above. "
                "To build without this clip, move its video away"
            ) from error
        reason = str(error) if isinstance(error, ValueError) else f"{clip.name}: {_describe(error, plan.limits)}"
        return Problem(name=clip.name, split=clip.split, action="skipped", reason=reason)
    return members


def check_length(plan: BuildPlan, clip: Clip) -> None:
    """Refuse a clip that is too long for the memory of a decoding process, before anything of it is decoded.

    What a process needs beside the arrays depends on the video, so it is not known here: a clip that passes may yet
    fail for want of memory.

    Raises:
        ValueError: the clip is too long; says what to set.
    """
    num_frames, prepare = clip.keypoints.shape[1], plan.prepare
    channels = len(plan.layout.limbs if prepare.heatmap_kind == "limbs" else plan.layout.joints)
    heatmap = num_frames * channels * prepare.heatmap_size_px**2
    if heatmap > MAX_ARRAY_BYTES:
        raise ValueError(
            f"{clip.name}: the heatmap of its {num_frames} frames has {heatmap / 1e6:.0f} MB, at most "
            f"{MAX_ARRAY_BYTES / 1e6:.0f} can be read; cut the recording into shorter ones"
        )
    least = _PROCESS_BYTES + 2 * heatmap + num_frames * 3 * prepare.rgb_size_px**2
    if least > plan.limits.process_mb * 1_000_000:
        advised = -(-1.4 * least // 100_000_000) * 100
        raise ValueError(
            f"{clip.name}: its {num_frames} frames need more memory than limits.process_mb = {plan.limits.process_mb}; "
            f"set --limits.process_mb {advised:.0f}, or cut the recording into shorter ones"
        )


def _is_bug(error: Exception) -> bool:
    # A bug of ours must not pass for a bad clip, and a bad clip must not end a build. These classes are Python's words
    # for wrong code, so where our own lines raise them (or call C code that does) it is a bug. Where a library's lines
    # do, bytes that it did not expect may be the reason, and they cost the clip; so do all other classes: ValueError,
    # OSError, MemoryError, CallFailedError, and the libraries' own.
    origin = error.__cause__
    in_library = isinstance(origin, ChildTraceback) and not Path(origin.file).is_relative_to(_PACKAGE)
    return isinstance(error, _BUGS) and not in_library


def make_members(plan: BuildPlan, clip: Clip) -> Members:
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


@lru_cache(maxsize=1)
def _finder(videos: Path) -> VideoFinder:
    """Lists the folders of the videos once."""
    return VideoFinder(videos)


def _describe(error: Exception, limits: ClipLimits) -> str:
    if isinstance(error, MemoryError):
        return (
            f"needs more memory than limits.process_mb = {limits.process_mb}; set --limits.process_mb "
            f"{2 * limits.process_mb}, or cut the recording into shorter ones"
        )
    return str(error) if isinstance(error, CallFailedError) else repr(error)
