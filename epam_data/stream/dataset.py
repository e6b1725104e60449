"""Read the clips of a batch from shards: the head of each sample, then only the frames that were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from epam_data.codec import (
    MEMBERS,
    check_checksum,
    check_frame,
    decode_heatmap,
    decode_jpeg,
    decode_json,
    decode_keypoints,
    info_from_json,
)
from epam_data.index import Index, Manifest
from epam_data.schema import SampleInfo
from epam_data.shard import ShardReader
from epam_data.skeleton import LAYOUTS
from epam_data.stream.augment import Draw
from epam_data.stream.damage import DamageError
from epam_data.stream.keypoints import heatmap_keypoints
from epam_data.stream.settings import StreamSettings
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
        root: the shard directory.
        manifest: what it holds.
        index: where its samples lie.
        settings: what the device is to do: crops, colours, drawn heatmaps.
        training: with the crop and the colours of training, or those of evaluation.

    Raises:
        ValueError: the shards do not allow what the settings ask for.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        index: Index,
        settings: StreamSettings = _AS_STORED,
        *,
        training: bool = False,
    ) -> None:
        self.index = index
        self._shards = ShardReader(root, [shard.name for shard in manifest.shards])
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

    def fill_sample(self, place: int, row: int, position: int, draws: list[Draw], arrays: Arrays) -> str:
        """Read the C clips of one sample, cut as drawn.

        Args:
            place: of the sample in the batch: row `place` of what counts samples, rows `place` * C ... of clips.
            row: of the index.
            position: its place in the epoch.
            draws: C draws.
            arrays: of `layout`.

        Returns:
            The key.

        Raises:
            DamageError: the shard is absent, damaged, or of another build; shard and key are named.
            ValueError: the settings do not allow this sample.
        """
        arrays["position"][place] = position
        arrays["label"][place] = self.index.label[row]
        arrays["coarse_label"][place] = self.index.coarse_label[row]
        clips = slice(place * len(draws), (place + 1) * len(draws))
        out = {name: array[clips] for name, array in arrays.items()}
        for clip, draw in enumerate(draws):
            out["rgb_frames"][clip] = draw.rgb_frames
            out["pose_frames"][clip] = draw.pose_frames
            out["flip"][clip] = draw.flip
            if self._cropped:
                out["crop"][clip] = draw.crop
            if self._recoloured:
                out["colour"][clip] = draw.brightness, draw.contrast
        shard = f"{self._shards.names[int(self.index.shard[row])]}.tar"
        key: str = self.index.keys[row].decode()
        try:
            values, info, pose = self._read_head(row)
            for clip, draw in enumerate(draws):
                self._read_frames(row, values, draw.rgb_frames, out["rgb"][clip])
        except ValueError as error:
            raise DamageError(shard, key, str(error)) from error
        try:
            for clip, draw in enumerate(draws):
                self._put_pose(info, pose, draw, clip, out)
        except ValueError as error:
            raise ValueError(f"{shard}: {key}: {error}") from error
        return key

    def read_batch(self, rows: NDArray[np.int64], positions: NDArray[np.int64], draws: list[Draw]) -> Batch:
        """A batch with memory of its own: the samples of `rows` (B,), with B * C draws, sample by sample."""
        from epam_data.stream.batch import Batch  # here: the loader's workers have no torch

        num_clips = len(draws) // len(rows)
        lengths = len(draws[0].rgb_frames), len(draws[0].pose_frames)
        arrays = self.layout(len(rows), num_clips, *lengths).fresh()
        keys = [
            self.fill_sample(place, row, position, draws[place * num_clips : (place + 1) * num_clips], arrays)
            for place, (row, position) in enumerate(zip(rows.tolist(), positions.tolist(), strict=True))
        ]
        return Batch.of(keys, arrays, (self.rgb_size_px, self.heatmap_size_px))

    def _put_pose(self, info: SampleInfo, pose: NDArray[Any], draw: Draw, clip: int, out: Arrays) -> None:
        """The drawn frames of what the heatmap is made of."""
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

    def _read_head(self, number: int) -> tuple[dict[str, Any], SampleInfo, NDArray[Any]]:
        """`KEY.json`, plain and as info, and what the heatmap is made of: the stored volume, or the keypoints to draw.

        They lie together, before the frames, and are read at once; their checksums are compared.
        """
        row, shard = self.index.row(number), int(self.index.shard[number])
        starts = row.member_offsets()
        pose = _KEYPOINTS if self._drawn else _HEATMAP
        head = memoryview(self._shards.read(shard, row.offset, starts[pose] + row.member_bytes[pose] - row.offset))

        def member(which: int) -> memoryview:
            begin = starts[which] - row.offset
            return head[begin : begin + row.member_bytes[which]]

        text = bytes(member(_JSON))
        values = decode_json(text)
        check_checksum(values, MEMBERS[_JSON], text)
        info, offsets = info_from_json(values)
        if info.key != row.key:
            raise ValueError(f"holds {info.key} there; the index belongs to another build")
        if (info.num_frames, offsets[-1]) != (row.num_frames, row.member_bytes[_RGB]):
            raise ValueError(
                f"holds {info.num_frames} frames in {offsets[-1]} bytes there, expected {row.num_frames} in "
                f"{row.member_bytes[_RGB]}; the index belongs to another build"
            )
        check_checksum(values, MEMBERS[pose], member(pose))
        if self._drawn:
            return values, info, self._checked_keypoints(info, decode_keypoints(bytes(member(_KEYPOINTS))))
        return values, info, self._checked_heatmap(info, decode_heatmap(member(_HEATMAP)))

    def _read_frames(
        self, number: int, values: dict[str, Any], frames: NDArray[np.int64], out: NDArray[np.uint8]
    ) -> None:
        offsets: list[int] = values["frame_offsets"]
        start, shard = self.index.row(number).member_offsets()[_RGB], int(self.index.shard[number])
        places = [(start + offsets[frame], offsets[frame + 1] - offsets[frame]) for frame in frames.tolist()]
        for offset, num_bytes in places:  # the disk is at work on all of them while the first are decoded
            self._shards.will_read(shard, offset, num_bytes)
        for slot, frame, place in zip(out, frames.tolist(), places, strict=True):
            jpeg = self._shards.read(shard, *place)
            check_frame(values, frame, jpeg)
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
