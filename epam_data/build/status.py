"""Status of a build, read from its files: works from any terminal, and after the build was killed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from epam_data.build.output import WORK_FOLDER, open_output
from epam_data.build.receipts import read_receipts
from epam_data.build.watch import Count, ShardNotes, read_tasks
from epam_data.shards.layout import MANIFEST
from epam_data.system.folder_lock import live_holders
from epam_data.system.progress import duration, volume
from epam_data.system.remote import is_url

_WHAT_TO_DO = {
    "interrupted": "rerun the build command to resume",
    "not finalised": "run epam-data finalise, or rerun the build command",
}


@dataclass(frozen=True, kw_only=True)
class BuildStatus:
    """Status of a build."""

    out: str
    state: str  # "finished", "at work", "interrupted", or "not finalised": only index and manifest are missing
    workplaces: tuple[str, ...]  # running build processes: "process 4711 on node3, since ..."
    num_shards: int
    num_shards_done: int
    num_clips: int
    num_clips_done: int  # built or skipped, including shards in progress
    num_bytes: int  # of the finished shards
    skipped: dict[str, int]  # clips of the finished shards, by reason
    num_shards_in_work: int
    seconds_left: float | None  # at the speed of the finished shards, with the current workers; None: unknown

    def describe(self) -> str:
        """Lines for a terminal."""
        lines = [
            f"{self.out}: {self.state}",
            *self.workplaces,
            f"{self.num_shards_done} of {self.num_shards} shards ({volume(self.num_bytes)}), "
            f"{self.num_clips_done} of {self.num_clips} clips",
        ]
        if self.num_shards_in_work:
            left = "time left unknown" if self.seconds_left is None else f"about {duration(self.seconds_left)} left"
            lines.append(f"{self.num_shards_in_work} shards in progress, {left}")
        lines += [f"{count} skipped: {reason}" for reason, count in self.skipped.items()]
        if self.state in _WHAT_TO_DO:
            lines.append(_WHAT_TO_DO[self.state])
        return "\n".join(lines)


def build_status(out: str, work: Path | None = None) -> BuildStatus:
    """Status of the build in `out`.

    Args:
        out: folder or URL of the shards.
        work: for a URL: the work folder of the build.

    Raises:
        ValueError: no build was started there, or `out` is a URL and `work` is missing.
    """
    if is_url(out) and work is None:
        raise ValueError(f"{out}: give the build's --work folder, too")
    work_folder = work or Path(out) / WORK_FOLDER
    tasks, holders = read_tasks(work_folder), live_holders(work_folder)
    output = open_output(out, work_folder)
    there = output.shard_sizes()
    done = [
        result
        for name, result in read_receipts(output).items()  # skips receipts of an earlier build and of lost shards
        if name in tasks and result.fingerprint == tasks[name][1] and there.get(name) == result.summary.num_bytes
    ]
    names = {result.summary.name for result in done}
    in_progress = {name: n for name, n in ShardNotes(work_folder).read().items() if holders and name not in names}
    if holders:
        state = "at work"
    elif len(done) < len(tasks):
        state = "interrupted"
    else:
        state = "finished" if output.read(MANIFEST) is not None else "not finalised"
    total, built = sum(clips for clips, _ in tasks.values()), sum(map(Count.of, done), Count())
    now = sum(in_progress.values(), built)
    pace = sum(result.seconds for result in done) / built.clips if built.clips else None
    skipped = Counter(problem.kind for result in done for problem in result.problems if problem.action == "skipped")
    return BuildStatus(
        out=str(out),
        state=state,
        workplaces=tuple(map(str, holders)),
        num_shards=len(tasks),
        num_shards_done=len(done),
        num_clips=total,
        num_clips_done=now.clips,
        num_bytes=sum(result.summary.num_bytes for result in done),
        skipped=dict(skipped.most_common()),
        num_shards_in_work=len(in_progress),
        seconds_left=(total - now.clips) * pace / len(in_progress) if pace is not None and in_progress else None,
    )
