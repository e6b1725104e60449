"""Tiny raw data sets in the published layouts: real H.264 recordings, real pickles, drawn from nothing."""

import pickle
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from epam_data.build.plan import BuildPlan
from epam_data.readers import RawSettings
from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Sample, SampleInfo
from epam_data.shards.layout import ShardSummary
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter

SMALL_HW = (96, 128)
SMALL = PrepareSettings(rgb_size_px=64, heatmap_size_px=16)
"""Sizes of every build in these tests."""


def background(hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A smooth coloured texture (H, W, 3) uint8, dark enough that a white dot stands out."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: hw[0], : hw[1]]
    waves = [np.sin(x * rng.uniform(0.02, 0.2) + y * rng.uniform(0.02, 0.2) + rng.uniform(0, 6)) for _ in range(3)]
    return (60 + 40 * np.stack(waves, axis=-1)).astype(np.uint8)


def draw_dot(image: np.ndarray, x: float, y: float, radius: int = 3) -> None:
    """A white square around pixel (x, y)."""
    column, row = round(x), round(y)
    image[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = 255


def write_video(
    path: Path,
    frames: list[np.ndarray],
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    times_ms: list[int] | None = None,
    **options: str,
) -> None:
    """(H, W, 3) uint8 images as a recording, of H.264 with B-frames; shown at `times_ms`, or 30 in a second.

    The index of an MP4 stands in front of its frames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if codec == "libx264":
            stream.codec_context.max_b_frames = 2
            options = {"preset": "veryfast", "crf": "16", "b_strategy": "0", "threads": "1", **options}
        stream.options = options
        if times_ms:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            if times_ms:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_sound(path: Path) -> None:
    """A Matroska file of whatever name with sound alone."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def cut_avi(data: bytes, num_frames: int) -> bytes:
    """An AVI cut off behind its first frames; its header still announces all of them."""
    position = data.index(b"movi") + 4
    for _ in range(num_frames):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return data[:position]


def person(num_frames: int, num_joints: int = 17, hw: tuple[int, int] = SMALL_HW, seed: int = 0) -> np.ndarray:
    """(T, V, 2) float32: joints on an ellipse around a centre that drifts to the right."""
    rng = np.random.default_rng(seed)
    height, width = hw
    angle = np.linspace(0, 2 * np.pi, num_joints, endpoint=False)[None] + rng.uniform(0, 6)
    drift = np.linspace(0.4, 0.6, num_frames)[:, None]
    x = width * (drift + 0.12 * np.cos(angle))
    y = height * (0.5 + 0.3 * np.sin(angle)) + np.sin(np.arange(num_frames))[:, None]
    return np.stack(np.broadcast_arrays(x, y), axis=-1).astype(np.float32)


def annotation(name: str, label: int | None, keypoints: np.ndarray, /, **changes: Any) -> dict[str, Any]:
    """A published annotation of (M, T, V, 2) keypoints; `changes` replaces fields, None removes one."""
    fields = {
        "frame_dir": name,
        "label": label,
        "img_shape": SMALL_HW,
        "original_shape": SMALL_HW,
        "total_frames": keypoints.shape[1],
        "keypoint": keypoints,
        "keypoint_score": np.random.default_rng(label or 0)
        .uniform(0.5, 1, keypoints.shape[:3])
        .astype(keypoints.dtype),
        **changes,
    }
    return {field: value for field, value in fields.items() if value is not None}


def write_recording(path: Path, keypoints: np.ndarray, hw: tuple[int, int] = SMALL_HW, seed: int = 0) -> None:
    """A recording in which a white dot follows joint 0 of the only person in (T, V, 2) keypoints."""
    still = background(hw, seed)
    frames = []
    for x, y in keypoints[:, 0]:
        image = still.copy()
        draw_dot(image, x, y)
        frames.append(image)
    write_video(path, frames)


def ntu_name(number: int, action: int) -> str:
    return f"S001C001P{number:03d}R001A{action:03d}"


def write_ntu60(root: Path, num_train: int = 14, num_val: int = 5) -> Path:
    """NTU's layout: `videos/NAME_rgb.avi` and `skeletons.pkl` with an X-Sub and an X-View protocol."""
    names = {"train": [], "val": []}
    annotations = []
    for number in range(num_train + num_val):
        name = ntu_name(number, number % 60 + 1)
        names["train" if number < num_train else "val"].append(name)
        keypoints = person(20 + 3 * (number % 8), seed=number)
        write_recording(root / "videos" / f"{name}_rgb.avi", keypoints, seed=number)
        dtype = np.float16 if number % 2 else np.float32
        annotations.append(annotation(name, number % 60, keypoints[None].astype(dtype)))
    splits = {f"xsub_{split}": list(chosen) for split, chosen in names.items()}
    splits |= {"xview_train": names["val"], "xview_val": names["train"]}
    write_pickle(root / "skeletons.pkl", {"split": splits, "annotations": annotations})
    return root


def write_ma52(root: Path) -> Path:
    """MA-52's layout: `raw_videos/SPLIT/NAME.mp4` and one list pickle per split; test labels all 0."""
    for split, first, count in (("train", 5, 4), ("val", 20, 2), ("test", 30, 2)):
        annotations = []
        for number in range(count):
            name = f"{split}/{number + first:04d}_01_0001"
            keypoints = person(16 + number, 28, seed=first + number)
            write_recording(root / "raw_videos" / f"{name}.mp4", keypoints, seed=first + number)
            label = 0 if split == "test" else number * 7
            annotations.append(annotation(name, label, keypoints[None].astype(np.float16)))
        write_pickle(root / f"MA52_{split}.pkl", annotations)
    return root


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def ntu60_plan(raw: Path, out: Path, /, protocol: str = "xsub", **changes: Any) -> BuildPlan:
    """A small build of `write_ntu60`'s folder."""
    values = {
        "dataset": "ntu60",
        "raw": RawSettings(videos=raw / "videos", skeletons=raw / "skeletons.pkl", protocol=protocol),
        "prepare": SMALL,
        "shard": ShardSettings(samples_per_shard=4),
        "out": out,
    }
    return BuildPlan(**{**values, **changes})


def sample_info(**changes: Any) -> SampleInfo:
    """The info of a sample of 6 frames, 16 px frames and 8 px heatmaps."""
    values = {
        "key": "clip-1",
        "name": "train/clip-1",
        "split": "train",
        "label": 3,
        "coarse_label": 0,
        "num_frames": 6,
        "video_frames": 6,
        "skeleton_frames": 7,
        "image_size": (96, 128),
        "video_size": (96, 128),
        "box": (10, 12, 60, 70),
        "rgb_size_px": 16,
        "heatmap_size_px": 8,
        "heatmap_kind": "joints",
        "sigma_px": 0.6,
        "heatmap_scale": 1.25,
        "skeleton": "coco17",
    }
    return SampleInfo(**{**values, **changes})


def make_sample(seed: int = 0, **changes: Any) -> Sample:
    """A sample of smooth frames and a random heatmap."""
    info = sample_info(**changes)
    rng = np.random.default_rng(seed)
    size = info.rgb_size_px
    frames = np.stack([background((size, size), seed + number) for number in range(info.num_frames)])
    return Sample(
        info=info,
        keypoints=rng.uniform(0, 90, (1, info.num_frames, 17, 3)).astype(np.float16),
        heatmap=rng.integers(0, 256, (info.num_frames, 17, info.heatmap_size_px, info.heatmap_size_px), dtype=np.uint8),
        frames=frames,
    )


def folder_bytes(root: Path) -> dict[str, bytes]:
    """The content of every published file of a shard directory, by name."""
    return {path.name: path.read_bytes() for path in sorted(root.iterdir()) if path.is_file()}


KEYS = ("a-1", "b_2", "C3")


def write_shard(folder: Path, name: str = "train-000000", keys: tuple[str, ...] = KEYS) -> ShardSummary:
    """A shard of one sample for each key; the label of the second is hidden."""
    with ShardWriter(folder, name, "train", ShardSettings()) as writer:
        for number, key in enumerate(keys):
            writer.write(make_sample(number, key=key, label=None if number == 1 else number, coarse_label=None))
        return writer.finish()


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux says which files are open")


def open_files(folder: Path) -> list[str]:
    """The names of the files in a folder that this process has open."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            targets.append(link.readlink())
    return [target.name for target in targets if target.parent == folder.resolve()]
