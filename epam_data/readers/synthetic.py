"""The data set of `epam-data synth`: names, layout and protocols of NTU RGB+D, no excluded recordings."""

from __future__ import annotations

from collections.abc import Iterator

from epam_data.readers.annotations import RawSettings, read_clips
from epam_data.readers.ntu60 import NAME, NAME_EXAMPLE
from epam_data.readers.reader import Protocol, Reader
from epam_data.readers.records import action_label
from epam_data.schema import Clip, Problem
from epam_data.taxonomy import TAXONOMIES


def read_synthetic(raw: RawSettings) -> Iterator[Clip | Problem]:
    """Each clip of `raw.protocol`.

    Raises:
        ValueError: a pickle cannot be read.
    """
    return read_clips(raw, action_label(READER.name_fields, NAME_EXAMPLE), canonical=READER.canonical_name)


READER = Reader(
    read=read_synthetic,
    skeleton="coco17",
    taxonomy=TAXONOMIES["synthetic"],
    name_pattern=NAME,
    protocols={
        "xsub": Protocol(  # the first training and validation subjects of NTU RGB+D
            split_by="subject",
            values={"train": frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16)), "val": frozenset((3, 6, 7, 10, 11))},
        ),
        "xview": Protocol(split_by="camera", values={"train": frozenset((2, 3)), "val": frozenset((1,))}),
    },
)
