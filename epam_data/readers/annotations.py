"""The two published pickle layouts -> annotations by split -> `Clip`.

1. split + annotations: ``{"split": {name: [frame_dir, ...]}, "annotations": [...]}`` (PYSKL, MMAction2);
2. a list of annotations, one file per split: a folder of ``*_train.pkl``, ``*_val.pkl``, ``*_test.pkl``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epam_data.readers.names import check_name
from epam_data.readers.pickles import load_pickle
from epam_data.readers.plausible import limit_scores
from epam_data.readers.records import Annotation, clip_of
from epam_data.schema import ALL, SPLITS, Clip, Problem


@dataclass(frozen=True, kw_only=True)
class RawSettings:
    """The raw recordings."""

    videos: Path
    """Folder of the videos."""
    skeletons: Path
    """A skeleton pickle, or a folder of one pickle per split (`*_train.pkl`, `*_val.pkl`, `*_test.pkl`)."""
    protocol: str | None = None
    """Protocol of the data set, as docs/raw-data.md names it; null if it has only one. `all`: store each clip once, for
    any protocol to choose from later, see docs/views.md."""


def skeleton_files(raw: RawSettings) -> list[Path]:
    """The pickles that `read_splits` opens, in the order train, val, test.

    Raises:
        ValueError: no pickle was found, or several for one split.
    """
    if not raw.skeletons.is_dir():
        return [raw.skeletons]
    chosen = []
    for split in SPLITS:
        ending = f"{raw.protocol}_{split}.pkl" if raw.protocol else f"{split}.pkl"
        matches = sorted(p for p in raw.skeletons.iterdir() if p.name == ending or p.name.endswith(f"_{ending}"))
        if len(matches) > 1:
            raise ValueError(f"{raw.skeletons}: several pickles for split {split}: {[p.name for p in matches]}")
        chosen += matches
    if not chosen:
        raise ValueError(f"{raw.skeletons}: no pickle named *_{ending.replace('test', '{train,val,test}')} found")
    return chosen


def read_splits(raw: RawSettings, canonical: Callable[[str], str] = str) -> Iterator[tuple[str, Annotation | Problem]]:
    """Each annotation of the protocol with its split, in the order of the files; its `frame_dir` is a usable name.

    Args:
        raw: location of the pickles.
        canonical: the data set's own form of a name that files write in several ways.

    Yields:
        (split, annotation), or a Problem for an unusable record, an unusable name in a split, and a listed name without
        annotation.

    Raises:
        ValueError: a file has neither layout, lacks the protocol, or lists a name in two splits.
    """
    split_of: dict[str, str] = {}
    for path in skeleton_files(raw):
        content = load_pickle(path)
        if isinstance(content, dict) and {"split", "annotations"} <= content.keys():
            records = _from_split_lists(path, content, raw.protocol, canonical)
        elif isinstance(content, list):
            records = _from_list(path, content, canonical)
        else:
            raise ValueError(
                f"{path.name}: expected a dict with 'split' and 'annotations' or a list, got {type(content).__name__}"
            )
        for split, record in records:
            if isinstance(record, Problem):
                yield split, record
                continue
            name = record["frame_dir"]
            if name not in split_of:
                split_of[name] = split
                yield split, record
            elif split_of[name] == split:
                yield split, _skipped(name, split, f"{name}: annotated twice; the first annotation is used")
            else:
                raise ValueError(f"{path.name}: {name} is annotated for the splits {split_of[name]} and {split}")


def _from_list(
    path: Path, annotations: list[Any], canonical: Callable[[str], str]
) -> Iterator[tuple[str, Annotation | Problem]]:
    split = next((name for name in SPLITS if path.stem == name or path.stem.endswith(f"_{name}")), None)
    if split is None:
        raise ValueError(f"{path.name}: a list of annotations must be named *_train, *_val or *_test.pkl")
    for number, annotation in enumerate(annotations):
        yield split, _checked(path, number, annotation, split, canonical)


def _from_split_lists(
    path: Path, content: dict[str, Any], protocol: str | None, canonical: Callable[[str], str]
) -> Iterator[tuple[str, Annotation | Problem]]:
    lists, annotations = content["split"], content["annotations"]
    for what, value, kind in (("split", lists, dict), ("annotations", annotations, list)):
        if not isinstance(value, kind):
            raise ValueError(f"{path.name}: {what} must be a {kind.__name__}, got {type(value).__name__}")
    wanted = {f"{protocol}_{split}" if protocol else split: split for split in SPLITS}
    if protocol == ALL:
        wanted = {name: ALL for name in lists if isinstance(name, str)}
    found = {name: split for name, split in wanted.items() if name in lists}
    if not found:
        known = ", ".join(sorted(str(name)[:40] for name in lists)[:20])
        raise ValueError(f"{path.name}: no split of protocol {protocol!r}; the file has {known or 'none'}")
    split_of: dict[str, str] = {}
    for name, split in found.items():
        for number, entry in enumerate(_names(path, name, lists[name])):
            try:
                frame_dir = canonical(check_name(entry))
            except ValueError as error:
                place = f"{path.name}: {name}, name {number}"
                yield split, _skipped(place, split, f"{place}: {error}")
                continue
            if split_of.setdefault(frame_dir, split) != split:
                raise ValueError(f"{path.name}: {frame_dir} is listed in the splits {split_of[frame_dir]} and {split}")
    unseen = dict(split_of)
    for number, annotation in enumerate(annotations):
        record = _checked(path, number, annotation, next(iter(found.values())), canonical)
        if isinstance(record, Problem):
            yield record.split, record
        elif (name := record["frame_dir"]) in split_of or protocol == ALL:
            unseen.pop(name, None)
            yield split_of.get(name, ALL), record
    for frame_dir, split in unseen.items():
        reason = f"{frame_dir}: listed in split {split}, but {path.name} has no annotation of that name"
        yield split, _skipped(frame_dir, split, reason)


def _names(path: Path, split: str, names: Any) -> list[Any]:
    """The entries of a split, which are to be names."""
    if isinstance(names, np.ndarray) and (names.ndim != 1 or names.dtype.kind not in "UO"):
        kind = f"an array of {names.dtype.name} and shape {names.shape}"
    elif isinstance(names, (list, tuple, set, frozenset, np.ndarray)):
        return list(names)
    else:
        kind = type(names).__name__
    raise ValueError(f"{path.name}: split {split} must be a list of names, got {kind}")


def _checked(
    path: Path, number: int, annotation: Any, split: str, canonical: Callable[[str], str]
) -> Annotation | Problem:
    """The record, or why it cannot be one; it has no name then, so it is named by its place."""
    place = f"{path.name}: annotation {number}"
    if not isinstance(annotation, dict):
        return _skipped(place, split, f"{place}: must be a dict, got {type(annotation).__name__}")
    try:
        return {**annotation, "frame_dir": canonical(check_name(annotation.get("frame_dir")))}
    except ValueError as error:
        return _skipped(place, split, f"{place}: {error}")


def _skipped(name: str, split: str, reason: str) -> Problem:
    return Problem(name=name, split=split, action="skipped", reason=reason)


def read_clips(
    raw: RawSettings,
    label_of: Callable[[str, Annotation], int | None],
    excluded: frozenset[str] = frozenset(),
    canonical: Callable[[str], str] = str,
) -> Iterator[Clip | Problem]:
    """Each annotation as a `Clip`, or as a `Problem` if it is unusable; a Problem "mended" comes before its clip.

    Args:
        raw: location of the pickles.
        label_of: (split, annotation) -> label, None if it is hidden; raises ValueError for a bad label.
        excluded: names to leave out, each as a Problem with action "excluded".
        canonical: see `read_splits`.
    """
    for split, record in read_splits(raw, canonical):
        name = record.name if isinstance(record, Problem) else record["frame_dir"]
        if name.rpartition("/")[2] in excluded:
            reason = f"{name}: on the data set's list of recordings without usable skeletons"
            yield Problem(name=name, split=split, action="excluded", reason=reason)
        elif isinstance(record, Problem):
            yield record
        else:
            try:
                clip, note = limit_scores(clip_of(record, split, label_of(split, record)))
            except ValueError as error:
                yield _skipped(name, split, str(error))
                continue
            if note is not None:
                yield Problem(name=name, split=split, action="mended", reason=note)
            yield clip
