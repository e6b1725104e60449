"""Read the clips of a batch from shards: the head of each sample, then only the frames that were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from epam_data.codec import MEMBERS, decode_heatmap, decode_info, decode_jpeg, decode_keypoints
from epam_data.index import Index, Manifest
from epam_data.schema import SampleInfo
from epam_data.skeleton import LAYOUTS
from epam_data.stream.augment import Draw
from epam_data.stream.keypoints import heatmap_keypoints
from epam_data.stream.settings import StreamSettings
from epam_data.stream.shards import Read, Span, open_shards
from epam_data.stream.slots import Arrays, SlotLayout

if TYPE_CHECKING:
    from epam_data.stream.batch import Batch

_JSON, _KEYPOINTS, _HEATMAP, _RGB = (
    MEMBERS.index(f) for f in ("json", "keypoints.npy", "heatmap.npy.zst", "rgb.mjpeg")
)
_AS_STORED = StreamSettings()


class ClipReader:
    """Random access to the clips of a shard directory; one per process (it may travel to others).

    Args:
        root: the shard directory, or its URL.
        manifest: what it holds.
        index: where its samples lie.
        settings: what the device is to do: crops, colours, drawn heatmaps.
        training: with the crop and the colours of training, or those of evaluation.

    Raises:
        ValueError: the shards do not allow what the settings ask for.
    """

    def __init__(
        self,
        root: Path | str,
        manifest: Manifest,
        index: Index,
        settings: StreamSettings = _AS_STORED,
        *,
        training: bool = False,
    ) -> None:
        self.index = index
        self.shards = open_shards(root, manifest, settings)
        self._names = [shard.name for shard in manifest.shards]
        self._prepare, self._settings = manifest.prepare, settings
        self._drawn = settings.heatmap == "drawn"
        self._cropped = settings.crop(training) != "none"
        self._recoloured = training and (settings.brightness > 0 or settings.contrast > 0)
        kind = manifest.prepare["heatmap_kind"]
        self._num_channels = LAYOUTS[manifest.skeleton].num_channels(kind)
        if self._drawn and kind == "limbs":
            raise ValueError(
                f"{root}: stream.heatmap must be stored for shards of limbs, got drawn: only the Gaussians of joints "
                "are products of two curves, which makes them cheap to draw for each batch"
            )
        stored = manifest.prepare["rgb_size_px"], manifest.prepare["heatmap_size_px"]
        self.rgb_size_px, self.heatmap_size_px = settings.sizes(*stored, training=training)

    def layout(self, num_samples: int, num_clips: int, frames: int, pose_frames: int) -> SlotLayout:
        """The arrays of a batch of at most B samples of C clips: the fields of `Batch`, where they are described."""
        num, prepare = num_samples * num_clips, self._prepare
        rgb_px, heatmap_px = prepare["rgb_size_px"], prepare["heatmap_size_px"]
        arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "position": ((num_samples,), np.int64),
            "label": ((num_samples,), np.int64),
            "coarse_label": ((num_samples,), np.int64),
            "rgb_frames": ((num, frames), np.int64),
            "rgb": ((num, frames, rgb_px, rgb_px, 3), np.uint8),
            "pose_frames": ((num, pose_frames), np.int64),
            "flip": ((num,), np.bool_),
        }
        if self._drawn:
            arrays["keypoints"] = (num, self._settings.max_persons, pose_frames, self._num_channels, 3), np.float64
        else:
            arrays["heatmap"] = (num, pose_frames, self._num_channels, heatmap_px, heatmap_px), np.uint8
            arrays["heatmap_scale"] = (num,), np.float32
        if self._cropped:
            arrays["crop"] = (num, 4), np.float32
        if self._recoloured:
            arrays["colour"] = (num, 2), np.float32
        return SlotLayout.of(**arrays)

    def fill(
        self, rows: NDArray[np.int64], positions: NDArray[np.int64], draws: list[Draw], arrays: Arrays
    ) -> list[str]:
        """Read the clips of `rows` of the index, cut as drawn, into the first B rows (B * C for clips) of `arrays`.

        Args:
            rows: (B,) rows of the index.
            positions: (B,) their places in the epoch.
            draws: B * C draws: those of the C clips of each row, row by row.
            arrays: of `layout`, for at least so many samples.

        Returns:
            The B keys.

        Raises:
            ValueError: a shard is absent, damaged, or of another build; shard and key are named.
        """
        num, num_clips = len(rows), len(draws) // len(rows)
        arrays["position"][:num] = positions
        arrays["label"][:num] = self.index.label[rows]
        arrays["coarse_label"][:num] = self.index.coarse_label[rows]
        for clip, draw in enumerate(draws):
            arrays["rgb_frames"][clip] = draw.rgb_frames
            arrays["pose_frames"][clip] = draw.pose_frames
            arrays["flip"][clip] = draw.flip
            if self._cropped:
                arrays["crop"][clip] = draw.crop
            if self._recoloured:
                arrays["colour"][clip] = draw.brightness, draw.contrast
        spans = [Span.of(self.index, row) for row in rows.tolist()]
        self.shards.expect_samples(spans)
        for place, (row, span) in enumerate(zip(rows.tolist(), spans, strict=True)):
            own = slice(place * num_clips, (place + 1) * num_clips)
            self._read_sample(row, span, draws[own], {name: array[own] for name, array in arrays.items()})
        return [self.index.keys[row].decode() for row in rows]

    def read_batch(self, rows: NDArray[np.int64], positions: NDArray[np.int64], draws: list[Draw]) -> Batch:
        """What `fill` reads, as a batch with memory of its own."""
        from epam_data.stream.batch import Batch  # here: the loader's workers have no torch

        lengths = len(draws[0].rgb_frames), len(draws[0].pose_frames)
        arrays = self.layout(len(rows), len(draws) // len(rows), *lengths).fresh()
        return Batch.of(self.fill(rows, positions, draws, arrays), arrays, (self.rgb_size_px, self.heatmap_size_px))

    def _read_sample(self, number: int, span: Span, draws: list[Draw], out: Arrays) -> None:
        """The C clips of one sample, into the rows (C, ...) of the batch's arrays."""
        try:
            with self.shards.sample(span) as read:
                info, offsets, pose = self._read_head(number, read)
                for clip, draw in enumerate(draws):
                    self._cut_pose(info, pose, draw, out, clip)
                    self._read_frames(number, offsets, draw.rgb_frames, read, out["rgb"][clip])
        except ValueError as error:
            shard = self._names[span.shard]
            raise ValueError(f"{shard}.tar: {self.index.keys[number].decode()}: {error}") from error

    def _cut_pose(self, info: SampleInfo, pose: NDArray[Any], draw: Draw, out: Arrays, clip: int) -> None:
        """The heatmaps of one clip, or the keypoints that they are to be drawn from."""
        if self._drawn:
            out["keypoints"][clip] = heatmap_keypoints(
                info,
                pose[:, draw.pose_frames],
                draw.crop,
                self.heatmap_size_px,
                use_scores=self._prepare["use_scores"],
                max_persons=self._settings.max_persons,
            )
        else:
            np.take(pose, draw.pose_frames, axis=0, out=out["heatmap"][clip], mode="clip")
            out["heatmap_scale"][clip] = info.heatmap_scale

    def _read_head(self, number: int, read: Read) -> tuple[SampleInfo, list[int], NDArray[Any]]:
        """Info, frame offsets, and what the heatmap is made of: the stored volume, or the keypoints to draw it from.

        They lie together, before the frames, and are read at once.
        """
        row = self.index.row(number)
        starts = row.member_offsets()
        pose = _KEYPOINTS if self._drawn else _HEATMAP
        head = memoryview(read(row.offset, starts[pose] + row.member_bytes[pose] - row.offset))

        def member(which: int) -> memoryview:
            begin = starts[which] - row.offset
            return head[begin : begin + row.member_bytes[which]]

        info, offsets = decode_info(bytes(member(_JSON)))
        if info.key != row.key:
            raise ValueError(f"holds {info.key} there; the index belongs to another build")
        if (info.num_frames, offsets[-1]) != (row.num_frames, row.member_bytes[_RGB]):
            raise ValueError(
                f"holds {info.num_frames} frames in {offsets[-1]} bytes there, expected {row.num_frames} in "
                f"{row.member_bytes[_RGB]}; the index belongs to another build"
            )
        if self._drawn:
            return info, offsets, self._checked_keypoints(info, decode_keypoints(bytes(member(_KEYPOINTS))))
        return info, offsets, self._checked_heatmap(info, decode_heatmap(member(_HEATMAP)))

    def _read_frames(
        self, number: int, offsets: list[int], frames: NDArray[np.int64], read: Read, out: NDArray[np.uint8]
    ) -> None:
        start = self.index.row(number).member_offsets()[_RGB]
        for slot, frame in zip(out, frames.tolist(), strict=True):
            jpeg = read(start + offsets[frame], offsets[frame + 1] - offsets[frame])
            decode_jpeg(jpeg, slot, what=f"frame {frame}")

    def _checked_heatmap(self, info: SampleInfo, volume: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size = self._prepare["heatmap_size_px"]
        if volume.shape[0] != info.num_frames:
            raise ValueError(f"heatmap has {volume.shape[0]} frames, expected {info.num_frames}")
        if volume.shape[1:] != (self._num_channels, size, size):
            raise ValueError(f"heatmap is {volume.shape[1:]}, the manifest says {(self._num_channels, size, size)}")
        return volume

    def _checked_keypoints(self, info: SampleInfo, keypoints: NDArray[np.floating]) -> NDArray[np.floating]:
        wanted = (info.num_frames, self._num_channels, 3)
        if keypoints.ndim != 4 or keypoints.shape[1:] != wanted:
            raise ValueError(f"keypoints are {keypoints.shape}, expected (M, {', '.join(map(str, wanted))})")
        return keypoints
