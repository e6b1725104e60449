"""The value objects of the data path: `Clip` (a raw recording) and `Sample` (one entry of a shard).

Legend everywhere: M persons, T frames, V joints (or heatmap channels), H and W height and width in pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import msgspec

from epam_data.system.printable import brief

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA_VERSION = 1
"""Version of the shard format; readers refuse newer versions."""

MAX_KEY_LENGTH = 80
"""Longest key in characters, so that `KEY.heatmap.npy.zst` fits a plain tar header (100 bytes)."""

MAX_IMAGE_PX = 65_535
"""Largest height and width of an image, that of JPEG."""

MAX_LABEL = 2**31 - 1

Split = Literal["train", "val", "test"]
SPLITS: tuple[str, str, str] = get_args(Split)

ALL = "all"
"""Protocol and split of clips that no protocol has split: a view does (`epam_data.views`)."""

STORED_SPLITS = (*SPLITS, ALL)
"""Splits that shards may be of."""

_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_KEY_LENGTH}}}")


def check_key(key: str) -> str:
    """Return `key` if it is a valid shard key, else raise a ValueError."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{brief(key)}: a key must be 1 to {MAX_KEY_LENGTH} characters of [A-Za-z0-9_-]")
    return key


def check_file_name(name: str, what: str) -> str:
    """Return `name` if it can be part of a path, a URL and a command as it is, else raise a ValueError.

    Args:
        name: of a shard, without its ending, or of a split, as a manifest has it: a stranger may have written that.
        what: it is, for the error.
    """
    if not _KEY.fullmatch(name):
        raise ValueError(f"{what} must be 1 to {MAX_KEY_LENGTH} characters of [A-Za-z0-9_-], got {brief(name)}")
    return name


def check_version(version: object, what: object) -> None:
    """Raise a ValueError that starts with `what` if this code cannot read the shard schema version."""
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"{what}: shard schema {brief(version)} cannot be read, this code reads 1..{SCHEMA_VERSION}")


def stored_label(label: int | None) -> int:
    """A label as an integer: -1 if it is hidden."""
    return -1 if label is None else label


def label_from_stored(label: int) -> int | None:
    """The inverse of `stored_label`: None for a negative number."""
    return None if label < 0 else label


