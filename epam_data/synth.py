"""A small data set in NTU RGB+D's published layout: real H.264 videos of moving figures, and their skeletons.

Six motions (table `synthetic`); mirroring never changes the label. Body, clothes, speed, phase, position and background
depend on the subject and the clip, never on the class; training and validation subjects differ.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval, MultipleOf
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from epam_data.readers.synthetic import READER
from epam_data.samples.video_writer import write_video
from epam_data.skeleton import COCO17
from epam_data.system.checked_fields import Seed, check_fields
from epam_data.system.executors import run_local
from epam_data.system.progress import OnProgress, silent

VIDEO_FOLDER, SKELETON_FILE = "videos", "synthetic.pkl"

_CLASSES = len(READER.taxonomy.classes)
_CAMERAS = 3
_FPS = 30


@dataclass(frozen=True, kw_only=True)
class SynthSettings:
    """Size of the synthetic data set."""

    train_clips: Annotated[int, MultipleOf(_CLASSES), Interval(ge=_CLASSES, le=1_000_000)] = 180
    """Clips of training subjects, equally many of each class."""
    val_clips: Annotated[int, MultipleOf(_CLASSES), Interval(ge=_CLASSES, le=1_000_000)] = 60
    """Clips of validation subjects, the same."""
    height_px: Annotated[int, MultipleOf(2), Interval(ge=64, le=4096)] = 240
    """Height of the videos."""
    width_px: Annotated[int, MultipleOf(2), Interval(ge=64, le=4096)] = 320
    """Width of the videos."""
    min_frames: Annotated[int, Interval(ge=4, le=1_000_000)] = 50
    """Shortest video."""
    max_frames: Annotated[int, Interval(ge=4, le=1_000_000)] = 80
    """Longest video."""
    seed: Seed = 0
    """The same seed gives the same figures."""

    def __post_init__(self) -> None:
        check_fields(self, "synth")
        if self.min_frames > self.max_frames:
            raise ValueError(f"synth.min_frames must be <= max_frames {self.max_frames}, got {self.min_frames}")


def synthesise(out: Path, settings: SynthSettings, num_workers: int, progress: OnProgress = silent) -> Path:
    """Write `out/videos/*_rgb.avi` and the skeleton pickle.

    Args:
        out: folder, created if missing.
        settings: sizes and seed.
        num_workers: processes; 0: run in this process.
        progress: called with the number of finished clips.

    Returns:
        Path of the pickle.
    """
    (out / VIDEO_FOLDER).mkdir(parents=True, exist_ok=True)
    names = clip_names(settings)
    render = _Render(out / VIDEO_FOLDER, settings)
    annotations: dict[str, Any] = {}
    for annotation in run_local(render, names, num_workers):
        # Copy it: shared objects change a pickle's bytes, and what is shared differs between processes.
        annotations[annotation["frame_dir"]] = pickle.loads(pickle.dumps(annotation))
        progress(len(annotations), len(names), "")
    path = out / SKELETON_FILE
    content = {"split": _splits(names), "annotations": [annotations[name] for name in names]}
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


def clip_names(settings: SynthSettings) -> list[str]:
    """The names of all clips, training first."""
    names = []
    for split, num_clips in (("train", settings.train_clips), ("val", settings.val_clips)):
        subjects = sorted(READER.protocols["xsub"].values[split])
        for number in range(num_clips // _CLASSES):
            subject = subjects[number % len(subjects)]
            take = number // len(subjects)  # of this subject: each camera, then the next replication
            camera, replication = take % _CAMERAS + 1, take // _CAMERAS + 1
            names += [f"S001C{camera:03d}P{subject:03d}R{replication:03d}A{label + 1:03d}" for label in range(_CLASSES)]
    return names


def _splits(names: list[str]) -> dict[str, list[str]]:
    return {
        f"{protocol}_{split}": [name for name in names if rule.split_of(READER.name_fields(name)) == split]
        for protocol, rule in READER.protocols.items()
        for split in rule.values
    }


@dataclass(frozen=True)
class _Render:
    """Renders one clip, given its name; picklable, for the executors."""

    folder: Path
    settings: SynthSettings

    def __call__(self, name: str) -> dict[str, Any]:
        settings, fields = self.settings, READER.name_fields(name)
        label = fields["action"] - 1
        rng = np.random.default_rng([settings.seed, *name.encode()])
        subject = np.random.default_rng([settings.seed, *f"P{fields['subject']:03d}".encode()])
        num_frames = int(rng.integers(settings.min_frames, settings.max_frames + 1))
        joints = figure_motion(label, num_frames, rng, subject)  # (T, V, 2), body heights
        height = settings.height_px * subject.uniform(0.55, 0.7) * rng.uniform(0.9, 1.1)
        feet = np.array([settings.width_px * rng.uniform(0.4, 0.6), settings.height_px * rng.uniform(0.85, 0.93)])
        points = joints * height + feet
        _write_video(self.folder / f"{name}_rgb.avi", points, height, settings, rng, subject)
        found, scores = _detect(points, rng)
        return {
            "frame_dir": name,
            "label": label,
            "img_shape": (settings.height_px, settings.width_px),
            "original_shape": (settings.height_px, settings.width_px),
            "total_frames": num_frames,
            "keypoint": found[None].astype(np.float16),
            "keypoint_score": scores[None].astype(np.float16),
        }


def figure_motion(
    label: int, num_frames: int, rng: np.random.Generator, subject: np.random.Generator
) -> NDArray[np.float64]:
    """The joints of one clip.

    Args:
        label: class of the `synthetic` table.
        num_frames: T.
        rng: generator of the clip: side, speed, phase, reach.
        subject: generator of the person: proportions.

    Returns:
        (T, 17, 2) x, y in body heights, y down, origin between the feet at rest.
    """
    side = rng.choice([-1.0, 1.0])
    cycles, phase, reach = rng.uniform(1.2, 2.2), rng.uniform(0, 1), rng.uniform(0.8, 1.1)
    time = np.linspace(0, cycles, num_frames) + phase
    beat = 0.5 - 0.5 * np.cos(2 * math.pi * time)  # 0 ... 1 ... 0
    swing = np.sin(2 * math.pi * time)
    still = np.zeros(num_frames)
    lean, sink, shift = 0.04 * swing, still, still  # even a standing person moves a little
    arms = {s: (0.25 + 0.08 * s * swing, 0.15 + still) for s in (-1.0, 1.0)}  # shoulder and elbow angles from hanging
    legs = dict.fromkeys((-1.0, 1.0), (0.08 + still, still))  # hip and knee angles
    name = READER.taxonomy.classes[label]
    if name == "raise both arms":
        arms = dict.fromkeys((-1.0, 1.0), (0.2 + 2.7 * reach * beat, 0.1 + still))
    elif name == "wave one hand":
        wave = np.sin(2 * math.pi * 2.5 * time)
        arms[side] = (1.9 * reach + 0.1 * wave, 0.5 + 0.7 * wave)
    elif name == "bow":
        lean = side * 1.25 * reach * beat
    elif name == "sway sideways":
        lean, shift = 0.4 * reach * swing, 0.12 * reach * swing
    elif name == "squat":
        sink = 0.2 * reach * beat
        legs = dict.fromkeys((-1.0, 1.0), (0.15 + 0.95 * reach * beat, -1.5 * reach * beat))
    elif name == "kick forward":
        legs[side] = (0.1 + 1.5 * reach * beat**2, -0.2 * beat)
    return _assemble(lean, sink, shift, arms, legs, subject)


def _assemble(
    lean: NDArray[np.float64],
    sink: NDArray[np.float64],
    shift: NDArray[np.float64],
    arms: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]],
    legs: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]],
    subject: np.random.Generator,
) -> NDArray[np.float64]:
    """Forward kinematics of a flat figure facing the camera; side +1 is its left, on the right of the image."""
    thigh, shin, trunk = (length * subject.uniform(0.94, 1.06) for length in (0.245, 0.245, 0.3))
    upper_arm, forearm, half_shoulder, half_hip = 0.17, 0.16, subject.uniform(0.1, 0.13), 0.07
    joints: dict[str, NDArray[np.float64]] = {}
    hips = np.stack([shift, sink - thigh - shin], axis=-1)
    up = np.stack([np.sin(lean), -np.cos(lean)], axis=-1)
    across = np.stack([np.cos(lean), np.sin(lean)], axis=-1)
    neck = hips + trunk * up
    joints["nose"] = neck + 0.12 * up
    for side, word in ((1.0, "left"), (-1.0, "right")):
        joints[f"{word}_eye"] = neck + 0.145 * up + 0.025 * side * across
        joints[f"{word}_ear"] = neck + 0.13 * up + 0.05 * side * across
        joints[f"{word}_shoulder"] = neck + half_shoulder * side * across
        joints[f"{word}_hip"] = hips + half_hip * side * np.array([1.0, 0.0])
        shoulder, elbow = arms[side]
        joints[f"{word}_elbow"] = joints[f"{word}_shoulder"] + upper_arm * _hanging(side * shoulder - lean)
        joints[f"{word}_wrist"] = joints[f"{word}_elbow"] + forearm * _hanging(side * (shoulder + elbow) - lean)
        hip, knee = legs[side]
        joints[f"{word}_knee"] = joints[f"{word}_hip"] + thigh * _hanging(side * hip)
        joints[f"{word}_ankle"] = joints[f"{word}_knee"] + shin * _hanging(side * (hip + knee))
    return np.stack([joints[name] for name in COCO17.joints], axis=1)


def _hanging(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (T, 2) that point down, rotated outwards by `angle` radians."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _detect(points: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a pose estimator would report: noisy positions, scores below 1, some missing joints."""
    found = points + rng.normal(0, 0.8, points.shape)
    scores = np.clip(rng.normal(0.88, 0.07, points.shape[:-1]), 0.3, 1.0)
    missed = rng.random(scores.shape) < 0.01
    found[missed], scores[missed] = 0.0, 0.0
    return found, scores


