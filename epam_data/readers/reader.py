"""`Reader`: everything specific to one data set, used by builds, checks and the synthetic data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from epam_data.readers.annotations import RawSettings, skeleton_files
from epam_data.schema import SPLITS, Clip, Problem
from epam_data.skeleton import LAYOUTS, SkeletonLayout
from epam_data.taxonomy import Taxonomy


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One official way to split a data set."""

    split_by: str | None = None
    """The field of the clips' names that decides the split, such as `subject`; None: names do not tell."""
    values: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Split -> values of that field in the split."""
    num_clips: Mapping[str, int] = field(default_factory=dict)
    """Split -> number of clips in the published skeleton files, if known."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.values, *self.num_clips} - set(SPLITS))
        if unknown:
            raise ValueError(f"protocol: splits must be of {', '.join(SPLITS)}, got {', '.join(unknown)}")
        if bool(self.values) != bool(self.split_by):
            raise ValueError(
                f"protocol: split_by and values go together, got {self.split_by!r} and {dict(self.values)}"
            )
        every = [value for values in self.values.values() for value in values]
        twice = sorted({value for value in every if every.count(value) > 1})
        if twice:
            raise ValueError(f"protocol: {self.split_by} {', '.join(map(str, twice))} must be in one split")

    def split_of(self, fields: Mapping[str, int]) -> str | None:
        """The split of a clip with these name fields; None: no split has the value, or names do not tell."""
        value = fields.get(self.split_by or "")
        return next((split for split, values in self.values.items() if value in values), None)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How to read one data set, with its names, joints, classes and protocols."""

    read: Callable[[RawSettings], Iterator[Clip | Problem]]
    """Raw files -> clips; an unusable record becomes a `Problem`."""
    skeleton: SkeletonLayout | str
    """The joints: a layout of your own, or the name of one in `epam_data.skeleton.LAYOUTS`."""
    taxonomy: Taxonomy
    """The classes; their coarse groups are optional."""
    protocols: Mapping[str | None, Protocol] = field(default_factory=dict)
    """The official protocols by name, for `raw.protocol`; key None: the data set has only one."""
    name_pattern: re.Pattern[str] | None = None
    """Matches a complete name without its folder. Its named groups are integers: setup, camera, subject, replication,
    action, as far as names have them. `action` counts from 1: the label is action - 1."""
    files: Callable[[RawSettings], list[Path]] = skeleton_files
    """The files that `read` reads; if one of them changes, a build reads them again."""

    def __post_init__(self) -> None:
        if isinstance(self.skeleton, str):
            if self.skeleton not in LAYOUTS:
                allowed = f"{', '.join(LAYOUTS)}, or a SkeletonLayout"
                raise ValueError(f"skeleton must be one of {allowed}, got {self.skeleton!r}")
        elif LAYOUTS.get(self.skeleton.name, self.skeleton) != self.skeleton:
            raise ValueError(f"skeleton {self.skeleton.name}: another layout has this name, choose a new one")
        fields = self.name_pattern.groupindex if self.name_pattern else {}
        for name, protocol in self.protocols.items():
            if protocol.split_by and protocol.split_by not in fields:
                known = ", ".join(fields) or "none"
                raise ValueError(f"protocol {name}: names have no field {protocol.split_by!r}, their fields: {known}")

    @property
    def layout(self) -> SkeletonLayout:
        """The joints of the skeletons."""
        return LAYOUTS[self.skeleton] if isinstance(self.skeleton, str) else self.skeleton

    def canonical_name(self, name: str) -> str:
        """A clip's name without a suffix `_rgb` that is that of its video, as MMAction2's own script writes it."""
        plain = name.removesuffix("_rgb")
        return plain if self.name_fields(plain) else name

    def name_fields(self, name: str) -> dict[str, int]:
        """The fields in a clip's name, ignoring its folder; empty if the name does not match the pattern."""
        match = self.name_pattern.fullmatch(name.rpartition("/")[2]) if self.name_pattern else None
        return {name: int(text) for name, text in match.groupdict().items() if text} if match else {}
