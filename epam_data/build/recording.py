"""A single recording (video and skeleton) -> a shard directory with one test clip, its label hidden.

A model then reads it through the same shards and stream as every other clip.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from epam_data.build.build_shard import make_members
from epam_data.build.manifest import make_manifest
from epam_data.build.plan import BuildPlan
from epam_data.readers import RawSettings
from epam_data.readers.limits import read_with_limits
from epam_data.readers.names import key_from_name
from epam_data.readers.pickles import load_pickle
from epam_data.readers.plausible import limit_scores
from epam_data.readers.records import clip_of
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Clip, Split
from epam_data.shards.index import index_bytes
from epam_data.shards.layout import INDEX, MANIFEST
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter

SPLIT: Split = "test"

_log = logging.getLogger(__name__)


@contextmanager
def recording_shards(video: Path, skeleton: Path, dataset: str, prepare: PrepareSettings) -> Iterator[tuple[Path, str]]:
    """Shards of one recording, in a temporary folder that is removed after the block.

    Args:
        video: any video file that a build can read.
        skeleton: see `read_recording`.
        dataset: data set whose joints and classes to use, see `find_reader`.
        prepare: settings of the shards that the model was trained on.

    What a build would record as mended is a warning.

    Yields:
        The shard directory and the clip's key.

    Raises:
        ValueError: no skeleton belongs to the video, or the clip cannot be used; gives the reason.
    """
    clip, limited = read_recording(video, skeleton)
    with tempfile.TemporaryDirectory(prefix="epam-recording-") as folder:
        root = Path(folder)
        raw = RawSettings(videos=video.parent, skeletons=skeleton)
        plan = BuildPlan(dataset=dataset, raw=raw, prepare=prepare, shard=ShardSettings(), out=root)
        info, members, mended = make_members(plan, clip)
        for note in filter(None, (limited, mended)):
            _log.warning("mended: %s: %s", clip.key, note.removeprefix(f"{clip.name}: "))
        with ShardWriter(root, f"{SPLIT}-000000", SPLIT, plan.shard) as writer:
            writer.write_members(info, members)
            shards = [writer.finish()]
        index = index_bytes(shards)
        (root / INDEX).write_bytes(index)
        (root / MANIFEST).write_bytes(make_manifest(plan, {}, shards, index, {}).to_json())
        yield root, clip.key


def read_recording(video: Path, skeleton: Path) -> tuple[Clip, str | None]:
    """The clip of one video, its label hidden; and a note if its scores were limited, as a build records it.

    Args:
        video: the file; a suffix `_rgb` (as in NTU RGB+D) is not part of the clip's name.
        skeleton: a pickle of one annotation, of a list of them, or with `annotations`, as in the data sets. Of several,
            the one with the video's name is used.

    Raises:
        ValueError: the video or its skeleton does not exist, or the annotation is invalid.
    """
    if not video.is_file():
        raise ValueError(f"{video}: no such video")
    return read_with_limits([skeleton], _read_clip, video, skeleton)


def _read_clip(video: Path, skeleton: Path) -> tuple[Clip, str | None]:
    annotations = _annotations(load_pickle(skeleton), skeleton)
    key = key_from_name(video.stem.removesuffix("_rgb"))
    named = [each for each in annotations if _is_named(each, {key, video.name})]
    if not named and len(annotations) > 1:
        raise ValueError(f"{skeleton}: none of its {len(annotations)} annotations is named like the video {video.name}")
    annotation = {"frame_dir": key, **(named or annotations)[0]}
    clip, note = limit_scores(clip_of(annotation, SPLIT, None))
    return replace(clip, key=key, video=video), note


def _annotations(content: Any, skeleton: Path) -> list[Any]:
    if isinstance(content, dict):
        content = content.get("annotations", [content])
    if not isinstance(content, list) or not content or not all(isinstance(each, dict) for each in content):
        raise ValueError(f"{skeleton}: expected an annotation or a list of them, got {type(content).__name__}")
    return content


def _is_named(annotation: dict[str, Any], names: set[str]) -> bool:
    name = annotation.get("frame_dir")
    return isinstance(name, str) and name.rpartition("/")[2] in names
