"""A check's result -> one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epam_data.check.check import CheckReport
from epam_data.check.plots import plots
from epam_data.check.ranking import Ranking, rankings
from epam_data.check.rules.splits import protocol_of, split_of_clips
from epam_data.schema import STORED_SPLITS, Sample
from epam_data.shards.codec import HEATMAP_TOLERANCE, decode
from epam_data.shards.reader import ShardReader
from epam_data.show.page import environment, image_url
from epam_data.show.picture import contact_sheet

_MAX_FINDINGS = 1000  # rows of the table; the page reports if there are more
_MAX_PROBLEM_CLIPS = 12  # shown with a picture


@dataclass(frozen=True, kw_only=True)
class ClipPicture:
    """A clip shown in the report."""

    key: str
    title: str  # class and split
    alt: str
    url: str  # the picture as a data URL; "": the clip cannot be shown
    width: int = 0
    height: int = 0
    why_not: str = ""


def write_report(report: CheckReport, folder: Path, *, num_clips: int = 6, seed: int = 0) -> Path:
    """Write `folder/index.html`, with pictures of clips with problems, seeded random clips and extreme clips.

    Args:
        report: result of `check`.
        folder: created if missing.
        num_clips: number of random clips.
        seed: chooses the random clips.

    Returns:
        Path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ranked = rankings(report.measures)
    problem_clips, random_clips, extreme_clips = _choose(report, ranked, num_clips, seed)
    path = folder / "index.html"
    path.write_text(
        environment("epam_data")
        .get_template("report.html.j2")
        .render(
            manifest=report.manifest,
            report=report,
            findings=report.findings[:_MAX_FINDINGS],
            kinds=sorted({finding.check for finding in report.findings}),
            tolerance=HEATMAP_TOLERANCE,
            splits=_split_table(report),
            class_table=_class_table(report),
            num_bytes=sum(shard.num_bytes for shard in report.manifest.shards),
            plots=plots(report),
            rankings=ranked,
            problem_clips=problem_clips,
            random_clips=random_clips,
            flipped=_picture(report, random_clips[0].key, num_frames=2, flip=True) if random_clips else None,
            extreme_clips=extreme_clips,
            pictured={clip.key for clip in (*problem_clips, *random_clips, *extreme_clips)},
        ),
        encoding="utf-8",
    )
    return path


def _choose(
    report: CheckReport, ranked: list[Ranking], num_clips: int, seed: int
) -> tuple[list[ClipPicture], list[ClipPicture], list[ClipPicture]]:
    """Clips with problems, random clips, and the most extreme of each ranking; no clip is shown twice."""
    index = report.index
    faulty = [key for key in dict.fromkeys(finding.key for finding in report.findings) if key in index.row_of_key]
    chosen = faulty[:_MAX_PROBLEM_CLIPS]
    order = np.random.default_rng(seed).permutation(len(index)).tolist()
    random = [key for key in (index.row(row).key for row in order) if key not in chosen][:num_clips]
    extreme = list(dict.fromkeys(ranking.clips[0][0] for ranking in ranked))
    extreme = [key for key in extreme if key not in chosen and key not in random]
    return (
        [_picture(report, key, num_frames=1) for key in chosen],
        [_picture(report, key, num_frames=2) for key in random],
        [_picture(report, key, num_frames=1) for key in extreme],
    )


def _picture(report: CheckReport, key: str, *, num_frames: int, flip: bool = False) -> ClipPicture:
    """The picture of a clip, or the reason why it cannot be shown."""
    index, manifest = report.index, report.manifest
    number = index.row_of_key[key]
    row, shard = index.row(number), int(index.shard[number])
    known = 0 <= row.label < len(manifest.classes)
    name = f"{row.label} {manifest.classes[row.label]}" if known else "hidden label"
    title = f"{name}, {split_of_clips(manifest, index)[number]}"
    try:
        image = contact_sheet(_read(report, shard, number), num_frames, layout=manifest.layout, flip=flip)
    except (ValueError, IndexError, OSError) as error:
        return ClipPicture(key=key, title=title, alt="", url="", why_not=str(error))
    mirrored = "mirrored " if flip else ""
    alt = f"{key}, {name}: {mirrored}frame, skeleton and heatmap, {num_frames} moments"
    return ClipPicture(key=key, title=title, alt=alt, url=image_url(image), width=image.width, height=image.height)


def _read(report: CheckReport, shard: int, number: int) -> Sample:
    reader = ShardReader(report.root, [entry.name for entry in report.manifest.shards])
    try:
        return decode(reader.read_members(shard, report.index.row(number), report.manifest.codecs.endings))
    finally:
        reader.close()


def _split_table(report: CheckReport) -> list[tuple[str, int, int, int | None]]:
    """(split, shards, clips, clips in the published files) of each split."""
    manifest = report.manifest
    published = protocol_of(manifest, report.reader).num_clips
    rows = []
    for split in STORED_SPLITS:
        shards = [shard for shard in manifest.shards if shard.split == split]
        if shards or split in published:
            rows.append((split, len(shards), sum(shard.num_samples for shard in shards), published.get(split)))
    return rows


def _class_table(report: CheckReport) -> list[tuple[int, str, str, list[int]]]:
    """(label, class, group, clips in each split of `_split_table`) of each class."""
    manifest, index = report.manifest, report.index
    splits = split_of_clips(manifest, index)
    counts = [
        np.bincount(index.label[(splits == split) & (index.label >= 0)], minlength=len(manifest.classes))
        for split, *_ in _split_table(report)
    ]
    groups = dict(enumerate(manifest.groups))
    coarse_of = manifest.coarse_of or (-1,) * len(manifest.classes)
    return [
        (label, name, groups.get(coarse_of[label], ""), [int(count[label]) for count in counts])
        for label, name in enumerate(manifest.classes)
    ]
