"""`epam-data view`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.system.checked_fields import check_fields
from epam_data.system.printable import printable, printable_lines
from epam_data.views.leaks import find_leaks, untold
from epam_data.views.resolve import ResolvedView, resolve_view
from epam_data.views.view import load_view


@dataclass(frozen=True, kw_only=True)
class ViewCommand:
    """Show a view of shards: clips per split and class, and what its splits have in common."""

    shards: str
    """Folder of the shards, or their URL."""
    view: str = ""
    """A protocol (`xview`), or a YAML file with a view; empty: the splits as they were built."""
    fold: Annotated[int, Ge(0)] = 0
    """Of a view with folds: the one that is val."""
    names: Path | None = None
    """Folder to write the keys of each split to: train.txt, val.txt, test.txt."""
    json: bool = False
    """Print the result as JSON."""

    def __post_init__(self) -> None:
        check_fields(self)


def view_command(command: ViewCommand) -> int:
    """Print the view."""
    manifest = load_manifest(command.shards)
    view = resolve_view(load_view(command.view), manifest, load_index(command.shards, manifest), command.fold)
    if command.names is not None:
        _write_names(view, command.names)
    print(json.dumps(_values(view), indent=1) if command.json else printable_lines(_text(view)))
    return 0


def _counts(view: ResolvedView) -> dict[str, list[int]]:
    """Split -> clips of each class; hidden labels do not count."""
    label = view.index.label
    return {
        split: np.bincount(label[rows][label[rows] >= 0], minlength=len(view.manifest.classes)).tolist()
        for split, rows in view.rows.items()
    }


def _values(view: ResolvedView) -> dict[str, object]:
    counts = _counts(view)
    return {
        "sha256": view.sha256,
        "num_folds": view.num_folds,
        "splits": {
            split: {
                "num_clips": len(rows),
                "names_sha256": view.names_sha256(split),
                "classes": dict(zip(view.manifest.classes, counts[split], strict=True)),
            }
            for split, rows in view.rows.items()
        },
        "leaks": [asdict(leak) for leak in find_leaks(view)],
        "not_told_by_names": untold(view),
    }


def _text(view: ResolvedView) -> str:
    counts = _counts(view)
    lines = [f"{'class':<32}" + "".join(f"{split:>8}" for split in counts)]
    for number, name in enumerate(view.manifest.classes):
        lines.append(f"{printable(name, 29):<32}" + "".join(f"{of_split[number]:>8}" for of_split in counts.values()))
    lines.append(f"{'all clips':<32}" + "".join(f"{len(rows):>8}" for rows in view.rows.values()))
    lines += [f"{split}: names {view.names_sha256(split)[:16]}" for split in view.rows]
    lines.append(f"view: {view.sha256[:16]}" + (f", fold of {view.num_folds}" if view.num_folds > 1 else ""))
    leaks = list(find_leaks(view))
    for leak in leaks:
        (one, other), (here, there) = leak.splits, leak.num_clips
        lines.append(
            f"in {one} and in {other}: {leak.num_values} x {leak.what} ({here} clips of {one}, {there} of {other}), "
            f"such as {leak.example}"
        )
    if not leaks:
        lines.append("the splits have nothing in common that names tell")
    if absent := untold(view):
        lines.append(f"names do not tell: {', '.join(absent)}")
    return "\n".join(lines)


def _write_names(view: ResolvedView, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in view.rows:
        (folder / f"{split}.txt").write_bytes(view.names(split))
