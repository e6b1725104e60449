"""NTU RGB+D 60: names like S001C001P001R001A001, label = A - 1, COCO-17 skeletons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

from epam_data.readers.annotations import RawSettings, read_clips
from epam_data.readers.reader import Protocol, Reader
from epam_data.readers.records import action_label
from epam_data.schema import Clip, Problem
from epam_data.taxonomy import TAXONOMIES

NAME = re.compile(
    r"S(?P<setup>\d{3})C(?P<camera>\d{3})P(?P<subject>\d{3})R(?P<replication>\d{3})A(?P<action>\d{3})", re.ASCII
)
NAME_EXAMPLE = "S001C001P001R001A001"

# Shahroudy et al., "NTU RGB+D: A Large Scale Dataset for 3D Human Activity Analysis", CVPR 2016; 40 subjects in total.
_TRAIN_SUBJECTS = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))


@cache
def missing_skeletons() -> frozenset[str]:
    """The 302 recordings that the authors list as having no usable skeletons."""
    text = resources.files("epam_data").joinpath("tables", "ntu60_missing_skeletons.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def read_ntu60(raw: RawSettings) -> Iterator[Clip | Problem]:
    """Each clip of `raw.protocol`, without the recordings of `missing_skeletons`.

    Raises:
        ValueError: a pickle cannot be read.
    """
    return read_clips(raw, action_label(READER.name_fields, NAME_EXAMPLE), missing_skeletons(), READER.canonical_name)


READER = Reader(
    read=read_ntu60,
    skeleton="coco17",
    taxonomy=TAXONOMIES["ntu60"],
    name_pattern=NAME,
    protocols={  # num_clips: in the skeleton files, without the 302 above
        "xsub": Protocol(
            split_by="subject",
            values={"train": _TRAIN_SUBJECTS, "val": frozenset(range(1, 41)) - _TRAIN_SUBJECTS},
            num_clips={"train": 40_091, "val": 16_487},
        ),
        "xview": Protocol(
            split_by="camera",
            values={"train": frozenset((2, 3)), "val": frozenset((1,))},
            num_clips={"train": 37_646, "val": 18_932},
        ),
    },
)
