"""Readers: raw files -> clips, one function per data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from epam_data.readers.annotations import RawSettings
from epam_data.readers.ma52 import read_ma52
from epam_data.readers.ntu60 import read_ntu60, read_synthetic
from epam_data.schema import Clip, Problem

__all__ = ["READERS", "RawSettings", "Reader"]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How to read one data set, and what its joints and classes are called."""

    read: Callable[[RawSettings], Iterator[Clip | Problem]]
    skeleton: str  # in epam_data.skeleton.LAYOUTS
    taxonomy: str  # in epam_data.taxonomy.TAXONOMIES


READERS = {
    "ntu60": Reader(read=read_ntu60, skeleton="coco17", taxonomy="ntu60"),
    "ma52": Reader(read=read_ma52, skeleton="ma52_28", taxonomy="ma52"),
    "synthetic": Reader(read=read_synthetic, skeleton="coco17", taxonomy="synthetic"),
}
