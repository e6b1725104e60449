"""NTU RGB+D 60: names like S001C001P001R001A001, label = A - 1, COCO-17 skeletons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

from epam_data.readers.annotations import Annotation, RawSettings, read_clips
from epam_data.schema import Clip, Problem

_NAME = re.compile(r"(?:.*/)?S\d{3}C\d{3}P\d{3}R\d{3}A(\d{3})")


@cache
def missing_skeletons() -> frozenset[str]:
    """The 302 recordings that the data set's authors list as without usable skeletons."""
    text = resources.files("epam_data").joinpath("tables", "ntu60_missing_skeletons.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def read_ntu60(raw: RawSettings) -> Iterator[Clip | Problem]:
    """Each clip of `raw.protocol` (`xsub` or `xview`); the listed recordings without skeletons are left out.

    Raises:
        ValueError: a pickle cannot be used at all.
    """
    return read_clips(raw, _label, excluded=missing_skeletons())


def read_synthetic(raw: RawSettings) -> Iterator[Clip | Problem]:
    """Each clip of a data set that `epam-data synth` made: NTU's layout, nothing left out."""
    return read_clips(raw, _label)


def _label(split: str, annotation: Annotation) -> int:
    name, label = str(annotation.get("frame_dir")), annotation.get("label")
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name}: expected a name like S001C001P001R001A001")
    if label != int(match[1]) - 1:
        raise ValueError(f"{name}: the name says label {int(match[1]) - 1}, the annotation says {label}")
    return int(match[1]) - 1