def _expect(ok: bool, key: str, what: str, wanted: object, got: object) -> None:
    if not ok:
        raise ValueError(f"{key}: {what} must be {wanted}, got {got}")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One raw recording: its skeletons, its label and the path of its video. Checks itself."""

    key: str  # shard key, see `readers.names`
    name: str  # the data set's own name (`frame_dir`), may hold a folder
    split: str  # one of STORED_SPLITS
    label: int | None  # 0-based; None: hidden
    keypoints: NDArray[np.floating]  # (M, T, V, 2) float16 | float32, x and y in pixels of `image_size`
    scores: NDArray[np.floating]  # (M, T, V) same dtype; low or NaN: the joint is missing
    image_size: tuple[int, int]  # (H, W) of the image the skeletons were detected in; may differ from the video's
    video: Path | None = None  # None: not found, or not searched yet

    def __post_init__(self) -> None:
        check_key(self.key)
        allowed = f"one of {', '.join(STORED_SPLITS)}"
        _expect(self.split in STORED_SPLITS, self.key, "split", allowed, repr(self.split))
        _expect(
            self.label is None or 0 <= self.label <= MAX_LABEL, self.key, "label", f"None or 0..{MAX_LABEL}", self.label
        )
        shape = self.keypoints.shape
        _expect(len(shape) == 4 and shape[-1] == 2, self.key, "keypoints", "(M, T, V, 2)", shape)
        # Arrays without a number can have any shape; the skeleton store has 32 bits for each size.
        most = 2**31 - 1
        _expect(max(shape) <= most, self.key, "keypoints", f"of at most {most} persons, frames and joints", shape)
        _expect(
            self.keypoints.dtype in ("float16", "float32"),
            self.key,
            "keypoints",
            "float16 or float32",
            self.keypoints.dtype,
        )
        _expect(self.scores.shape == shape[:3], self.key, "scores", f"(M, T, V) = {shape[:3]}", self.scores.shape)
        kind = self.keypoints.dtype
        _expect(self.scores.dtype == kind, self.key, "scores", f"{kind} like the keypoints", self.scores.dtype)
        height, width = self.image_size
        is_size = 0 < height <= MAX_IMAGE_PX and 0 < width <= MAX_IMAGE_PX
        _expect(is_size, self.key, "image_size", f"(H, W) from 1 to {MAX_IMAGE_PX}", self.image_size)


Positive = Annotated[int, msgspec.Meta(ge=1)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Stored = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]  # what a 32-bit integer holds


@dataclass(frozen=True, kw_only=True)
class SampleInfo:
    """`KEY.json` of a sample: everything except the arrays. The limits of the types are checked when it is read."""

    key: str
    name: str
    split: str
    label: Stored | None  # None: hidden
    coarse_label: Stored | None  # None: hidden, or the data set has no groups
    num_frames: Positive  # T
    video_frames: Stored  # number of decoded frames
    skeleton_frames: Stored
    image_size: tuple[Pixels, Pixels]  # (H, W) of the skeleton's pixels
    video_size: tuple[Pixels, Pixels]  # (H, W) of the video
    box: tuple[Stored, Stored, Stored, Stored]  # (x1, y1, x2, y2) of the crop, video pixels, x2 and y2 exclusive
    rgb_size_px: Pixels  # S: frames are S x S
    heatmap_size_px: Pixels  # heatmaps are square, too
    heatmap_kind: str  # "joints" or "limbs": what a channel is
    sigma_px: Annotated[float, msgspec.Meta(ge=0.001, le=1e6)]  # heatmap pixels
    heatmap_scale: Annotated[float, msgspec.Meta(ge=1, le=1e30)]  # value of a stored 255
    skeleton: str  # name of the joint layout

    def __post_init__(self) -> None:
        check_key(self.key)
        x1, y1, x2, y2 = self.box
        _expect(x2 > x1 and y2 > y1, self.key, "box", "(x1, y1, x2, y2) with x2 > x1 and y2 > y1", self.box)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One prepared clip: cropped frames, keypoints and the heatmap volume of the same box. Checks itself."""

    info: SampleInfo
    keypoints: NDArray[np.floating]  # (M, T, V, 3) float16 | float32: x, y, score in pixels of `info.image_size`
    heatmap: NDArray[np.uint8]  # (T, V, h, w) uint8: value * info.heatmap_scale / 255 is the float heatmap
    frames: NDArray[np.uint8]  # (T, S, S, 3) uint8 RGB

    def __post_init__(self) -> None:
        info, key = self.info, self.info.key
        num, rgb_px, heat_px = info.num_frames, info.rgb_size_px, info.heatmap_size_px
        shape = self.keypoints.shape
        _expect(
            len(shape) == 4 and shape[1] == num and shape[3] == 3,
            key,
            "keypoints",
            f"(M, {num}, V, 3)",
            shape,
        )
        shape = self.heatmap.shape
        _expect(
            len(shape) == 4 and shape[0] == num and shape[2:] == (heat_px, heat_px),
            key,
            "heatmap",
            f"({num}, V, {heat_px}, {heat_px})",
            shape,
        )
        wanted = (num, rgb_px, rgb_px, 3)
        _expect(self.frames.shape == wanted, key, "frames", wanted, self.frames.shape)
        for what, array in (("heatmap", self.heatmap), ("frames", self.frames)):
            _expect(array.dtype == "uint8", key, what, "uint8", array.dtype)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One clip that a build skipped, excluded or mended, with the reason."""

    name: str  # the data set's own name of the clip
    split: str
    action: str  # "skipped" or "excluded" (by the data set): not in the shards; "mended": in the shards, changed
    reason: str

    @property
    def kind(self) -> str:
        """The reason without the leading name, and with N for numbers, to group problems of one kind.

        What lies in place of a video that was not found is another for each clip, and left out.
        """
        plain = re.sub(r"^\S+: ", "", self.reason)
        return re.sub(r"\d+(\.\d+)?", "N", re.sub(r"(?<=^no video found);.*", "", plain, flags=re.DOTALL))
