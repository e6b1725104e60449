"""MA-52: one pickled list per split, 28 joints, names like train/0003_01_0001; test labels are hidden."""

from __future__ import annotations

from collections.abc import Iterator

from epam_data.readers.annotations import RawSettings, read_clips
from epam_data.readers.reader import Protocol, Reader
from epam_data.readers.records import Annotation, as_label
from epam_data.schema import Clip, Problem
from epam_data.taxonomy import TAXONOMIES


def read_ma52(raw: RawSettings) -> Iterator[Clip | Problem]:
    """Each clip of the splits in `raw.skeletons`.

    Raises:
        ValueError: a pickle cannot be read.
    """
    return read_clips(raw, _label)


def _label(split: str, annotation: Annotation) -> int | None:
    if split == "test":  # the published files say 0 for every clip
        return None
    return as_label(annotation)


READER = Reader(
    read=read_ma52,
    skeleton="ma52_28",
    taxonomy=TAXONOMIES["ma52"],
    protocols={None: Protocol(num_clips={"train": 11_250, "val": 5_586, "test": 5_586})},
)
