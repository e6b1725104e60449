"""The members of a sample -> its clips: decodes only the drawn frames, directly into the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import SampleInfo
from epam_data.shards.codec import HEATMAP, KEYPOINTS, MAX_ARRAY_BYTES
from epam_data.shards.head import SampleHead
from epam_data.shards.manifest import Manifest
from epam_data.stream.loading.slots import Arrays, SlotLayout
from epam_data.stream.order.draws import Draw
from epam_data.stream.order.keypoints import heatmap_keypoints
from epam_data.stream.settings import StreamSettings

ByteRange = tuple[int, int]
"""Offset and number of bytes."""

_MAX_PERSONS = 1000
_FIXED_BYTES = 1 << 18  # of a member, whatever it holds: headers, tables


class ClipDecoder:
    """Decodes the clips of samples into the arrays of a batch.

    Args:
        manifest: of the samples' shards.
        settings: crops, colours and drawn heatmaps.
        training: use the crop and colours of training, else those of evaluation.

    Attributes:
        pose_member: index in `codec.ROLES` of the member that the heatmap comes from.
        rgb_size_px, heatmap_size_px: sizes of a model's input frames and heatmaps.

    Raises:
        ValueError: the shards do not support the settings.
    """

    def __init__(self, manifest: Manifest, settings: StreamSettings, *, training: bool) -> None:
        self._prepare, self._settings, self._codecs = manifest.prepare, settings, manifest.codecs
        self._drawn = settings.heatmap == "drawn"
        self._cropped = settings.crop(training) != "none"
        self._recoloured = training and (settings.brightness > 0 or settings.contrast > 0)
        self._num_channels = manifest.num_channels
        # JPEG can need more bytes than the pixels, but not twice as many.
        self._max_frame_bytes = 2 * 3 * manifest.prepare.rgb_size_px**2 + _FIXED_BYTES
        if self._drawn and manifest.prepare.heatmap_kind == "limbs":
            raise ValueError(
                "stream.heatmap must be stored for shards of limbs, got drawn: only Gaussians of joints are "
                "products of two curves, which makes them cheap to render for each batch"
            )
        stored = manifest.prepare.rgb_size_px, manifest.prepare.heatmap_size_px
        self.rgb_size_px, self.heatmap_size_px = settings.sizes(*stored, training=training)
        self.pose_member = KEYPOINTS if self._drawn else HEATMAP

    def layout(self, num_samples: int, num_clips: int, frames: int, pose_frames: int) -> SlotLayout:
        """The arrays of a batch of at most B samples of C clips; see the fields of `Batch`."""
        num, prepare = num_samples * num_clips, self._prepare
        rgb_px, heatmap_px = prepare.rgb_size_px, prepare.heatmap_size_px
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

    def put_draws(self, draws: list[Draw], out: Arrays) -> None:
        """Write the draws for the C clips of a sample into its rows (C, ...) of the batch's arrays."""
        for clip, draw in enumerate(draws):
            out["rgb_frames"][clip] = draw.rgb_frames
            out["pose_frames"][clip] = draw.pose_frames
            out["flip"][clip] = draw.flip
            if self._cropped:
                out["crop"][clip] = draw.crop
            if self._recoloured:
                out["colour"][clip] = draw.brightness, draw.contrast

    def put_frames(
        self,
        head: SampleHead,
        draws: list[Draw],
        read: Callable[[list[ByteRange]], Iterable[bytes | memoryview]],
        out: Arrays,
    ) -> None:
        """Decode the drawn frames; `read` returns the bytes at ranges of the frames' member.

        Raises:
            ValueError: a frame is damaged.
        """
        offsets = head.members.frame_offsets
        for clip, draw in enumerate(draws):
            frames = draw.rgb_frames.tolist()
            ranges = [(offsets[frame], offsets[frame + 1] - offsets[frame]) for frame in frames]
            if (most := max(size for _, size in ranges)) > self._max_frame_bytes:
                raise ValueError(f"a frame has {most} bytes, expected {self._max_frame_bytes} or less")
            jpegs = read(ranges)
            for slot, frame, jpeg in zip(out["rgb"][clip], frames, jpegs, strict=True):
                head.check_frame(self._codecs.frames, frame, jpeg)
                self._codecs.decode_frame(jpeg, slot, frame)

    def decode_pose(self, head: SampleHead, member: bytes | memoryview) -> NDArray[Any]:
        """The stored heatmap volume, or the keypoints to render it from.

        Raises:
            ValueError: the member is damaged or does not match the manifest.
        """
        head.check(self._codecs.endings[self.pose_member], member)
        if self._drawn:
            return self._checked_keypoints(head.info, self._codecs.decode_keypoints(member))
        num_bytes = self._heatmap_bytes(head.info.num_frames)
        return self._checked_heatmap(head.info, self._codecs.decode_heatmap(member, num_bytes))

    def max_pose_bytes(self, num_frames: int) -> int:
        """The most bytes that the keypoints and the heatmap of a sample take in a shard."""
        keypoints = _MAX_PERSONS * num_frames * self._num_channels * 3 * 4
        heatmap = self._heatmap_bytes(num_frames)
        return min(keypoints + heatmap + heatmap // 128, MAX_ARRAY_BYTES) + _FIXED_BYTES

    def _heatmap_bytes(self, num_frames: int) -> int:
        return num_frames * self._num_channels * self._prepare.heatmap_size_px**2

    def put_pose(self, head: SampleHead, pose: NDArray[Any], draws: list[Draw], out: Arrays) -> None:
        """Write the drawn frames of `decode_pose`'s result into the batch.

        Raises:
            ValueError: the sample does not fit the settings.
        """
        for clip, draw in enumerate(draws):
            if self._drawn:
                out["keypoints"][clip] = heatmap_keypoints(
                    head.info,
                    pose[:, draw.pose_frames],
                    draw.crop,
                    self.heatmap_size_px,
                    use_scores=self._prepare.use_scores,
                    max_persons=self._settings.max_persons,
                )
            else:
                np.take(pose, draw.pose_frames, axis=0, out=out["heatmap"][clip], mode="clip")
                out["heatmap_scale"][clip] = head.info.heatmap_scale

    def _checked_heatmap(self, info: SampleInfo, volume: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size = self._prepare.heatmap_size_px
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
