"""Read the clips of a batch from shards: the head of each sample, then only the drawn frames."""

from __future__ import annotations

from pathlib import Path

from epam_data.shards.codec import FRAMES, INFO
from epam_data.shards.head import HEAD, MAX_HEAD_BYTES, SampleHead, read_head
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
    """Random access to the clips of a shard directory; use one per process. Picklable.

    Args:
        root: the shard directory, or its URL.
        manifest: of the directory.
        index: of the directory.
        settings: crops, colours and drawn heatmaps.
        training: use the crop and colours of training, else those of evaluation.

    Raises:
        ValueError: the shards do not support the settings.
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
        self._found: dict[int, tuple[int, IndexRow]] = {}
        try:
            self.decoder = ClipDecoder(manifest, settings, training=training)
        except ValueError as error:
            raise ValueError(f"{root}: {error}") from None

    def expect(self, rows: list[int]) -> None:
        """Announce the index rows that are read next, so that a remote store is asked for all of them at once."""
        self.shards.expect_samples(Span.of(*self.index.shard_and_row(row)) for row in rows)

    def find(self, row: int) -> tuple[int, IndexRow]:
        """The shard and the content of an index row; the last one is kept."""
        if row not in self._found:
            self._found = {row: self.index.shard_and_row(row)}
        return self._found[row]

    def fill_sample(self, batch_row: int, row: int, position: int, draws: list[Draw], arrays: Arrays) -> str:
        """Read the C clips of one sample, cut as drawn.

        Args:
            batch_row: index of the sample in the batch; its clips start at row batch_row * C of arrays per clip.
            row: of the index.
            position: of the sample in the epoch.
            draws: C draws.
            arrays: of the decoder's `layout`.

        Returns:
            The key.

        Raises:
            DamageError: the shard is missing, damaged or from another build; names shard and key.
            ValueError: the sample does not fit the settings.
        """
        number, where = self.find(row)
        arrays["position"][batch_row] = position
        arrays["label"][batch_row] = where.label
        arrays["coarse_label"][batch_row] = where.coarse_label
        clips = slice(batch_row * len(draws), (batch_row + 1) * len(draws))
        out = {name: array[clips] for name, array in arrays.items()}
        self.decoder.put_draws(draws, out)
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
        """The head and the member that the heatmap comes from, in one read: both are before the frames."""
        starts, pose = row.member_offsets(), self.decoder.pose_member
        num_bytes = starts[pose] + row.member_bytes[pose] - row.offset
        if num_bytes > (most := MAX_HEAD_BYTES + self.decoder.max_pose_bytes(row.num_frames)):
            raise ValueError(f"its first members have {num_bytes} bytes, expected {most} or less")
        data = memoryview(source.read(row.offset, num_bytes))

        def member(which: int) -> memoryview:
            begin = starts[which] - row.offset
            return data[begin : begin + row.member_bytes[which]]

        head = read_head(member(INFO))
        head.check(HEAD, member(INFO))
        if head.info.key != row.key:
            raise ValueError(f"has {head.info.key} there; the index belongs to another build")
        found = head.info.num_frames, head.members.frame_offsets[-1]
        if found != (row.num_frames, row.member_bytes[FRAMES]):
            raise ValueError(
                f"has {found[0]} frames in {found[1]} bytes there, expected {row.num_frames} in "
                f"{row.member_bytes[FRAMES]}; the index belongs to another build"
            )
        return head, member(pose)
