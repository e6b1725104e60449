"""Check that skeleton, crop and video of a clip match: frame counts, person box, joints in the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epam_data.readers.videos import VideoFinder
from epam_data.samples.container import open_video
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import SampleInfo

MAX_OUTSIDE = 0.5
"""If a larger share of the visible joints is outside the image, the skeleton or the image size is wrong."""


@dataclass(frozen=True, kw_only=True)
class JointPositions:
    """Positions of a clip's joints, as shares."""

    visible: float  # share of all joints
    outside_image: float  # share of the visible joints
    outside_crop: float  # share of the visible joints inside the image


def joint_positions(info: SampleInfo, keypoints: NDArray[np.floating]) -> JointPositions:
    """Shares of a clip's joints that are visible, outside the video's image, and outside the crop.

    Args:
        info: sizes and box.
        keypoints: (M, T, V, 3), see `Sample`.
    """
    points, seen = _visible_points(info, keypoints)
    height, width = info.video_size
    in_image = ((points >= 0) & (points <= (width, height))).all(axis=-1)
    x1, y1, x2, y2 = info.box
    # One pixel of tolerance: the corners of the box were truncated.
    in_crop = ((points[in_image] >= (x1 - 1, y1 - 1)) & (points[in_image] <= (x2 + 1, y2 + 1))).all(axis=-1)
    return JointPositions(
        visible=float(seen.mean()) if seen.size else 0.0,
        outside_image=1 - float(in_image.mean()) if in_image.size else 0.0,
        outside_crop=1 - float(in_crop.mean()) if in_crop.size else 0.0,
    )


def alignment_faults(
    info: SampleInfo, keypoints: NDArray[np.floating], positions: JointPositions, prepare: PrepareSettings
) -> Iterator[str]:
    """Mismatches between skeleton, crop and video.

    Args:
        info: from `KEY.json`.
        keypoints: (M, T, V, 3), see `Sample`.
        positions: of the same keypoints.
        prepare: the settings of the build, from the manifest.
    """
    counts = f"video {info.video_frames}, skeleton {info.skeleton_frames}"
    shorter, longer = sorted((info.video_frames, info.skeleton_frames))
    if info.num_frames != shorter:
        yield f"num_frames must be the shorter of {counts}, got {info.num_frames}"
    if shorter < prepare.min_overlap * longer:
        yield f"frames: {counts}; at least {prepare.min_overlap:.0%} must overlap"
    if not positions.visible:
        yield "no joint of any frame is visible"
        return
    if positions.outside_image > MAX_OUTSIDE:
        height, width = info.video_size
        yield f"{positions.outside_image:.0%} of the visible joints are outside the {width} x {height} image"
    elif positions.outside_crop:
        yield f"{positions.outside_crop:.1%} of the visible joints inside the image are outside the crop {info.box}"
    # The box covers all frames of the skeleton; if the shard lacks the last ones, it cannot be computed again.
    if info.num_frames == info.skeleton_frames:
        box = expected_box(info, keypoints, prepare)
        if np.abs(np.subtract(box, info.box)).max() > 1:
            yield f"the box must be {box} according to the keypoints, got {info.box}"


def container_faults(info: SampleInfo, videos: VideoFinder, prepare: PrepareSettings) -> Iterator[str]:
    """Compare the frame count in the container's header with the decoded frames.

    Args:
        info: from `KEY.json`.
        videos: finds the recording.
        prepare: the settings of the build, from the manifest.
    """
    path = videos.find(info.name)
    if path is None:
        yield f"no video of {info.name} in {videos.root}"
        return
    try:
        with open_video(videos.root / path) as video:
            announced = video.stream.frames  # 0: not in the header
    except ValueError as error:
        yield str(error)
        return
    if announced and abs(announced - info.video_frames) > prepare.max_frame_difference:
        yield f"the container's header says {announced} frames, the decoder returned {info.video_frames}"


def expected_box(
    info: SampleInfo, keypoints: NDArray[np.floating], prepare: PrepareSettings
) -> tuple[int, int, int, int]:
    """The person box by its definition: bounds of the visible joints, padded to a square, clipped or not."""
    points, _ = _visible_points(info, keypoints)
    height, width = info.video_size
    left, top = points.min(axis=0)
    right, bottom = points.max(axis=0)
    if min(right - left, bottom - top) < prepare.box_threshold_px:
        return 0, 0, width, height
    half = max(right - left, bottom - top) / 2 * (1 + prepare.box_padding)
    x, y = (left + right) / 2, (top + bottom) / 2
    box = [x - half, y - half, x + half, y + half]
    if not prepare.pad_image:
        box = [max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)]
    x1, y1, x2, y2 = (int(edge) for edge in box)
    if min(x2, width) <= max(x1, 0) or min(y2, height) <= max(y1, 0):  # outside the image: nothing to crop
        return 0, 0, width, height
    return x1, y1, x2, y2


def _visible_points(info: SampleInfo, keypoints: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n, 2) x, y of the visible joints in pixels of the video, and their (M, T, V) mask."""
    values = keypoints.astype(np.float64)
    seen = np.isfinite(values).all(axis=-1) & (values[..., 2] >= 1e-4) & (values[..., :2] != 0).any(axis=-1)
    scale = (info.video_size[1] / info.image_size[1], info.video_size[0] / info.image_size[0])
    return values[seen][:, :2] * scale, seen
