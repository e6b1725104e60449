"""`Stream`: the epochs of one split, for one rank."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from epam_data.index import load_index, load_manifest
from epam_data.stream.augment import StreamSettings, draw_evaluation, draw_training
from epam_data.stream.batch import Batch
from epam_data.stream.dataset import ClipReader
from epam_data.stream.order import EpochOrder, evaluation_positions, training_positions


class Stream:
    """Batches of one split of a shard directory.

    In training an epoch gives each sample once, shuffled, minus the last partial global batch, and every rank takes the
    same number of steps. In evaluation it gives each sample exactly once over all ranks, in storage order, unpadded.

    Args:
        root: the shard directory.
        split: `train`, `val` or `test`.
        settings: clips and batches.
        training: shuffle, draw at random and flip; False: repeatable draws.
        seed: of the experiment; order and draws are functions of (seed, epoch, position) alone.
        rank: of this process, 0 ... world - 1.
        world: number of ranks.
        pin_memory: page-lock the batches, for a GPU.

    Raises:
        ValueError: the directory, the split or the batch size does not fit.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        split: str,
        settings: StreamSettings,
        training: bool,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.root, self.split, self.settings = Path(root), split, settings
        self.training, self.seed, self.rank, self.world = training, seed, rank, world
        self.manifest = load_manifest(self.root)
        index = load_index(self.root)
        in_split = [number for number, shard in enumerate(self.manifest.shards) if shard.split == split]
        self._rows: NDArray[np.int64] = np.flatnonzero(np.isin(index.shard, in_split))
        self._shard_sizes = [self.manifest.shards[number].num_samples for number in in_split]
        self._reader = ClipReader(self.root, self.manifest, index)
        self._pin_memory = pin_memory
        if not len(self._rows):
            known = sorted({shard.split for shard in self.manifest.shards})
            raise ValueError(f"{self.root}: split {split!r} has no sample; the shards hold {', '.join(known)}")
        if sum(self._shard_sizes) != len(self._rows):
            raise ValueError(
                f"{self.root}: the manifest counts {sum(self._shard_sizes)} samples in {split}, "
                f"the index {len(self._rows)}"
            )
        if not 0 <= rank < world:
            raise ValueError(f"rank must be in 0..{world - 1}, got {rank}")
        if settings.batch_size % world:
            raise ValueError(f"stream.batch_size must be a multiple of {world} ranks, got {settings.batch_size}")
        if training and settings.batch_size > len(self._rows):
            raise ValueError(
                f"stream.batch_size {settings.batch_size} is more than the {len(self._rows)} samples of {split}"
            )

    def __getstate__(self) -> dict[str, Any]:  # the loader's copy makes its own order, and has no loader
        left_here = ("_cached_order", "_loader", "_steps")
        return {name: value for name, value in self.__dict__.items() if name not in left_here}

    @property
    def num_samples(self) -> int:
        """Samples of the split."""
        return len(self._rows)

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        if self.training:
            return self.num_samples // self.settings.batch_size
        return len(self._evaluation_positions)

    def epoch(self, epoch: int = 0, *, consumed: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, for this rank.

        Args:
            epoch: from 0.
            consumed: samples of this epoch that all ranks together have had already (a multiple of the global batch);
                the stream goes on behind them, whatever number of ranks had them.
        """
        if consumed % self.settings.batch_size:
            raise ValueError(
                f"consumed must be a multiple of the batch size {self.settings.batch_size}, got {consumed}"
            )
        first = consumed // self.settings.batch_size
        self._steps.set(epoch, range(first, len(self)))
        self._running = running = object()
        for batch in self._loader:
            if isinstance(batch, ValueError):
                raise batch
            if self._running is not running:  # both would draw from one loader
                raise RuntimeError("another epoch of this stream was begun; a stream gives one epoch at a time")
            yield batch

    def read_step(self, epoch: int, step: int) -> Batch:
        """The batch of one step, a pure function of its arguments; `epoch` runs it in the loader's processes."""
        if self.training:
            positions = training_positions(step, self.settings.batch_size, self.rank, self.world)
            rows = self._rows[self._order(epoch).samples(positions)]
            draws = [
                draw_training(int(frames), self.settings, seed=self.seed, epoch=epoch, position=int(position))
                for frames, position in zip(self._reader.index.num_frames[rows], positions, strict=True)
            ]
        else:
            positions = self._evaluation_positions[step]
            rows = self._rows[positions]
            draws = [draw_evaluation(int(frames), self.settings) for frames in self._reader.index.num_frames[rows]]
        return self._reader.read_batch(rows, positions, draws)

    def _order(self, epoch: int) -> EpochOrder:
        if self._cached_order is None or self._cached_order[0] != epoch:
            order = EpochOrder(
                self._shard_sizes, seed=self.seed, epoch=epoch, window_shards=self.settings.window_shards
            )
            self._cached_order = (epoch, order)
        return self._cached_order[1]

    _running: object = None
    _cached_order: tuple[int, EpochOrder] | None = None

    @cached_property
    def _evaluation_positions(self) -> list[NDArray[np.int64]]:
        per_rank = self.settings.batch_size // self.world
        return evaluation_positions(self.num_samples, per_rank, self.rank, self.world)

    @cached_property
    def _steps(self) -> _Steps:
        return _Steps()

    @cached_property
    def _loader(self) -> DataLoader[Batch | ValueError]:
        workers = self.settings.workers
        return DataLoader(
            # A copy: through the stream itself the loader would hold itself, and be freed by the garbage collector
            # only, which shuts its processes down by a time-out of 5 seconds each, wherever it happens to run.
            _StepDataset(copy(self)),
            sampler=self._steps,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=2 if workers else None,
            pin_memory=self._pin_memory,
        )


class _Steps:
    """The loader's sampler: (epoch, step) pairs of the epoch that runs. It lives in the parent only."""

    def set(self, epoch: int, steps: range) -> None:
        self._epoch, self._range = epoch, steps

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self._epoch  # now: the loader asks for steps while the next epoch may be set
        return ((epoch, step) for step in self._range)

    def __len__(self) -> int:
        return len(self._range)


class _StepDataset(Dataset[Batch | ValueError]):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __getitem__(self, epoch_and_step: tuple[int, int]) -> Batch | ValueError:
        try:
            return self._stream.read_step(*epoch_and_step)
        except ValueError as error:  # handed over as it is: the loader would wrap it in a page of traceback
            return error
