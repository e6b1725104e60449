"""Check a directory of shards for errors.

Basic checks, for every sample: hashes, tar structure, members, shapes, labels, frame offsets, and the set as a whole.
In depth, for a seeded random subset: the heatmap is rendered again, and joints, crop and frame counts must match; with
`rgb`, every frame is decoded too, and its motion must match that of the joints. If a shard's hash is wrong, all its
samples are checked in depth, to find the damage.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epam_data.check.check_shard import CheckTask, ClipMeasures, ShardChecker, ShardFindings
from epam_data.check.rules.catalogue import annotation_findings, index_findings, problem_findings, taxonomy_findings
from epam_data.check.rules.finding import Finding
from epam_data.check.rules.motion import set_shift
from epam_data.check.rules.splits import (
    balance_findings,
    duplicate_findings,
    label_findings,
    notes,
    split_findings,
)
from epam_data.readers import DATASETS, RawSettings, Reader, find_reader
from epam_data.readers.limits import read_with_limits
from epam_data.readers.names import unique_keys
from epam_data.readers.videos import VideoFinder
from epam_data.schema import Clip, Problem
from epam_data.shards.index import Index, load_index
from epam_data.shards.layout import INDEX, PROBLEMS
from epam_data.shards.manifest import Manifest, load_manifest, read_small_file
from epam_data.system.checked_fields import Seed, check_fields
from epam_data.system.executors import ExecutorSettings, run
from epam_data.system.files import file_sha256
from epam_data.system.printable import brief
from epam_data.system.progress import OnProgress, silent
from epam_data.system.typed_json import decode_json

_MAX_PROBLEMS_BYTES = 1 << 28  # of problems.jsonl


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """How thoroughly to check."""

    sample: int | str = 64
    """Clips to check in depth: a number, a share such as `1%`, or `all`; all clips get the basic checks."""
    rgb: bool = False
    """In depth, decode every frame and compare its motion with that of the joints."""
    seed: Seed = 0
    """Seed that chooses the clips."""
    skeletons: Path | None = None
    """Skeleton pickles of the build: each of their clips must be in the shards, or reported as a problem."""
    videos: Path | None = None
    """Videos of the build: in depth, compare with the number of frames in their headers."""
    dataset: str | None = None
    """Data set whose protocols, names and classes apply: `module:NAME` of your own reader, whose code is run (see
    `epam-data build --help`); null: as the shards say."""

    def __post_init__(self) -> None:
        check_fields(self, "check")
        if not re.fullmatch(r"\d{1,18}|\d{1,3}(\.\d{1,18})?%|all", str(self.sample)) or self.num_deep(100) > 100:
            raise ValueError(f"check.sample must be a number, a share such as 1%, or all, got {brief(self.sample)}")

    def num_deep(self, num_samples: int) -> int:
        """How many of `num_samples` clips to check in depth; a share gives at least one."""
        if self.sample == "all":
            return num_samples
        text = str(self.sample)
        if text.endswith("%"):
            return math.ceil(num_samples * float(text[:-1]) / 100)
        return min(int(text), num_samples)


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The result of a check."""

    root: Path
    manifest: Manifest
    index: Index
    reader: Reader | None  # of the data set; None: unknown
    settings: CheckSettings
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    measures: tuple[ClipMeasures, ...]

    @property
    def num_samples(self) -> int:
        """Clips that could be opened."""
        return len(self.measures)

    @property
    def num_deep(self) -> int:
        """Clips whose heatmap was compared with the reference."""
        return sum(clip.heatmap_error is not None for clip in self.measures)

    @property
    def num_decoded(self) -> int:
        """Clips with every frame decoded."""
        return sum(clip.decoded for clip in self.measures)

    @property
    def heatmap_error(self) -> float:
        """Largest `|stored - reference| / scale` over the clips checked in depth."""
        return max((clip.heatmap_error for clip in self.measures if clip.heatmap_error is not None), default=0.0)


def check(root: Path, settings: CheckSettings, where: ExecutorSettings, progress: OnProgress = silent) -> CheckReport:
    """Check a directory of shards.

    Args:
        root: the directory.
        settings: how thoroughly to check.
        where: the executor to run on.
        progress: called with the number of finished shards.

    Raises:
        ValueError: the manifest, the index, or the raw data named in the settings cannot be read.
    """
    manifest, index = load_manifest(root), load_index(root)
    if settings.videos is not None:
        VideoFinder(settings.videos)
    # These need no shard. Run them first, so that unusable settings fail at once, not after hours.
    reader = reader_of(manifest, settings)
    of_set = [*directory_findings(root, manifest), *set_findings(root, manifest, index, settings, reader)]
    tasks = shard_tasks(manifest, index, deep_keys(index, settings))
    checker = ShardChecker(root=root, manifest=manifest, rgb=settings.rgb, videos=settings.videos)
    results: dict[str, ShardFindings] = {}
    num_found = 0
    for name, result in run(checker, tasks, where):
        results[name] = result
        num_found += len(result.findings)
        progress(len(results), len(tasks), f"{num_found} problems")
    in_order = [results[name] for name in dict.fromkeys(task.entry.name for task in tasks)]
    measures = tuple(clip for result in in_order for clip in result.measures)
    contents = [content for result in in_order for content in result.contents]
    shift = set_shift([clip.motion for clip in measures if clip.motion])
    findings = [
        *of_set,
        *duplicate_findings(contents),
        *(finding for result in in_order for finding in result.findings),
        *([shift] if shift else []),
    ]
    return CheckReport(
        root=root,
        manifest=manifest,
        index=index,
        reader=reader,
        settings=settings,
        findings=tuple(sorted(_with_shards(findings, manifest, index), key=lambda finding: finding.order)),
        notes=tuple(notes(manifest, index, reader)),
        measures=measures,
    )


