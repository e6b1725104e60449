"""A check's result -> one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from epam_data.check import CheckReport
from epam_data.codec import HEATMAP_TOLERANCE, decode
from epam_data.index import Index
from epam_data.picture import contact_sheet
from epam_data.schema import SPLITS
from epam_data.shard import ShardReader

_MAX_FINDINGS = 1000  # rows of the table; the page says when there are more


def write_report(report: CheckReport, folder: Path, *, num_clips: int = 6, seed: int = 0) -> Path:
    """Write `folder/index.html`, with pictures of seeded random clips; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    text = resources.files("epam_data").joinpath("templates", "report.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text)
    manifest, index = report.manifest, report.index
    path = folder / "index.html"
    path.write_text(
        template.render(
            manifest=manifest,
            report=report,
            findings=report.findings[:_MAX_FINDINGS],
            tolerance=HEATMAP_TOLERANCE,
            splits=_split_table(report),
            num_bytes=sum(shard.num_bytes for shard in manifest.shards),
            plots=[_class_plot(report), _frames_plot(index)],
            clips=_clip_pictures(report, num_clips, seed),
        ),
        encoding="utf-8",
    )
    return path


def _split_table(report: CheckReport) -> list[tuple[str, int, int]]:
    """(split, shards, samples) of each split that there is."""
    rows = []
    for split in SPLITS:
        shards = [shard for shard in report.manifest.shards if shard.split == split]
        if shards:
            rows.append((split, len(shards), sum(shard.num_samples for shard in shards)))
    return rows


def _class_plot(report: CheckReport) -> str:
    manifest, index = report.manifest, report.index
    split_of = np.array([shard.split for shard in manifest.shards])[index.shard]
    axes = _axes("Clips per class", "label", "clips")
    below = np.zeros(len(manifest.classes))
    for split in SPLITS:
        labels = index.label[(split_of == split) & (index.label >= 0)]
        counts = np.bincount(labels, minlength=len(below))[: len(below)]
        if counts.any():
            axes.bar(np.arange(len(below)), counts, bottom=below, label=split)
            below += counts
    if below.any():
        axes.legend()
    return _svg(axes)


def _frames_plot(index: Index) -> str:
    axes = _axes("Frames per clip", "frames", "clips")
    axes.hist(index.num_frames, bins=30)
    return _svg(axes)


def _axes(title: str, x: str, y: str) -> Any:
    axes = Figure(figsize=(7, 3), layout="constrained").subplots()  # needs no display, unlike pyplot
    axes.set(title=title, xlabel=x, ylabel=y)
    return axes


def _svg(axes: Any) -> str:
    buffer = io.StringIO()
    axes.figure.savefig(buffer, format="svg")
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _clip_pictures(report: CheckReport, num_clips: int, seed: int) -> list[tuple[str, str, str]]:
    """(key, class, picture as data URL) of seeded random clips; a clip that cannot be read is left to the findings."""
    index, manifest = report.index, report.manifest
    reader = ShardReader(report.root, [shard.name for shard in manifest.shards])
    pictures = []
    for number in np.random.default_rng(seed).permutation(len(index))[:num_clips]:
        row, shard = index.row(int(number)), int(index.shard[number])
        try:
            picture = contact_sheet(decode(reader.read_members(shard, row)))
        except ValueError:
            continue
        name = manifest.classes[row.label] if row.label >= 0 else "hidden label"
        pictures.append((row.key, name, _data_url(picture)))
    reader.close()
    return pictures


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
