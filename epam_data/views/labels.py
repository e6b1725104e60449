"""Labels as a layer over shards: a class map, or a table of names and labels. No shard is written for it."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from epam_data.shards.index import Index, load_index
from epam_data.shards.manifest import Manifest, load_manifest
from epam_data.system.printable import brief
from epam_data.views.text_file import read_text_file
from epam_data.views.view import View

HIDDEN = -1
DROPPED = -2
"""In place of a label: the clip's class is mapped to null, so a view leaves the clip out."""


def labelled(view: View, manifest: Manifest, index: Index) -> tuple[Manifest, Index]:
    """The manifest with the view's classes, and the index with its labels; the same ones if the view changes none.

    New classes have no coarse groups. Clips whose class is mapped to null have the label `DROPPED`.

    Raises:
        ValueError: a name, a class or a line of the table is unknown or stands twice.
    """
    if not view.changes_labels:
        return manifest, index
    mapping = _mapping(view, manifest)
    classes = view.class_names or tuple(dict.fromkeys(new for new in mapping.values() if new is not None))
    number_of = {name: number for number, name in enumerate(classes)}
    if len(number_of) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise ValueError(f"view.class_names: {brief(twice, 100)} stands twice")
    if absent := [new for new in mapping.values() if new is not None and new not in number_of and not view.labels]:
        raise ValueError(f"view.class_names lacks {brief(absent[0], 100)}, a class of the shards; map it to null")
    table = np.array([DROPPED if new is None else number_of.get(new, DROPPED) for new in mapping.values()], np.int32)
    label = np.where(index.label < 0, np.int32(HIDDEN), table[index.label])
    if view.labels:
        for row, name in _rows_of_table(view.labels, index):
            label[row] = _class_number(mapping.get(name, name), number_of, view.labels)
    return replace(manifest, classes=classes, groups=(), coarse_of=()), index.with_labels(label)


def view_manifest(root: Path | str, view: View) -> Manifest:
    """The manifest of shards in a folder or at a URL, with the classes of a view."""
    manifest = load_manifest(root)
    return labelled(view, manifest, load_index(root, manifest))[0] if view.changes_labels else manifest


def _mapping(view: View, manifest: Manifest) -> dict[str, str | None]:
    """Class of the shards -> class of the view; None: its clips are left out."""
    if view.class_map == "groups":
        if not manifest.groups:
            raise ValueError("view.class_map: the classes of these shards have no coarse groups")
        return {name: manifest.groups[group] for name, group in zip(manifest.classes, manifest.coarse_of, strict=True)}
    given = view.class_map if isinstance(view.class_map, dict) else {}
    for name in given:
        if name not in manifest.classes:
            raise ValueError(f"view.class_map: the shards have no class {_with_nearest(name, manifest.classes)}")
    return {name: given.get(name, name) for name in manifest.classes}


def _rows_of_table(path: str, index: Index) -> Iterator[tuple[int, str]]:
    """(row of the index, class) of each line of a CSV file with the columns `name` and `label`."""
    lines = csv.DictReader(read_text_file(Path(path)).splitlines(), strict=True)
    seen: set[str] = set()
    row_of_key = index.row_of_key
    try:
        if not {"name", "label"} <= set(lines.fieldnames or ()):
            raise ValueError(f"{path}: the first line must name the columns name and label, got {lines.fieldnames}")
        for line in lines:
            name, label = line["name"], line["label"]
            where = f"{path}, line {lines.line_num}"
            if label is None:
                raise ValueError(f"{where}: expected a name and a label, got {brief(name, 100)} alone")
            if name not in row_of_key:
                raise ValueError(f"{where}: the shards have no clip {_with_nearest(name, list(row_of_key))}")
            if name in seen:
                raise ValueError(f"{where}: {name} stands twice")
            seen.add(name)
            yield row_of_key[name], label
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV file after line {lines.line_num} ({error})") from error


def _class_number(name: str | None, number_of: Mapping[str, int], path: str) -> int:
    if name is None:
        return DROPPED
    if name not in number_of:
        raise ValueError(
            f"{path}: there is no class {_with_nearest(name, list(number_of))}; new classes are listed in "
            "view.class_names"
        )
    return number_of[name]


def _with_nearest(name: object, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3) if isinstance(name, str) else []
    return brief(name, 100) + (f" (nearest: {', '.join(near)})" if near else "")


def label_table(label: NDArray[np.int32], keys: NDArray[np.bytes_], classes: Sequence[str]) -> Iterator[bytes]:
    """A line for each clip with its class, for a hash of all labels."""
    for key, number in sorted(zip(keys.tolist(), label.tolist(), strict=True)):
        yield key + b"\t" + (classes[number] if number >= 0 else "").encode() + b"\n"