def _write_video(
    path: Path,
    points: NDArray[np.float64],
    height: float,
    settings: SynthSettings,
    rng: np.random.Generator,
    subject: np.random.Generator,
) -> None:
    background = _background(settings, rng)
    shirt, trousers = (tuple(int(v) for v in subject.integers(40, 160, 3)) for _ in range(2))

    def frame(frame_points: NDArray[np.float64]) -> Image.Image:
        image = background.copy()
        _draw_figure(ImageDraw.Draw(image), frame_points, height, shirt, trousers)
        return image

    # One thread, so that the bytes do not depend on the machine; B-frames as in the real recordings.
    options = {"preset": "veryfast", "crf": "20", "threads": "1", "bf": "2"}
    write_video(path, map(frame, points), fps=_FPS, options=options)


def _background(settings: SynthSettings, rng: np.random.Generator) -> Image.Image:
    """A dim, blurred, static pattern, different for each clip."""
    coarse = rng.integers(50, 130, (6, 8, 3), dtype=np.uint8)
    size = (settings.width_px, settings.height_px)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def _draw_figure(
    draw: ImageDraw.ImageDraw,
    points: NDArray[np.float64],
    height: float,
    shirt: tuple[int, ...],
    trousers: tuple[int, ...],
) -> None:
    at = {name: tuple(point) for name, point in zip(COCO17.joints, points, strict=True)}
    thick = max(2, round(height * 0.06))

    def line(*names: str, fill: Any) -> None:
        draw.line([at[name] for name in names], fill=fill, width=thick, joint="curve")

    def disc(name: str, radius: float, fill: Any) -> None:
        (x, y), r = at[name], radius * height
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)

    draw.polygon(
        [at[f"{word}"] for word in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")],
        fill=shirt,
    )
    for side in ("left", "right"):
        line(f"{side}_hip", f"{side}_knee", f"{side}_ankle", fill=trousers)
        line(f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist", fill=shirt)
        # Everybody wears gloves and shoes of the same bright colours, so that a small RGB network can see the motion.
        disc(f"{side}_wrist", 0.065, (255, 220, 40))
        disc(f"{side}_ankle", 0.065, (40, 200, 255))
    disc("nose", 0.085, (250, 235, 225))
