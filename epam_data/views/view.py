"""`View`: a rule that chooses clips of a shard directory and puts them into splits; from a YAML file or by name."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from epam_data.schema import SPLITS
from epam_data.system.checked_fields import check_fields
from epam_data.system.printable import brief
from epam_data.system.safe_yaml import load_yaml_file
from epam_data.system.typed_json import decode_json
from epam_data.views.text_file import read_text_file

_FOLDS = re.compile(r"(?P<count>\d{1,4}) by (?P<fact>\w+)")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Keeps the clips of which a fact has certain values; the parts that are given must all hold."""

    fact: str
    """What is looked at: a field of the clips' names (`person`, `camera`, `setup`, `replication`, `action`), `label` or
    `num_frames`."""
    any_of: tuple[int, ...] | None = None
    """Allowed values."""
    none_of: tuple[int, ...] = ()
    """Values that are not allowed."""
    least: int | None = None
    """Smallest allowed value."""
    most: int | None = None
    """Largest allowed value."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Which clips are used, with which labels, in which split. Each rule applies to what those before it have left."""

    labels: str | None = None
    """A CSV file beside the view, with the columns `name` (key of a clip) and `label` (name of a class): its clips get
    these labels."""
    class_map: Literal["groups"] | dict[str, str | None] = field(default_factory=dict)
    """Class of the shards -> its new name; several may get one name; null: its clips are left out. `groups`: each class
    becomes its coarse group."""
    class_names: tuple[str, ...] = ()
    """The classes in the order of their numbers. Empty: those of the shards, as mapped, in their order."""
    protocol: str | None = None
    """Official protocol that decides the splits, as docs/raw-data.md names it; null: the splits as built."""
    names: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Split -> its clips: their keys in a list, or a text file with one key a line, whose path starts at the view's own
    folder. Other clips are left out."""
    classes: tuple[str, ...] = ()
    """Use clips of these classes only; labels keep their numbers. Empty: all classes."""
    where: tuple[Condition, ...] = ()
    """Use clips that fulfil all of these conditions only."""
    folds: str | None = None
    """`5 by person`: cut all clips with known labels into 5 folds, so that no person (camera, setup ...) is in two of
    them. The fold `stream.fold` becomes val, the others train."""
    leave_one_out: str | None = None
    """`person`: the same with a fold for each person, in the order of their numbers."""
    fraction: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Share of each class's training clips to use, rounded up; a smaller share is part of a larger one."""
    seed: Annotated[int, Ge(0)] = 0
    """Decides who is in which fold, and which clips are in a fraction."""

    def __post_init__(self) -> None:
        check_fields(self, "view")
        if unknown := [split for split in self.names if split not in SPLITS]:
            raise ValueError(f"view.names must have splits of {', '.join(SPLITS)}, got {brief(unknown[0], 40)}")
        given = [name for name in ("protocol", "names", "folds", "leave_one_out") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"view: {' and '.join(given)} each decide the splits, give one of them")
        if self.folds is not None and (not _FOLDS.fullmatch(self.folds) or self.fold_rule[0] == 1):
            raise ValueError(f"view.folds must be like '5 by person', with 2 folds or more, got {brief(self.folds)}")

    @property
    def changes_labels(self) -> bool:
        """Whether labels or classes are not those of the shards."""
        return bool(self.labels or self.class_map or self.class_names)

    @property
    def fold_rule(self) -> tuple[int, str]:
        """(number of folds, 0: one for each value; fact that decides the fold, empty: there are no folds)."""
        if self.leave_one_out is not None:
            return 0, self.leave_one_out
        found = _FOLDS.fullmatch(self.folds or "")
        return (int(found["count"]), found["fact"]) if found else (1, "")


def load_view(name: str) -> View:
    """The view that `stream.view` names.

    Args:
        name: a YAML file with the keys of `View`, or a protocol; empty: the splits as built.

    Raises:
        ValueError: the file cannot be read, or a key or value in it is not allowed; names file and key.
    """
    if not name.endswith((".yaml", ".yml")):
        return View(protocol=name or None)
    path = Path(name)
    try:
        values = load_yaml_file(path, name)
    except OSError as error:
        raise ValueError(f"{name}: cannot be read ({error.strerror})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{name}: a view must be keys and values, got {brief(values)}")
    known = [each.name for each in fields(View)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; the keys are {', '.join(known)}"
            raise ValueError(f"{name}: {brief(key)} is no key of a view{hint}")
    view = decode_json(json.dumps(values).encode(), View, name)
    lists: dict[str, str | tuple[str, ...]] = {
        split: _names_of(read_text_file(path.parent / listed)) if isinstance(listed, str) else listed
        for split, listed in view.names.items()
    }
    return replace(view, names=lists, labels=view.labels and str(path.parent / view.labels))


def _names_of(text: str) -> tuple[str, ...]:
    """One name a line; empty lines and those that begin with # are left out."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
