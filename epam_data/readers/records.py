"""One record of a skeleton pickle -> `Clip`: each field is checked, and an error says what it holds in a few words."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epam_data.readers.names import key_from_name
from epam_data.readers.plausible import check_plausible
from epam_data.schema import MAX_LABEL, Clip
from epam_data.system.printable import brief

Annotation = dict[str, Any]

_MAX_NESTING = 6  # levels of lists, for an array of four dimensions
_MAX_LISTED = 50_000_000  # numbers in nested lists


def as_label(annotation: Annotation) -> int:
    """The label of an annotation.

    Raises:
        ValueError: it is absent, or no integer from 0 to `MAX_LABEL`.
    """
    name, label = annotation.get("frame_dir"), annotation.get("label")
    if label is None:
        raise ValueError(f"{name}: the annotation lacks a label")
    try:
        number = index(label)
    except TypeError:
        raise ValueError(f"{name}: label must be an integer, got {brief(label)}") from None
    if not 0 <= number <= MAX_LABEL:
        raise ValueError(f"{name}: label must be from 0 to {MAX_LABEL}, got a number outside")
    return number


def action_label(name_fields: Callable[[str], dict[str, int]], example: str) -> Callable[[str, Annotation], int]:
    """A `label_of` for names that contain the action: action - 1, which must equal the annotation's label.

    Args:
        name_fields: see `Reader.name_fields`.
        example: a valid name, for the error message.
    """

    def label_of(split: str, annotation: Annotation) -> int:
        name, label = str(annotation.get("frame_dir")), as_label(annotation)
        fields = name_fields(name)
        if not fields:
            raise ValueError(f"{name}: expected a name like {example}")
        if label != fields["action"] - 1:
            raise ValueError(f"{name}: the name says label {fields['action'] - 1}, the annotation says {label}")
        return fields["action"] - 1

    return label_of


@np.errstate(over="ignore", invalid="ignore")  # what is too large becomes infinite, as a joint that is missing
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
    clip = Clip(
        key=key_from_name(name),
        name=name,
        split=split,
        label=label,
        keypoints=keypoints,
        scores=_as_float(scores, f"{name}: keypoint_score").astype(keypoints.dtype, copy=False),
        image_size=_as_size(annotation["img_shape"], f"{name}: img_shape"),
    )
    check_plausible(clip)
    return clip


def _as_size(values: Any, what: str) -> tuple[int, int]:
    try:
        if not isinstance(values, (list, tuple, np.ndarray)):
            raise TypeError
        height, width = (int(value) for value in values)
        if (height, width) != tuple(values):
            raise ValueError
    except (TypeError, ValueError, OverflowError):  # infinity
        raise ValueError(f"{what} must be (H, W), got {brief(values)}") from None
    return height, width


def _as_float(values: Any, what: str) -> NDArray[np.floating]:
    """float16 is kept, other numeric types become float32."""
    if not isinstance(values, np.ndarray):
        _check_nesting(values, what)
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        raise ValueError(f"{what} must be an array, got nested lists of different lengths") from None
    if array.dtype == np.float16:
        return array
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{what} must hold numbers, got {array.dtype}")
    return array.astype(np.float32)


def _check_nesting(values: Any, what: str) -> None:
    """Count what nested lists would become, before they become it."""
    level, count = [values], 1
    for _ in range(_MAX_NESTING):
        level = [each for each in level if isinstance(each, (list, tuple))]
        count = sum(map(len, level))
        if not level or count > _MAX_LISTED:
            break
        level = [inner for each in level for inner in each]
    if level and count:
        raise ValueError(f"{what} must be an array, got lists nested too deeply or too long")