def shard_tasks(manifest: Manifest, index: Index, deep: frozenset[str]) -> list[CheckTask]:
    """One task for each shard that the manifest lists."""
    tasks = []
    for number, entry in enumerate(manifest.shards):
        rows = tuple(index.row(row) for row in np.flatnonzero(index.shard == number).tolist())
        tasks.append(CheckTask(entry=entry, rows=rows, deep=deep.intersection(row.key for row in rows)))
    return tasks


def deep_keys(index: Index, settings: CheckSettings) -> frozenset[str]:
    """The seeded random subset of keys to check in depth."""
    chosen = np.random.default_rng(settings.seed).choice(len(index), settings.num_deep(len(index)), replace=False)
    return frozenset(key.decode() for key in index.keys[chosen].tolist())


def directory_findings(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Compare the files in the directory with the manifest."""
    if file_sha256(root / INDEX) != manifest.index_sha256:
        yield Finding(check="index", what=f"the sha256 of {INDEX} is not the manifest's")
    listed = {f"{shard.name}.tar" for shard in manifest.shards}
    for path in sorted(root.glob("*.tar")):
        if path.name not in listed:
            yield Finding(check="index", shard=path.stem, what="the manifest does not list this shard")


def reader_of(manifest: Manifest, settings: CheckSettings) -> Reader | None:
    """The reader of the shards' data set; None for a custom reader that the settings do not name.

    Raises:
        ValueError: the reader named in the settings cannot be found.
    """
    if settings.dataset is not None:
        return find_reader(settings.dataset)
    # Built-in data sets only: a manifest must not choose code to import.
    return find_reader(manifest.dataset) if manifest.dataset in DATASETS else None


def set_findings(
    root: Path, manifest: Manifest, index: Index, settings: CheckSettings, reader: Reader | None
) -> Iterator[Finding]:
    """Findings about the set as a whole; reads no shard."""
    yield from index_findings(manifest, index)
    yield from taxonomy_findings(manifest, reader)
    yield from split_findings(manifest, index, reader)
    yield from label_findings(manifest, index)
    yield from balance_findings(manifest, index, settings.seed)
    try:
        problems = load_problems(root)
    except ValueError as error:
        yield Finding(check="annotation", what=str(error))
        return
    yield from problem_findings(manifest, index, problems)
    if settings.skeletons is not None:
        yield from annotation_findings(manifest, index, problems, _annotated(settings.skeletons, manifest, reader))


def load_problems(root: Path) -> list[Problem]:
    """Read `problems.jsonl`, which a build writes beside the shards.

    Raises:
        ValueError: the file is missing or damaged.
    """
    data = read_small_file(root, PROBLEMS, _MAX_PROBLEMS_BYTES)
    if data is None:
        raise ValueError(f"{PROBLEMS} is missing")
    lines = data.splitlines()
    return [decode_json(line, Problem, f"{PROBLEMS}: line {number}") for number, line in enumerate(lines, 1)]


def _annotated(skeletons: Path, manifest: Manifest, reader: Reader | None) -> list[tuple[str, str, int | None]]:
    """(key, split, label) of each clip of the skeleton files."""
    if reader is None:
        allowed = f"{', '.join(DATASETS)}, or one named by check.dataset"
        raise ValueError(f"check.skeletons: data set must be one of {allowed}, got {manifest.dataset!r}")
    raw = RawSettings(videos=skeletons, skeletons=skeletons, protocol=manifest.protocol)
    if manifest.dataset in DATASETS and reader is find_reader(manifest.dataset):
        return read_with_limits(reader.files(raw), _read_annotated, manifest.dataset, raw)
    return annotated(reader.read(raw))


def _read_annotated(dataset: str, raw: RawSettings) -> list[tuple[str, str, int | None]]:
    return annotated(find_reader(dataset).read(raw))


def annotated(records: Iterable[Clip | Problem]) -> list[tuple[str, str, int | None]]:
    """(key, split, label) of each clip that a reader gives, with the keys that a build gives them."""
    keys, clips, others = dict[str, str](), list[tuple[str, str, int | None]](), list[str]()
    for record in records:
        if isinstance(record, Clip):
            keys[record.name] = record.key
            clips.append((record.name, record.split, record.label))
        else:
            others.append(record.name)
    keys = unique_keys(keys, others)
    return [(keys[name], split, label) for name, split, label in clips]


def _with_shards(findings: list[Finding], manifest: Manifest, index: Index) -> Iterator[Finding]:
    """Add the shard from the index to findings about a clip that lack it."""
    for finding in findings:
        row = index.row_of_key.get(finding.key) if finding.key and not finding.shard else None
        if row is not None and 0 <= index.shard[row] < len(manifest.shards):
            yield Finding(**{**finding.__dict__, "shard": manifest.shards[index.shard[row]].name})
        else:
            yield finding
