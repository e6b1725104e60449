"""Pictures of a model's input, and pictures and videos of the attention map over the RGB frames."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from epam_data.samples.video_writer import write_video
from epam_data.show.picture import with_heatmap
from epam_data.stream import BatchFinisher, Stream
from epam_data.stream.device import RGB_MEAN, RGB_STD

Kind = Literal["picture", "video"]
_HOT = np.array([255.0, 60.0, 20.0])
_STRENGTH = 0.65  # opacity of the colour where attention is highest
_COLUMNS = 8
_FPS = 8


def first_inputs(stream: Stream, finisher: BatchFinisher, count: int = 4) -> dict[str, NDArray[np.uint8]]:
    """Pictures of the first clips of a stream as the model's input, by key; see `input_picture`."""
    batch = stream.read_step(0, 0)
    rgb, pose = (clips.cpu().numpy() for clips in finisher(batch.to(finisher.mean.device)))
    firsts = range(0, min(count, len(batch)) * batch.num_clips, batch.num_clips)
    return {key: input_picture(rgb[clip], pose[clip]) for key, clip in zip(batch.keys, firsts, strict=False)}


def input_picture(rgb: NDArray[np.floating], pose: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A row of frames of a clip, and below it the same frames under their heatmaps, after crops, flips and colours.

    Args:
        rgb: (3, T, S, S) float, normalised as `BatchFinisher` does.
        pose: (V, T', h, w) float, 0 ... 1; T' is a multiple of T.

    Returns:
        (2 S, n S, 3) uint8, for n evenly spaced frames.
    """
    frames = (rgb.transpose(1, 2, 3, 0) * RGB_STD + RGB_MEAN).round().clip(0, 255).astype(np.uint8)
    heat = (pose.max(axis=0) * 255).clip(0, 255).astype(np.uint8)
    rows: list[list[NDArray[np.uint8]]] = [[], []]
    for number in range(0, len(frames), max(len(frames) // _COLUMNS, 1)):
        plain = Image.fromarray(frames[number])
        rows[0].append(frames[number])
        rows[1].append(np.asarray(with_heatmap(plain, heat[number * len(heat) // len(frames)])))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def attention_frames(frames: NDArray[np.uint8], attention: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Frames under their attention.

    Args:
        frames: (T, S, S, 3) uint8.
        attention: (T, H, W) in 0 ... 1; scaled to the range of the clip, so that weak maps are visible too.

    Returns:
        (T, S, S, 3) uint8.

    Raises:
        ValueError: numbers of frames differ.
    """
    if len(frames) != len(attention):
        raise ValueError(f"frames and attention must have the same length, got {len(frames)} and {len(attention)}")
    low, high = float(attention.min()), float(attention.max())
    scaled = (attention - low) / (high - low) if high > low else np.zeros_like(attention)
    size = (frames.shape[2], frames.shape[1])
    weights = np.stack(
        [
            np.asarray(Image.fromarray(each.astype(np.float32), mode="F").resize(size, Image.Resampling.BILINEAR))
            for each in scaled
        ]
    )
    share = _STRENGTH * weights[..., None].clip(0, 1)
    return np.asarray((frames * (1 - share) + _HOT * share).astype(np.uint8))


def write_overlay(
    path: Path, frames: NDArray[np.uint8], attention: NDArray[np.floating], *, kind: str = "picture"
) -> Path:
    """Write a sheet of all frames (`.png`) or a video (`.mp4`) of a clip; arguments as in `attention_frames`.

    Args:
        path: the file, without ending.
        frames: (T, S, S, 3) uint8.
        attention: (T, H, W).
        kind: `picture` or `video`.

    Returns:
        Path of the file.

    Raises:
        ValueError: the kind is unknown, or numbers of frames differ.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"overlay_kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    images = [Image.fromarray(frame) for frame in attention_frames(frames, attention)]
    target = path.with_name(path.name + {"picture": ".png", "video": ".mp4"}[kind])
    if kind == "video":
        write_video(target, images, fps=_FPS)
        return target
    width, height = images[0].size
    sheet = Image.new("RGB", (width * min(len(images), _COLUMNS), height * -(-len(images) // _COLUMNS)))
    for number, image in enumerate(images):
        sheet.paste(image, (number % _COLUMNS * width, number // _COLUMNS * height))
    sheet.save(target)
    return target
