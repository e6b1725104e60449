"""`epam-data inspect`."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from epam_data.shards.manifest import load_manifest
from epam_data.show.describe import describe, describe_sample, is_shard, read_sample
from epam_data.system.printable import printable_lines


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """Show what shards contain, or one clip of them."""

    shards: str
    """Folder of the shards, or one .tar, which needs no manifest; or an fsspec URL of either (s3://, https://)."""
    key: str | None = None
    """Show one clip: its members, its JSON and its shapes, and on a terminal a small picture."""
    png: Path | None = None
    """Write a picture of the clip: frames, skeleton and heatmap."""
    video: Path | None = None
    """Write a video of the clip: frame, skeleton and heatmap side by side."""

    def __post_init__(self) -> None:
        for name in ("png", "video"):
            if getattr(self, name) is not None and self.key is None:
                raise ValueError(f"--{name} needs a KEY, the clip to draw")


def inspect_command(command: InspectCommand) -> int:
    """Print a summary of the shards, or of one clip, and draw it."""
    if command.key is None:
        print(printable_lines(describe(command.shards)))
        return 0
    sample, members = read_sample(command.shards, command.key)
    layout = None if is_shard(command.shards) else load_manifest(command.shards).layout
    # Files first: `| head` may close the output before everything is printed.
    if command.png is not None:
        from epam_data.show.picture import contact_sheet

        contact_sheet(sample, layout=layout).save(command.png)
    if command.video is not None:
        from epam_data.show.film import write_film

        write_film(sample, command.video, layout=layout)
    print(printable_lines(describe_sample(sample, members)))
    if sys.stdout.isatty() and os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        from epam_data.show.picture import as_text, overlay

        print(as_text(overlay(sample, sample.info.num_frames // 2, layout=layout), shutil.get_terminal_size().columns))
    for what, path in (("picture", command.png), ("video", command.video)):
        if path is not None:
            print(f"{what}: {path}")
    return 0
