"""`Stream`: the epochs of one split, for one rank."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from epam_data.shards.index import Index
from epam_data.shards.manifest import load_manifest
from epam_data.stream.batch import Batch, page_lock
from epam_data.stream.damage import Damage
from epam_data.stream.loading.loader import SlotLoader
from epam_data.stream.loading.step_reader import StepReader
from epam_data.stream.settings import StreamSettings
from epam_data.system.remote import is_url


class Stream:
    """Batches of one split of a shard directory.

    A training epoch has each sample once (balanced: each class with its share, see `balance.py`), shuffled, without the
    last partial global batch; every rank takes the same number of steps. An evaluation epoch has each sample exactly
    once over all ranks, in storage order, without padding.

    Args:
        root: the shard directory, or its URL (s3://bucket/ntu60), see `StreamSettings.cache_dir`.
        split: `train`, `val` or `test`.
        settings: clips and batches.
        training: shuffle, with random draws and flips; False: repeatable draws.
        seed: of the experiment; order and draws depend only on (seed, epoch, position).
        rank: of this process, 0 ... world - 1.
        world: number of ranks.
        pin_memory: page-lock the batches, for a GPU.

    Attributes:
        damage: with `on_damage: skip`, the damaged samples among the last epoch's batches of this rank.

    Raises:
        ValueError: the directory, the split or the batch size is invalid.
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
        self.root, self.split, self.settings = root if is_url(root) else Path(root), split, settings
        self.training, self.seed, self.rank, self.world = training, seed, rank, world
        self.manifest = load_manifest(self.root)
        self._reader = StepReader(
            self.root,
            self.manifest,
            split=split,
            settings=settings,
            training=training,
            seed=seed,
            rank=rank,
            world=world,
        )
        self._pin_memory = pin_memory
        self.damage: list[Damage] = []

    def __getstate__(self) -> dict[str, Any]:  # another process starts its own loader
        return {name: value for name, value in self.__dict__.items() if name not in ("_loader", "_running")}

    @property
    def index(self) -> Index:
        """Location and labels of the samples of all splits."""
        return self._reader.index

    @property
    def clip_sizes_px(self) -> tuple[int, int]:
        """Sizes (height = width) of a model's input frames and heatmaps."""
        return self._reader.clip_sizes_px

    @property
    def num_samples(self) -> int:
        """Samples of the split."""
        return self._reader.num_samples

    def __len__(self) -> int:
        """Batches of this rank in a complete epoch."""
        return self._reader.num_steps

    def epoch(self, epoch: int = 0, *, consumed: int = 0) -> Iterator[Batch]:
        """The batches of one epoch for this rank.

        A batch is valid while anything refers to it or to one of its tensors; after that its memory is reused.

        Args:
            epoch: from 0.
            consumed: samples of this epoch that all ranks together have already consumed (a multiple of the global
                batch); the stream continues after them. The number of ranks may have changed.

        Raises:
            ValueError: `consumed` is not a multiple of the global batch, or a clip cannot be read.
            LoaderError: a worker died or does not answer.
        """
        if consumed % self.settings.batch_size:
            raise ValueError(
                f"consumed must be a multiple of the batch size {self.settings.batch_size}, got {consumed}"
            )
        first = consumed // self.settings.batch_size
        self._running = running = object()
        self.damage = []
        batches = self._loader.run((epoch, step) for step in range(first, len(self)))
        for (keys, damage), arrays in batches:
            if self._running is not running:  # both would use the same loader
                raise RuntimeError("another epoch of this stream was started; a stream runs one epoch at a time")
            self.damage += damage
            if not keys:  # evaluation: all samples of this step are damaged
                continue
            batch = Batch.of(keys, arrays, self.clip_sizes_px)
            del arrays  # only the batch keeps the memory alive
            yield batch.pin_memory() if self._pin_memory and not self.settings.workers else batch
            del batch

    def read_step(self, epoch: int, step: int) -> Batch:
        """The batch of one step, a pure function of its arguments; `epoch` gives the same batches."""
        arrays = self._reader.layout.fresh()
        keys, _ = self._reader.fill((epoch, step), arrays)
        return Batch.of(keys, arrays, self.clip_sizes_px)

    def close(self) -> None:
        """End the loader's processes; they also end with the stream."""
        if "_loader" in self.__dict__:
            self._loader.close()
            del self._loader

    _running: object = None

    @cached_property
    def _loader(self) -> SlotLoader:
        settings = self.settings
        loader = SlotLoader(
            self._reader,
            self._reader.layout,
            workers=settings.workers,
            timeout_seconds=settings.timeout_seconds,
        )
        if self._pin_memory and settings.workers:
            page_lock(loader.slots)
        return loader
