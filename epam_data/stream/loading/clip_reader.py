"""Read the clips of a batch from shards: the head of each sample, then only the frames that were drawn."""

from __future__ import annotations

from pathlib import Path

from epam_data.shards.codec import FRAMES, INFO
from epam_data.shards.head import HEAD, SampleHead, read_head
from epam_data.shards.index import Index
from epam_data.shards.layout import IndexRow
from epam_data.shards.manifest import Manifest
from epam_data.stream.damage import DamageError
from epam_data.stream.loading.clip_decoder import ClipDecoder
from epam_data.stream.loading.slots import Arrays
from epam_data.stream.loading.sources import SampleBytes, Span, open_shards
from epam_data.stream.order.draws import Draw
from epam_data.stream.settings import StreamSettings

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
        self.index, self.shards = index, open_shards(root, manifest, settings)
        self._names = [shard.name for shard in manifest.shards]
        try:
            self.decoder = ClipDecoder(manifest, settings, training=training)
        except ValueError as error:
            raise ValueError(f"{root}: {error}") from None

    def expect(self, rows: list[int]) -> None:
        """Say which rows of the index are read next: a remote store gives them all at the same time."""
        self.shards.expect_samples(Span.of(int(self.index.shard[row]), self.index.row(row)) for row in rows)

    def fill_sample(self, batch_row: int, row: int, position: int, draws: list[Draw], arrays: Arrays) -> str:
        """Read the C clips of one sample, cut as drawn.

        Args:
            batch_row: number of the sample in the batch; its clips are rows batch_row * C ... of what counts clips.
            row: of the index.
            position: of the sample in the epoch.
            draws: C draws.
            arrays: of the decoder's `layout`.

        Returns:
            The key.

        Raises:
            DamageError: the shard is absent, damaged, or of another build; shard and key are named.
            ValueError: the settings do not allow this sample.
        """
        arrays["position"][batch_row] = position
        arrays["label"][batch_row] = self.index.label[row]
        arrays["coarse_label"][batch_row] = self.index.coarse_label[row]
        clips = slice(batch_row * len(draws), (batch_row + 1) * len(draws))
        out = {name: array[clips] for name, array in arrays.items()}
        self.decoder.put_draws(draws, out)
        where, number = self.index.row(row), int(self.index.shard[row])
        shard = f"{self._names[number]}.tar"
        frames = where.member_offsets()[FRAMES]
        try:
            with self.shards.sample(Span.of(number, where)) as data:
                head, pose_member = self._read_head(where, data)
                volume = self.decoder.decode_pose(head, pose_member)
                self.decoder.put_frames(head, draws, lambda ranges: data.read_many(frames, ranges), out)
        except ValueError as error:
            if self.shards.renew(number):
                return self.fill_sample(batch_row, row, position, draws, arrays)
            raise DamageError(shard, where.key, str(error)) from error
        try:
            self.decoder.put_pose(head, volume, draws, out)
        except ValueError as error:
            raise ValueError(f"{shard}: {where.key}: {error}") from error
        return where.key

    def _read_head(self, row: IndexRow, source: SampleBytes) -> tuple[SampleHead, memoryview]:
        """What `KEY.json` says, and the member that the heatmap is made from: they lie together, before the frames."""
        starts, pose = row.member_offsets(), self.decoder.pose_member
        data = memoryview(source.read(row.offset, starts[pose] + row.member_bytes[pose] - row.offset))

        def member(which: int) -> memoryview:
            begin = starts[which] - row.offset
            return data[begin : begin + row.member_bytes[which]]

        head = read_head(member(INFO))
        head.check(HEAD, member(INFO))
        if head.info.key != row.key:
            raise ValueError(f"holds {head.info.key} there; the index belongs to another build")
        found = head.info.num_frames, head.members.frame_offsets[-1]
        if found != (row.num_frames, row.member_bytes[FRAMES]):
            raise ValueError(
                f"holds {found[0]} frames in {found[1]} bytes there, expected {row.num_frames} in "
                f"{row.member_bytes[FRAMES]}; the index belongs to another build"
            )
        return head, member(pose)
