"""Compare index, manifest, problems and annotation with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from epam_data.check.rules.finding import Finding
from epam_data.check.rules.splits import split_of_clips
from epam_data.readers import Reader
from epam_data.readers.names import possible_keys
from epam_data.schema import Problem, check_key, stored_label
from epam_data.shards.index import Index
from epam_data.shards.manifest import Manifest
from epam_data.skeleton import LAYOUTS
from epam_data.taxonomy import TAXONOMIES


def index_findings(manifest: Manifest, index: Index) -> Iterator[Finding]:
    """Compare the columns of the index with the manifest."""
    names = [shard.name for shard in manifest.shards]
    stray = (index.shard < 0) | (index.shard >= len(names))
    for row in np.flatnonzero(stray).tolist():
        yield _of_key(index, row, f"is in shard number {index.shard[row]}, the manifest lists {len(names)}", "index")
    counts = np.bincount(index.shard[~stray], minlength=len(names))
    for number, shard in enumerate(manifest.shards):
        if counts[number] != shard.num_samples:
            what = f"the manifest counts {shard.num_samples} samples, the index {counts[number]}"
            yield Finding(check="index", shard=shard.name, what=what)
    for name, repeats in _repeated(names):
        yield Finding(check="index", shard=_text(name), what=f"the manifest lists this shard {repeats} times")
    for key, repeats in _repeated(index.keys.tolist()):
        yield Finding(check="index", key=_text(key), what=f"the key is in the index {repeats} times")
    for row, key in enumerate(index.keys.tolist()):
        try:
            check_key(_text(key))
        except ValueError as error:
            yield _of_key(index, row, str(error), "index")
    num_classes = len(manifest.classes)
    bad = (index.label < -1) | (index.label >= num_classes)
    for row in np.flatnonzero(bad).tolist():
        yield _of_key(
            index, row, f"label must be in 0..{num_classes - 1} (-1: hidden), got {index.label[row]}", "label"
        )
    coarse_of = (*(manifest.coarse_of or (-1,) * num_classes), -1)  # the last: of a hidden label
    for row in np.flatnonzero(~bad).tolist():
        label, here = index.label[row], index.coarse_label[row]
        if here != coarse_of[label]:
            what = f"coarse label of class {label} must be {coarse_of[label]}, the index has {here}"
            yield _of_key(index, row, what, "label")


def taxonomy_findings(manifest: Manifest, reader: Reader | None) -> Iterator[Finding]:
    """Compare the manifest's joints and classes with the data set; each group must have a class.

    Args:
        manifest: of the shards.
        reader: of the data set; None: unknown, so the built-in tables are looked up by name.
    """

    def found(what: str) -> Finding:
        return Finding(check="label", what=f"manifest: {what}")

    layout = reader.layout if reader else LAYOUTS.get(manifest.skeleton)
    if layout and (layout.name, layout.joints) != (manifest.skeleton, manifest.joints):
        yield found(f"skeleton {manifest.skeleton!r} or its joints are not those of the {layout.name} layout")
    uncovered = sorted(set(range(len(manifest.groups))) - set(manifest.coarse_of))
    if uncovered:
        yield found(f"no class belongs to the groups {', '.join(manifest.groups[number] for number in uncovered)}")
    table = reader.taxonomy if reader else TAXONOMIES.get(manifest.taxonomy)
    if table is None:
        return
    if manifest.taxonomy != table.name:
        yield found(f"taxonomy must be {table.name} for data set {manifest.dataset}, got {manifest.taxonomy}")
        return
    for name in ("classes", "groups", "coarse_of"):
        here, there = getattr(manifest, name), getattr(table, name)
        if here != there:
            differing = [number for number, (a, b) in enumerate(zip(here, there, strict=False)) if a != b]
            difference = f"number {differing[0]} is {here[differing[0]]!r}" if differing else f"there are {len(here)}"
            wanted = repr(there[differing[0]]) if differing else len(there)
            yield found(f"{name} are not those of the {manifest.taxonomy} table: {difference}, expected {wanted}")


def problem_findings(manifest: Manifest, index: Index, problems: list[Problem]) -> Iterator[Finding]:
    """Compare `problems.jsonl` with the manifest's counts and the index: only mended clips may be in the index."""
    counts = {action: sum(p.action == action for p in problems) for action in {p.action for p in problems}}
    if counts != manifest.problems:
        what = f"problems.jsonl counts {dict(sorted(counts.items()))}, the manifest {manifest.problems}"
        yield Finding(check="annotation", what=what)
    for problem in problems:
        keys = possible_keys(problem.name) or (problem.name,)
        there = [key for key in keys if key in index.row_of_key]
        if bool(there) != (problem.action == "mended"):
            where = "is in the index" if there else "is not in the index"
            what = f"problems.jsonl says {problem.action}, but the clip {where}"
            yield Finding(check="annotation", key=(*there, *keys)[0], what=what)


def annotation_findings(
    manifest: Manifest, index: Index, problems: list[Problem], annotated: Iterable[tuple[str, str, int | None]]
) -> Iterator[Finding]:
    """Compare the index with the skeleton files.

    Args:
        manifest: of the shards.
        index: of the shards.
        problems: reported by the build.
        annotated: (key, split, label) of each clip in the skeleton files.
    """
    splits = split_of_clips(manifest, index)
    left_out = {key for problem in problems if problem.action != "mended" for key in possible_keys(problem.name)}
    unseen = set(index.row_of_key)
    for key, split, label in annotated:
        unseen.discard(key)
        row = index.row_of_key.get(key)
        if row is None:
            if key not in left_out:
                yield Finding(
                    check="annotation", key=key, what=f"annotated for {split}, but neither in the index nor reported"
                )
        elif (splits[row], index.label[row]) != (split, stored_label(label)):
            what = f"annotated as {split}, label {label}; the index has {splits[row]}, label {index.label[row]}"
            yield Finding(check="annotation", key=key, what=what)
    for key in sorted(unseen):
        yield Finding(check="annotation", key=key, what="the annotation does not have this clip")


def _repeated(names: list[str] | list[bytes]) -> list[tuple[str | bytes, int]]:
    return [(name, count) for name, count in sorted(Counter[Any](names).items()) if count > 1]


def _text(key: str | bytes) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key


def _of_key(index: Index, row: int, what: str, check: str) -> Finding:
    return Finding(check=check, key=_text(index.keys[row]), what=what)
