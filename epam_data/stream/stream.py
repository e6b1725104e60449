"""`Stream`: the epochs of one split, for one rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import distributed as dist

from epam_data.shards.index import Index, load_index
from epam_data.shards.manifest import load_manifest
from epam_data.stream.batch import Batch
from epam_data.stream.damage import Damage
from epam_data.stream.launch import find_launch
from epam_data.stream.loading.loader import SlotLoader
from epam_data.stream.loading.step_reader import StepReader
from epam_data.stream.page_lock import page_lock, tell_refused, wait_for_copies
from epam_data.stream.settings import StreamSettings
from epam_data.system.remote import is_url
from epam_data.views.resolve import ResolvedView


class Stream:
    """Batches of one split of a shard directory.

    `epoch(0)`, `epoch(1)` ... are pure functions; iterating over the stream gives the epochs one after another, and
    `state_dict` says where it is. A context manager, which closes the stream.

    A training epoch has each sample once (balanced: each class with its share, see `balance.py`), shuffled, without the
    last partial global batch; every rank takes the same number of steps. An evaluation epoch has each sample exactly
    once over all ranks, in storage order, without padding.

    Args:
        root: the shard directory, or its URL (s3://bucket/ntu60), see `StreamSettings.cache_dir`.
        split: `train`, `val` or `test`.
        settings: clips and batches.
        training: shuffle, with random draws and flips; False: repeatable draws.
        seed: of the experiment; order and draws depend only on (seed, epoch, position).
        rank: of this process, 0 ... world - 1. None, together with `world`: as `torch.distributed` says if it is
            initialised, else the variables of torchrun or srun, else 0 of 1.
        world: number of ranks.
        pin_memory: page-lock the batches, for a GPU. If CUDA refuses, a warning says so, and they are plain memory.

    Attributes:
        view: the clips of each split, and their labels.
        manifest: of the shards, with the classes of the view.
        damage: with `on_damage: skip`, the damaged samples among the last epoch's batches of this rank.

    Raises:
        ValueError: the directory, the split or the batch size is invalid, or only one of rank and world is given.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        split: str,
        settings: StreamSettings,
        training: bool,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        # Absolute: workers start later, when the current folder may be another one.
        self.root, self.split, self.settings = root if is_url(root) else Path(root).absolute(), split, settings
        self.training, self.seed = training, seed
        self.rank, self.world = _rank_and_world(rank, world)
        self.view = self._resolve_view()
        self._reader = StepReader(
            self.root,
            self.view,
            split=split,
            settings=settings,
            training=training,
            seed=seed,
            rank=self.rank,
            world=self.world,
        )
        self.manifest = self.view.manifest
        self._pin_memory = pin_memory
        self.damage: list[Damage] = []
        self._epoch, self._consumed, self._is_restored = 0, 0, False
        self._opened: SlotLoader | None = None
        self._running: object = None

    def _resolve_view(self) -> ResolvedView:
        manifest = load_manifest(self.root)
        index = load_index(self.root, manifest)
        try:
            return self.settings.clips(manifest, index)
        except ValueError as error:
            raise ValueError(f"{self.root}: {error}") from error

    def __getstate__(self) -> dict[str, Any]:  # another process starts its own loader
        return {**self.__dict__, "_opened": None, "_running": None}

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def index(self) -> Index:
        """Location and labels of the samples of all splits."""
        return self._reader.index

    @property
    def view_sha256(self) -> str:
        """Of the clips of `stream.view`, see `ResolvedView.sha256`; empty without a view."""
        return self.view.sha256 if self.settings.view else ""

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

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the current epoch for this rank; when all were given, the next epoch is the current one.

        It begins at the start of the epoch; after `load_state_dict`, behind the samples that were consumed.
        """
        consumed = self._consumed if self._is_restored else 0
        self._is_restored = False
        return self.epoch(self._epoch, consumed=consumed)

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch`, from 0, the current one. A position in it that `load_state_dict` restored is kept."""
        if epoch != self._epoch:
            self._epoch, self._consumed, self._is_restored = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """The position, in plain values: the current epoch, and how many of its samples all ranks have consumed.

        A batch counts as consumed when it was given to the caller. Any number of ranks and workers can resume from it.
        """
        return {"epoch": self._epoch, "consumed": self._consumed, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a position: the next iteration gives the samples that follow it.

        Raises:
            ValueError: the position is of other shards, or of settings that give another order.
        """
        for name, now in self._identity().items():
            if state.get(name) != now:
                raise ValueError(f"{self.root}: cannot resume, {name} was {state.get(name)!r}, now {now!r}")
        self._check_consumed(state["consumed"])
        self._epoch, self._consumed, self._is_restored = state["epoch"], state["consumed"], True

    def _identity(self) -> dict[str, Any]:
        """What decides which samples follow a position."""
        settings = self.settings
        order = {"window_shards": settings.window_shards, "balance": settings.balance} if self.training else {}
        return {
            "split": self.split,
            "training": self.training,
            "seed": self.seed if self.training else None,
            "batch_size": settings.batch_size,
            **order,
            "class_weights": list(settings.class_weights) if self.training else None,
            "index_sha256": self.manifest.index_sha256,
            **({"view_sha256": self.view_sha256} if self.settings.view else {}),
        }

    def epoch(self, epoch: int = 0, *, consumed: int = 0) -> Iterator[Batch]:
        """The batches of one epoch for this rank.

        A batch is valid while anything refers to it or to one of its tensors; after that its memory is reused.

        Args:
            epoch: from 0.
            consumed: samples of this epoch that all ranks together have already consumed (a multiple of the global
                batch); the stream continues after them. The number of ranks may have changed.

        Raises:
            ValueError: `consumed` is not a multiple of the global batch or more than an epoch has, or a clip cannot be
                read.
            LoaderError: a worker died or does not answer.
        """
        self._check_consumed(consumed)
        return self._batches(epoch, consumed)

    def _batches(self, epoch: int, consumed: int) -> Iterator[Batch]:
        self._running = running = object()
        self.damage = []
        self._epoch, self._consumed = epoch, consumed
        first = consumed // self.settings.batch_size
        batches = self._loader().run((epoch, step) for step in range(first, len(self)))
        for (keys, damage), arrays in batches:
            if self._running is not running:  # both would use the same loader
                raise RuntimeError("another epoch of this stream was started; a stream runs one epoch at a time")
            self.damage += damage
            self._consumed += self.settings.batch_size
            if not keys:  # evaluation: all samples of this step are damaged
                continue
            batch = Batch.of(keys, arrays, self.clip_sizes_px)
            del arrays  # only the batch keeps the memory alive
            yield self._page_locked(batch)
            del batch
        if self._running is running:
            self._epoch, self._consumed = epoch + 1, 0

    def _page_locked(self, batch: Batch) -> Batch:
        """The batch in page-locked memory, if that is wanted and possible; the slots of workers already are."""
        if self._pin_memory and not self.settings.workers:
            try:
                return batch.pin_memory()
            except (RuntimeError, AssertionError) as error:
                self._pin_memory = False
                tell_refused(str(error))
        return batch

    def _check_consumed(self, consumed: int) -> None:
        batch_size = self.settings.batch_size
        most = (self.num_samples if self.training else self.num_samples + batch_size - 1) // batch_size * batch_size
        if consumed % batch_size or not 0 <= consumed <= most:
            raise ValueError(f"consumed must be a multiple of the batch size {batch_size}, 0..{most}, got {consumed}")

    def read_step(self, epoch: int, step: int) -> Batch:
        """The batch of one step, a pure function of its arguments; `epoch` gives the same batches."""
        arrays = self._reader.layout.fresh()
        keys, _ = self._reader.fill((epoch, step), arrays)
        return Batch.of(keys, arrays, self.clip_sizes_px)

    def close(self) -> None:
        """End the loader's processes and close the shards; another epoch opens them again. All ends with the stream.

        Batches stay valid, but are no longer page-locked.
        """
        if self._opened is not None:
            wait_for_copies()
            self._opened.close()
            self._opened = None
        self._reader.close()

    def _loader(self) -> SlotLoader:
        """The loader; a new one if the last was interrupted, or if it belongs to the parent of a forked process."""
        settings = self.settings
        if self._opened is not None and not self._opened.is_usable:
            self.close()
        if self._opened is None:
            self._opened = SlotLoader(
                self._reader,
                self._reader.layout,
                workers=settings.workers,
                timeout_seconds=settings.timeout_seconds,
            )
            if self._pin_memory and settings.workers:
                page_lock(self._opened.slots)
        return self._opened


def _rank_and_world(rank: int | None, world: int | None) -> tuple[int, int]:
    if (rank is None) != (world is None):
        raise ValueError(f"rank and world need each other, got rank {rank} and world {world}")
    if rank is not None and world is not None:
        return rank, world
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    launch = find_launch()
    return launch.rank, launch.world
