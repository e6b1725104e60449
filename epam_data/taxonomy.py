"""Class names and optional coarse groups: the project's only fine -> coarse table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The classes of a data set and, if it has groups, the coarse group of each class."""

    name: str
    classes: tuple[str, ...]  # K fine names, by label
    groups: tuple[str, ...] = ()  # Kc coarse names, by coarse label; empty: the data set has no groups
    coarse_of: tuple[int, ...] = ()  # K coarse labels, by label; empty without groups

    def __post_init__(self) -> None:
        if not self.groups and not self.coarse_of:
            return
        if len(self.coarse_of) != len(self.classes):
            raise ValueError(
                f"{self.name}: each of the {len(self.classes)} classes needs a group, got {len(self.coarse_of)}"
            )
        if set(self.coarse_of) != set(range(len(self.groups))):
            raise ValueError(
                f"{self.name}: coarse labels must cover 0..{len(self.groups) - 1}, got {sorted(set(self.coarse_of))}"
            )

    def coarse_label(self, label: int | None) -> int | None:
        """The group of a class; None for a hidden label or a data set without groups."""
        return None if label is None or not self.coarse_of else self.coarse_of[label]


def parse_taxonomy(name: str, groups: dict[str, dict[int, str]]) -> Taxonomy:
    """Build a taxonomy from `{group: {label: class name}}`.

    Raises:
        ValueError: the labels are not 0 ... K - 1, each once; lists the wrong labels.
    """
    labels = sorted(label for members in groups.values() for label in members)
    wanted = list(range(len(labels)))
    if labels != wanted:
        twice = sorted({label for label in labels if labels.count(label) > 1})
        missing = sorted(set(range(max(labels, default=0) + 1)) - set(labels))
        raise ValueError(f"{name}: labels must be 0..K-1, each once; twice: {twice}, missing: {missing}")
    fine = {label: text for members in groups.values() for label, text in members.items()}
    coarse = {label: index for index, members in enumerate(groups.values()) for label in members}
    return Taxonomy(
        name=name,
        classes=tuple(fine[label] for label in wanted),
        groups=tuple(groups),
        coarse_of=tuple(coarse[label] for label in wanted),
    )


def parse_table(name: str, text: str) -> Taxonomy:
    """Parse a table: `groups:` as in `parse_taxonomy`, or `classes:`, a list of names by label, without groups.

    Raises:
        ValueError: the table has neither, or both, or its labels are not 0 ... K - 1.
    """
    table: dict[str, Any] = yaml.safe_load(text) or {}
    if table.keys() == {"groups"}:
        return parse_taxonomy(name, table["groups"])
    if table.keys() == {"classes"}:
        return Taxonomy(name=name, classes=tuple(table["classes"]))
    raise ValueError(f"{name}: a table must have either 'groups' or 'classes', got {', '.join(table) or 'nothing'}")


class _Tables(Mapping[str, Taxonomy]):
    """`tables/NAME.yaml`, read on first use, so that importing this module reads no files."""

    def __getitem__(self, name: str) -> Taxonomy:
        if name not in _table_names():
            raise KeyError(name)
        return _read_table(name)

    def __contains__(self, name: object) -> bool:  # the inherited one would read the table
        return name in _table_names()

    def __iter__(self) -> Iterator[str]:
        return iter(_table_names())

    def __len__(self) -> int:
        return len(_table_names())


TAXONOMIES: Mapping[str, Taxonomy] = _Tables()
"""The classes of each built-in data set, by name."""


@cache
def _table_names() -> tuple[str, ...]:
    files = (file.name for file in resources.files("epam_data").joinpath("tables").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


@cache
def _read_table(name: str) -> Taxonomy:
    text = resources.files("epam_data").joinpath("tables", f"{name}.yaml").read_text(encoding="utf-8")
    return parse_table(name, text)
