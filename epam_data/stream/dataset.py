"""Read the clips of a batch from shards: the head of each sample, then only the frames that were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from epam_data.codec import MEMBERS, decode_heatmap, decode_info, decode_jpeg
from epam_data.index import Index, Manifest
from epam_data.schema import SampleInfo
from epam_data.shard import ShardReader
from epam_data.stream.augment import Draw
from epam_data.stream.batch import Batch

_JSON, _HEATMAP, _RGB = (MEMBERS.index(name) for name in ("json", "heatmap.npy.zst", "rgb.mjpeg"))


class ClipReader:
    """Random access to the clips of a shard directory; one per process (it may travel to others)."""

    def __init__(self, root: Path, manifest: Manifest, index: Index) -> None:
        self.index = index
        self._shards = ShardReader(root, [shard.name for shard in manifest.shards])

    def read_batch(self, rows: NDArray[np.int64], positions: NDArray[np.int64], draws: list[Draw]) -> Batch:
        """The clips of `rows` of the index, cut as drawn.

        Args:
            rows: (B,) rows of the index.
            positions: (B,) their places in the epoch.
            draws: B draws.

        Raises:
            ValueError: a shard is absent, damaged, or of another build; shard and key are named.
        """
        rgb: NDArray[np.uint8] | None = None
        heatmap: NDArray[np.uint8] | None = None
        scales = np.empty(len(rows), np.float32)
        for slot, (row, draw) in enumerate(zip(rows, draws, strict=True)):
            info, offsets, volume = self._read_head(int(row))
            if rgb is None or heatmap is None:  # all samples of a directory have one size: the first shows it
                size = info.rgb_size_px
                rgb = np.empty((len(rows), len(draw.rgb_frames), size, size, 3), np.uint8)
                heatmap = np.empty((len(rows), len(draw.pose_frames), *volume.shape[1:]), np.uint8)
            scales[slot] = info.heatmap_scale
            np.take(volume, draw.pose_frames, axis=0, out=heatmap[slot], mode="clip")
            self._read_frames(int(row), offsets, draw.rgb_frames, rgb[slot])
        assert rgb is not None and heatmap is not None, "a batch has at least one clip"
        return Batch(
            keys=[self.index.keys[row].decode() for row in rows],
            position=torch.from_numpy(positions),
            label=torch.from_numpy(self.index.label[rows].astype(np.int64)),
            coarse_label=torch.from_numpy(self.index.coarse_label[rows].astype(np.int64)),
            rgb=torch.from_numpy(rgb),
            heatmap=torch.from_numpy(heatmap),
            heatmap_scale=torch.from_numpy(scales),
            flip=torch.tensor([draw.flip for draw in draws]),
            rgb_frames=torch.from_numpy(np.stack([draw.rgb_frames for draw in draws])),
            pose_frames=torch.from_numpy(np.stack([draw.pose_frames for draw in draws])),
        )

    def _read_head(self, number: int) -> tuple[SampleInfo, list[int], NDArray[np.uint8]]:
        """Info, frame offsets and heatmap volume: they lie together, before the frames, and are read at once."""
        row, shard = self.index.row(number), int(self.index.shard[number])
        starts = row.member_offsets()
        try:
            head = memoryview(self._shards.read(shard, row.offset, starts[_RGB] - row.offset))

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
            volume = decode_heatmap(member(_HEATMAP))
            if volume.shape[0] != info.num_frames:
                raise ValueError(f"heatmap has {volume.shape[0]} frames, expected {info.num_frames}")
        except ValueError as error:
            raise self._named(number, error) from error
        return info, offsets, volume

    def _read_frames(self, number: int, offsets: list[int], frames: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        row, shard = self.index.row(number), int(self.index.shard[number])
        start = row.member_offsets()[_RGB]
        try:
            for slot, frame in zip(out, frames.tolist(), strict=True):
                jpeg = self._shards.read(shard, start + offsets[frame], offsets[frame + 1] - offsets[frame])
                decode_jpeg(jpeg, slot, what=f"frame {frame}")
        except ValueError as error:
            raise self._named(number, error) from error

    def _named(self, number: int, error: ValueError) -> ValueError:
        name = self._shards.names[int(self.index.shard[number])]
        return ValueError(f"{name}.tar: {self.index.keys[number].decode()}: {error}")
