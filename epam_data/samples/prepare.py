"""Clip -> Sample: align skeleton and video, find the person box, crop, resize, render the heatmap.

Everything except decoding is a pure function of its arguments.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from epam_data.samples.geometry import to_heatmap_pixels
from epam_data.samples.heatmap import draw_joints, draw_limbs, heatmap_scale, quantise
from epam_data.samples.orientation import fit_to_video
from epam_data.samples.settings import PrepareSettings
from epam_data.samples.video import Box, decode_clip, video_shape
from epam_data.schema import Clip, Sample, SampleInfo
from epam_data.skeleton import SkeletonLayout, joint_is_missing
from epam_data.taxonomy import Taxonomy

_FRAMES_AT_ONCE = 256  # of a heatmap of floats


def prepare(
    clip: Clip, settings: PrepareSettings, layout: SkeletonLayout, taxonomy: Taxonomy
) -> tuple[Sample, str | None]:
    """Decode and crop one clip, and render its heatmap.

    Args:
        clip: the recording.
        settings: sizes, box and heatmap.
        layout: joints of its skeletons.
        taxonomy: classes of its data set.

    Returns:
        The sample, and a description of what had to be mended (None: nothing).

    Raises:
        ValueError: the clip cannot be used; the message names the clip and the reason.
    """
    _check_clip(clip, layout, taxonomy)
    assert clip.video is not None
    shape = video_shape(clip.video)
    clip, turned = fit_to_video(clip, shape)
    assert clip.video is not None
    video_hw = shape.size
    missing = joint_is_missing(clip.keypoints, clip.scores)
    if missing.all():
        raise ValueError(f"{clip.name}: no person, every joint of every frame is missing")
    box = _clip_box(clip, missing, video_hw, settings)
    skeleton_frames = clip.keypoints.shape[1]
    frames, video_frames, replaced = decode_clip(
        clip.video, box, settings.rgb_size_px, skeleton_frames, settings.decoder
    )
    cut = check_overlap(clip.name, video_frames, skeleton_frames, settings)
    mended = "; ".join(note for note in (shape.note, turned, replaced, cut) if note) or None
    num_frames = len(frames)
    keypoints, scores = clip.keypoints[:, :num_frames], clip.scores[:, :num_frames]
    missing = missing[:, :num_frames]
    heights = np.where(missing, 0, scores) if settings.use_scores else np.where(missing, 0.0, 1.0)
    scale = heatmap_scale(heights)
    info = SampleInfo(
        key=clip.key,
        name=clip.name,
        split=clip.split,
        label=clip.label,
        coarse_label=taxonomy.coarse_label(clip.label),
        num_frames=num_frames,
        video_frames=video_frames,
        skeleton_frames=skeleton_frames,
        image_size=clip.image_size,
        video_size=video_hw,
        box=box,
        rgb_size_px=settings.rgb_size_px,
        heatmap_size_px=settings.heatmap_size_px,
        heatmap_kind=settings.heatmap_kind,
        sigma_px=settings.sigma_px,
        heatmap_scale=scale,
        skeleton=layout.name,
    )
    stored = np.concatenate([keypoints, scores[..., None]], axis=-1)
    heatmap = _stored_heatmap(info, keypoints, heights, layout)
    return Sample(info=info, keypoints=stored, heatmap=heatmap, frames=frames), mended


def draw_heatmap(
    info: SampleInfo, keypoints: NDArray[np.floating], heights: NDArray[np.floating], layout: SkeletonLayout
) -> NDArray[np.float32]:
    """The float heatmap volume of a sample.

    Args:
        info: geometry, kind and sigma.
        keypoints: (M, T, V, 2) in pixels of `info.image_size`.
        heights: (M, T, V) height of each joint's Gaussian; 0 where the joint is missing.
        layout: the joints and limbs.

    Returns:
        (T, V, h, w) float32; V counts limbs where `info.heatmap_kind` is "limbs".
    """
    size = (info.heatmap_size_px, info.heatmap_size_px)
    points = to_heatmap_pixels(keypoints, info.image_size, info.video_size, info.box, size)
    if info.heatmap_kind == "limbs":
        return draw_limbs(points, heights, layout.limbs, size, info.sigma_px)
    return draw_joints(points, heights, size, info.sigma_px)


def _stored_heatmap(
    info: SampleInfo, keypoints: NDArray[np.floating], heights: NDArray[np.floating], layout: SkeletonLayout
) -> NDArray[np.uint8]:
    """`draw_heatmap`, quantised; a part of the frames at a time, since floats take four times the memory."""
    parts = [
        quantise(draw_heatmap(info, keypoints[:, start:end], heights[:, start:end], layout), info.heatmap_scale)
        for start, end in pairwise([*range(0, info.num_frames, _FRAMES_AT_ONCE), info.num_frames])
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _clip_box(clip: Clip, missing: NDArray[np.bool_], video_hw: tuple[int, int], settings: PrepareSettings) -> Box:
    """The `person_box` of a clip, in pixels of its video."""
    to_video = np.array([video_hw[1] / clip.image_size[1], video_hw[0] / clip.image_size[0]])
    return person_box(
        clip.keypoints.astype(np.float64) * to_video,
        missing,
        video_hw,
        padding=settings.box_padding,
        threshold_px=settings.box_threshold_px,
        pad_image=settings.pad_image,
    )


def person_box(
    keypoints: NDArray[np.floating],
    missing: NDArray[np.bool_],
    video_hw: tuple[int, int],
    *,
    padding: float = 0.25,
    threshold_px: int = 10,
    pad_image: bool = False,
) -> Box:
    """One square box around all persons in all frames, as MMAction2's `MMCompact` with `hw_ratio` 1.

    Args:
        keypoints: (..., 2) x, y in pixels of the video.
        missing: (...) bool, joints to ignore.
        video_hw: (H, W) of the video.
        padding: added to the half sides, as a share of them.
        threshold_px: if either side of the box is shorter, the full image is used.
        pad_image: False clips the box to the image, so it may not be square.

    Returns:
        (x1, y1, x2, y2), truncated towards zero.
    """
    height, width = video_hw
    full_image = (0, 0, width, height)
    visible = keypoints[~missing]
    if not len(visible):
        return full_image
    low, high = visible.min(axis=0), visible.max(axis=0)
    if (high - low < threshold_px).any():
        return full_image
    centre = (low + high) / 2
    half = ((high - low) / 2 * (1 + padding)).max()
    (x1, y1), (x2, y2) = centre - half, centre + half
    if not pad_image:
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    box = (int(x1), int(y1), int(x2), int(y2))
    # A skeleton outside the image (bad scores, the pickle of another video) leaves nothing to crop.
    outside = min(box[2], width) - max(box[0], 0) < 1 or min(box[3], height) - max(box[1], 0) < 1
    return full_image if outside else box


def check_overlap(name: str, video_frames: int, skeleton_frames: int, settings: PrepareSettings) -> str | None:
    """Compare the lengths of video and skeleton; the shorter one is used.

    Returns:
        A message to report if they differ by more than `max_frame_difference`, else None.

    Raises:
        ValueError: the shorter one has less than `min_overlap` of the frames of the longer.
    """
    shorter, longer = sorted((video_frames, skeleton_frames))
    counts = f"the video gives {video_frames} frames, the skeleton has {skeleton_frames}"
    if shorter < settings.min_overlap * longer:
        raise ValueError(f"{name}: {counts}; at least {settings.min_overlap:.0%} must overlap")
    if longer - shorter > settings.max_frame_difference:
        return f"{counts}; the first {shorter} are used"
    return None


def _check_clip(clip: Clip, layout: SkeletonLayout, taxonomy: Taxonomy) -> None:
    """Raise a ValueError if the clip cannot be used."""
    num_persons, num_frames, num_joints, _ = clip.keypoints.shape
    if num_joints != len(layout.joints):
        raise ValueError(f"{clip.name}: {layout.name} has {len(layout.joints)} joints, got {num_joints}")
    if num_persons == 0 or num_frames == 0:
        raise ValueError(f"{clip.name}: no person, got {num_persons} persons and {num_frames} frames")
    if clip.label is not None and clip.label >= len(taxonomy.classes):
        raise ValueError(f"{clip.name}: label must be in 0..{len(taxonomy.classes) - 1}, got {clip.label}")
    if clip.video is None:
        raise ValueError(f"{clip.name}: no video found")
