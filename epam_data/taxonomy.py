"""Class names and coarse groups of each data set: the only fine -> coarse table of the project."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The classes of a data set and the coarse group of each."""

    name: str
    classes: tuple[str, ...]  # K fine names, by label
    groups: tuple[str, ...]  # Kc coarse names, by coarse label
    coarse_of: tuple[int, ...]  # K coarse labels, by label

    def __post_init__(self) -> None:
        if len(self.coarse_of) != len(self.classes):
            raise ValueError(
                f"{self.name}: each of the {len(self.classes)} classes needs a group, got {len(self.coarse_of)}"
            )
        if set(self.coarse_of) != set(range(len(self.groups))):
            raise ValueError(
                f"{self.name}: coarse labels must cover 0..{len(self.groups) - 1}, got {sorted(set(self.coarse_of))}"
            )


def parse_taxonomy(name: str, groups: dict[str, dict[int, str]]) -> Taxonomy:
    """Make a taxonomy from `{group: {label: class name}}`.

    Raises:
        ValueError: the labels are not 0 ... K - 1, each once; the labels at fault are listed.
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


def _load(name: str) -> Taxonomy:
    text = resources.files("epam_data").joinpath("tables", f"{name}.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return parse_taxonomy(name, table["groups"])


TAXONOMIES = {name: _load(name) for name in ("ntu60", "ma52", "synthetic")}
