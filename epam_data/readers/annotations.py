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
from numpy.typing import NDArray

from epam_data.readers.pickles import load_pickle
from epam_data.schema import SPLITS, Clip, Problem, key_from_name

Annotation = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RawSettings:
    """The raw recordings."""

    videos: Path
    """Folder of the videos."""
    skeletons: Path
    """A skeleton pickle, or a folder of one pickle per split (`*_train.pkl`, `*_val.pkl`, `*_test.pkl`)."""
    protocol: str | None = None
    """Protocol of the data set, as docs/raw-data.md names it; null if it has only one."""


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


def read_splits(raw: RawSettings) -> Iterator[tuple[str, Annotation | Problem]]:
    """Each annotation of the protocol with its split, in the order of the files.

    Yields:
        (split, annotation), or a Problem for a listed name without annotation.

    Raises:
        ValueError: a file has neither layout, or lacks the protocol.
    """
    for path in skeleton_files(raw):
        content = load_pickle(path)
        if isinstance(content, dict) and {"split", "annotations"} <= content.keys():
            _check_annotations(path, content["annotations"])
            yield from _from_split_lists(path, content, raw.protocol)
        elif isinstance(content, list):
            split = next((name for name in SPLITS if path.stem == name or path.stem.endswith(f"_{name}")), None)
            if split is None:
                raise ValueError(f"{path.name}: a list of annotations must be named *_train, *_val or *_test.pkl")
            _check_annotations(path, content)
            yield from ((split, annotation) for annotation in content)
        else:
            raise ValueError(
                f"{path.name}: expected a dict with 'split' and 'annotations' or a list, got {type(content).__name__}"
            )


def _from_split_lists(
    path: Path, content: dict[str, Any], protocol: str | None
) -> Iterator[tuple[str, Annotation | Problem]]:
    wanted = {f"{protocol}_{split}" if protocol else split: split for split in SPLITS}
    found = {name: split for name, split in wanted.items() if name in content["split"]}
    if not found:
        raise ValueError(f"{path.name}: no split of protocol {protocol!r}; the file has {sorted(content['split'])}")
    split_of: dict[str, str] = {}
    for name, split in found.items():
        for frame_dir in content["split"][name]:
            if split_of.setdefault(frame_dir, split) != split:
                raise ValueError(f"{path.name}: {frame_dir} is listed in the splits {split_of[frame_dir]} and {split}")
    unseen = dict(split_of)
    for annotation in content["annotations"]:
        frame_dir = annotation.get("frame_dir")
        unseen.pop(frame_dir, None)
        if frame_dir in split_of:  # duplicates too: the skeleton store refuses and reports them
            yield split_of[frame_dir], annotation
    for frame_dir, split in unseen.items():
        reason = f"{frame_dir}: listed in split {split}, but {path.name} has no annotation of that name"
        yield split, Problem(name=str(frame_dir), split=split, action="skipped", reason=reason)


def _check_annotations(path: Path, annotations: list[Any]) -> None:
    for annotation in annotations:
        if not isinstance(annotation, dict):
            raise ValueError(f"{path.name}: an annotation must be a dict, got {type(annotation).__name__}")


def read_clips(
    raw: RawSettings,
    label_of: Callable[[str, Annotation], int | None],
    excluded: frozenset[str] = frozenset(),
) -> Iterator[Clip | Problem]:
    """Each annotation as a `Clip`, or as a `Problem` if it is unusable.

    Args:
        raw: location of the pickles.
        label_of: (split, annotation) -> label, None if it is hidden; raises ValueError for a bad label.
        excluded: names to leave out, each as a Problem with action "excluded".
    """
    for split, annotation in read_splits(raw):
        name = annotation.name if isinstance(annotation, Problem) else str(annotation.get("frame_dir"))
        if name.rpartition("/")[2] in excluded:
            reason = f"{name}: on the data set's list of recordings without usable skeletons"
            yield Problem(name=name, split=split, action="excluded", reason=reason)
        elif isinstance(annotation, Problem):
            yield annotation
        else:
            try:
                yield clip_of(annotation, split, label_of(split, annotation))
            except ValueError as error:
                yield Problem(name=name, split=split, action="skipped", reason=str(error))


def action_label(name_fields: Callable[[str], dict[str, int]], example: str) -> Callable[[str, Annotation], int]:
    """A `label_of` for names that contain the action: action - 1, which must equal the annotation's label.

    Args:
        name_fields: see `Reader.name_fields`.
        example: a valid name, for the error message.
    """

    def label_of(split: str, annotation: Annotation) -> int:
        name, label = str(annotation.get("frame_dir")), annotation.get("label")
        fields = name_fields(name)
        if not fields:
            raise ValueError(f"{name}: expected a name like {example}")
        if label != fields["action"] - 1:
            raise ValueError(f"{name}: the name says label {fields['action'] - 1}, the annotation says {label}")
        return fields["action"] - 1

    return label_of


def clip_of(annotation: Annotation, split: str, label: int | None) -> Clip:
    """The clip of an annotation; its video is searched later.

    Raises:
        ValueError: a field is missing or invalid.
    """
    name = str(annotation.get("frame_dir"))
    absent = [field for field in ("frame_dir", "img_shape", "keypoint") if field not in annotation]
    if absent:
        raise ValueError(f"{name}: the annotation lacks {', '.join(absent)}")
    keypoints = _as_float(annotation["keypoint"], f"{name}: keypoint")
    scores = annotation.get("keypoint_score")
    if scores is None:
        scores = np.ones(keypoints.shape[:-1])
    return Clip(
        key=key_from_name(name),
        name=name,
        split=split,
        label=label,
        keypoints=keypoints,
        scores=_as_float(scores, f"{name}: keypoint_score").astype(keypoints.dtype, copy=False),
        image_size=_as_size(annotation["img_shape"], f"{name}: img_shape"),
    )


def _as_size(values: Any, what: str) -> tuple[int, int]:
    try:
        height, width = (int(value) for value in values)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be (H, W), got {values!r}") from None
    return height, width


def _as_float(values: Any, what: str) -> NDArray[np.floating]:
    """float16 is kept, other numeric types become float32."""
    array = np.asarray(values)
    if array.dtype == np.float16:
        return array
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{what} must hold numbers, got {array.dtype}")
    return array.astype(np.float32)
