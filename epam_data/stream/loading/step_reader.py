"""The batch of one step of one rank: a pure function of (epoch, step), run by loader workers without torch."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from epam_data.schema import ALL
from epam_data.shards.index import Index
from epam_data.shards.manifest import Manifest
from epam_data.stream.damage import Damage, DamageError
from epam_data.stream.loading.clip_reader import ClipReader
from epam_data.stream.loading.slots import Arrays, SlotLayout
from epam_data.stream.order.balance import BalancedSamples, balanced_samples
from epam_data.stream.order.draws import draw_evaluation, draw_training
from epam_data.stream.order.order import EpochOrder, evaluation_positions, evaluation_steps, training_positions
from epam_data.stream.order.runs import Runs
from epam_data.stream.settings import StreamSettings

if TYPE_CHECKING:
    from epam_data.views.resolve import ResolvedView  # workers need none of its code

MAX_STAND_INS = 1000
"""Replacements to try for a damaged sample. If this many are damaged too, something else is wrong."""


class StepReader:
    """Reads the batches of one rank; takes the arguments of `Stream`, and its view. Picklable."""

    def __init__(
        self,
        root: Path | str,
        view: ResolvedView,
        *,
        split: str,
        settings: StreamSettings,
        training: bool,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        self.settings, self.training, self.seed, self.rank, self.world = settings, training, seed, rank, world
        manifest, index = view.manifest, view.index
        rows = view.rows.get(split, np.empty(0, np.int64))
        self._rows = Runs(rows)
        # The shards of the split, with the samples that are used. All of an order is computed on these.
        shards, sizes = np.unique(index.shard[rows], return_counts=True)
        self._shards, self._shard_sizes = shards.astype(np.int64), sizes.tolist()
        self._shard_ends = np.cumsum(self._shard_sizes)
        self._reader = ClipReader(root, manifest, index, settings, training=training)
        self._check(root, manifest, split, list(view.rows))
        self._balanced: BalancedSamples | None = None
        if training:
            self._balanced = balanced_samples(
                index.label[rows],
                self._shard_sizes,
                len(manifest.classes),
                balance=settings.balance,
                weights=settings.class_weights,
                seed=seed,
            )

    def _check(self, root: Path | str, manifest: Manifest, split: str, known: list[str]) -> None:
        batch_size = self.settings.batch_size
        if not len(self._rows):
            held = f"the view {self.settings.view} has" if self.settings.view else "the shards hold"
            hint = "; choose a protocol with stream.view" if ALL in known else ""
            raise ValueError(f"{root}: split {split!r} has no sample; {held} {', '.join(known)}{hint}")
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank must be in 0..{self.world - 1}, got {self.rank}")
        if batch_size % self.world:
            raise ValueError(f"stream.batch_size must be a multiple of {self.world} ranks, got {batch_size}")
        if self.settings.cache_dir:
            self._check_cache(manifest)
        if self.training and batch_size > len(self._rows):
            raise ValueError(f"stream.batch_size {batch_size} is more than the {len(self._rows)} samples of {split}")

    def _check_cache(self, manifest: Manifest) -> None:
        """Shards read at the same time must fit, else each step would fetch what another step removed."""
        sizes = sorted((manifest.shards[number].num_bytes for number in self._shards), reverse=True)
        together = self.settings.window_shards
        if not self.training:  # loaders read ahead into the next shards
            ahead = self.settings.batch_size * (2 * self.settings.workers + 1)
            together = 2 + ahead * len(sizes) // self.num_samples
        needed = sum(sizes[:together])
        if needed > self.settings.cache_bytes:
            raise ValueError(
                f"stream.cache_bytes must hold the {min(together, len(sizes))} shards that are read together, "
                f"{needed} bytes, got {self.settings.cache_bytes}; reduce stream.window_shards, or stream without "
                "stream.cache_dir"
            )

    @property
    def index(self) -> Index:
        """Location and labels of the samples of all splits."""
        return self._reader.index

    @property
    def clip_sizes_px(self) -> tuple[int, int]:
        """Sizes (height = width) of a model's input frames and heatmaps."""
        return self._reader.decoder.rgb_size_px, self._reader.decoder.heatmap_size_px

    @property
    def num_samples(self) -> int:
        """Samples of the split."""
        return len(self._rows)

    @property
    def num_steps(self) -> int:
        """Batches of this rank in a complete epoch."""
        if self.training:
            return self.num_samples // self.settings.batch_size
        return evaluation_steps(self.settings.batch_size, self.rank, self.world, self.num_samples)

    @cached_property
    def layout(self) -> SlotLayout:
        """The arrays of a batch."""
        settings = self.settings
        num_clips = 1 if self.training else settings.num_clips
        share = settings.batch_size // self.world
        return self._reader.decoder.layout(share, num_clips, settings.rgb_frames, settings.pose_frames)

    def fill(self, task: tuple[int, int], arrays: Arrays) -> tuple[list[str], list[Damage]]:
        """Read the batch of (epoch, step) into arrays of `layout`; returns its keys and its damaged samples.

        Raises:
            ValueError: a clip cannot be read; names shard and key.
        """
        epoch, step = task
        self._expect_shards(epoch, step * self.settings.batch_size)
        keys: list[str] = []
        damage: list[Damage] = []
        positions, rows = self._samples(epoch, step)
        self._reader.expect(rows)
        for position, row in zip(positions, rows, strict=True):
            try:
                keys.append(self._fill_sample(len(keys), row, epoch, position, arrays))
            except DamageError as error:
                if self.settings.on_damage == "raise":
                    raise
                stand_in = self._fill_stand_in(error, len(keys), epoch, position, arrays) if self.training else None
                keys += [stand_in] if stand_in else []
                what = {"shard": error.shard, "key": error.key, "reason": error.reason}
                damage.append(Damage(position=position, stand_in=stand_in, **what))
        return keys, damage

    def close(self) -> None:
        """Close files; a later read opens them again."""
        self._reader.shards.close()

    def _samples(self, epoch: int, step: int) -> tuple[list[int], list[int]]:
        """Positions and rows of a step of this rank."""
        share = (self.settings.batch_size, self.rank, self.world)
        if self.training:
            positions = training_positions(step, *share)
            return positions.tolist(), self._training_rows(epoch, positions).tolist()
        positions = evaluation_positions(step, *share, self.num_samples)
        return positions.tolist(), self._rows[positions].tolist()

    def _fill_sample(self, batch_row: int, row: int, epoch: int, position: int, arrays: Arrays) -> str:
        """Draw and read one sample; returns its key."""
        num_frames = self._reader.find(row)[1].num_frames
        if self.training:
            draws = [draw_training(num_frames, self.settings, seed=self.seed, epoch=epoch, position=position)]
        else:
            draws = draw_evaluation(num_frames, self.settings)
        return self._reader.fill_sample(batch_row, row, position, draws, arrays)

    def _fill_stand_in(self, error: DamageError, batch_row: int, epoch: int, position: int, arrays: Arrays) -> str:
        """Read a replacement for a damaged sample, chosen by (seed, epoch, position); returns its key."""
        others = list(islice(self._order(epoch).stand_ins(position), MAX_STAND_INS))
        for other in others:
            (row,) = self._training_rows(epoch, np.array([other])).tolist()
            with suppress(DamageError):
                return self._fill_sample(batch_row, row, epoch, position, arrays)
        raise ValueError(f"{error}; none of {len(others)} possible replacements can be read either") from error

    def _training_rows(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the index at `positions` of an epoch."""
        samples = self._order(epoch).samples(positions)
        if self._balanced is not None:  # the order is over entries then; a sample may have several
            samples = self._balanced.samples(epoch, samples)
        return self._rows[samples]

    def _order(self, epoch: int) -> EpochOrder:
        if self._cached_order is None or self._cached_order[0] != epoch:
            self._cached_order = (epoch, self._new_order(epoch))
        return self._cached_order[1]

    def _new_order(self, epoch: int) -> EpochOrder:
        sizes = self._shard_sizes if self._balanced is None else self._balanced.shard_sizes(epoch)
        return EpochOrder(sizes, seed=self.seed, epoch=epoch, window_shards=self.settings.window_shards)

    def _expect_shards(self, epoch: int, position: int) -> None:
        """Announce the shards of the rest of the epoch, plus those of the next epoch in training."""
        if not self.settings.cache_dir:  # only a cache uses this
            return
        if self.training:
            left = self._order(epoch).shards_from(position)
        else:
            left = np.arange(len(self._shards))[np.searchsorted(self._shard_ends, position, side="right") :]
        if (epoch, len(left)) != self._expected:  # otherwise unchanged since the last step
            self._expected = (epoch, len(left))
            following = self._new_order(epoch + 1).shards_from(0) if self.training else left[:0]
            self._reader.shards.expect_shards(self._shards[np.concatenate([left, following])].tolist())

    _expected: tuple[int, int] | None = None

    _cached_order: tuple[int, EpochOrder] | None = None
