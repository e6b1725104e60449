"""Read shards sequentially with plain `webdataset`: from `pipe:` commands and any URL that it supports.

If the shards are in a folder or in a store with byte ranges, use `Stream`. Without an index, this stream has limits:

- no resume inside an epoch, since the earlier samples would have to be read again;
- shards, not samples, are distributed over ranks and loader processes, so the content of a global batch depends on
  their numbers. Epochs are approximate: every rank takes the same number of steps, repeats its shards if it runs out
  and skips samples left over. `window_shards` is not used;
- after the shards, samples are shuffled only within a buffer: neighbours stay closer together than in `Stream`.

The random draws for a sample (frames, flip, crop, colours) are still a function of (seed, epoch, key).
"""

from __future__ import annotations

import random
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any

import webdataset
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from epam_data.randomness import Purpose, generator, seed_number
from epam_data.schema import stored_label
from epam_data.shards.head import HEAD, read_head
from epam_data.shards.manifest import Manifest
from epam_data.stream.batch import Batch
from epam_data.stream.loading.clip_decoder import ClipDecoder
from epam_data.stream.loading.slots import Arrays
from epam_data.stream.order.draws import draw_training
from epam_data.stream.settings import StreamSettings


class SequentialStream:
    """Training batches from shards that are read from start to end.

    Args:
        urls: URLs of training shards for `webdataset`: `pipe:ssh host cat train-000000.tar`, `https://…`. Each must
            contain the name of its shard.
        manifest: of those shards; `load_manifest` reads it from a folder or URL.
        settings: clips and batches. Settings that need an index are refused: balance, on_damage, cache_dir.
        seed: of the experiment.
        rank: of this process, 0 ... world - 1.
        world: number of ranks; each loader process of each rank needs at least one shard.
        shuffle_samples: size of each loader process's shuffle buffer, in encoded samples.

    Raises:
        ValueError: settings, ranks and shards do not fit.
    """

    def __init__(
        self,
        urls: Sequence[str],
        manifest: Manifest,
        *,
        settings: StreamSettings,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        shuffle_samples: int = 1000,
    ) -> None:
        self.urls, self.manifest, self.settings, self.seed = list(urls), manifest, settings, seed
        self._num_samples = {url: _num_samples(url, manifest) for url in urls}
        self.rank, self.world, self.shuffle_samples = rank, world, shuffle_samples
        defaults = StreamSettings()
        for name in ("balance", "class_weights", "on_damage", "cache_dir"):
            if getattr(settings, name) != getattr(defaults, name):
                raise ValueError(f"stream.{name} needs an index, which a sequential stream does not have")
        if settings.batch_size % world:
            raise ValueError(f"stream.batch_size must be a multiple of {world} ranks, got {settings.batch_size}")
        self._readers = world * max(settings.workers, 1)
        if len(self.urls) < self._readers:
            raise ValueError(
                f"{world} ranks of {max(settings.workers, 1)} loader processes need a shard each, got {len(self.urls)}"
            )
        self._decoder = ClipDecoder(manifest, settings, training=True)

    def __len__(self) -> int:
        """Batches of each rank in an epoch."""
        return sum(self._num_samples.values()) // self.settings.batch_size

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch for this rank; every rank gets the same number.

        Raises:
            ValueError: a sample is damaged, or a shard has more or fewer samples than the manifest says; names it.
            OSError: a URL cannot be read.
        """
        workers = self.settings.workers
        limit = self.settings.timeout_seconds if workers else 0
        loader = DataLoader(_Batches(self, epoch), batch_size=None, num_workers=workers, timeout=limit)
        for _, batch in zip(range(len(self)), loader, strict=False):
            yield batch

    def read(self, epoch: int, reader: int) -> Iterator[Batch]:
        """Endless batches of one reader; runs in a loader process.

        Args:
            epoch: from 0.
            reader: r of R = ranks * loader processes; it reads every R-th shard of the epoch's order, starting at r.
        """
        order = generator(Purpose.SHARD_ORDER, self.seed, epoch).permutation(len(self.urls))
        urls = [self.urls[number] for number in order[reader :: self._readers]]
        shuffled = webdataset.shuffle(
            self.shuffle_samples, rng=random.Random(seed_number(Purpose.SHUFFLE_BUFFER, self.seed, epoch, reader))
        )
        samples = chain.from_iterable(shuffled(chain.from_iterable(map(self._samples, urls))) for _ in repeat(None))
        while batch := list(islice(samples, self.settings.batch_size // self.world)):
            yield self._batch(batch, epoch)

    def _samples(self, url: str) -> Iterator[dict[str, Any]]:
        """The samples of one shard; checks their number, since tarfile treats a damaged header as the end."""
        count = 0
        try:
            for sample in webdataset.DataPipeline(webdataset.SimpleShardList([url]), webdataset.tarfile_to_samples()):
                yield sample
                count += 1
        except (tarfile.TarError, EOFError) as error:
            raise OSError(f"{url}: cannot be read as a tar after {count} samples ({error.args[0]})") from error
        if count != self._num_samples[url]:
            raise ValueError(f"{url}: has {count} samples, the manifest says {self._num_samples[url]}")

    def _batch(self, samples: list[dict[str, Any]], epoch: int) -> Batch:
        decoder, settings = self._decoder, self.settings
        arrays = decoder.layout(len(samples), 1, settings.rgb_frames, settings.pose_frames).fresh()
        arrays["position"].fill(-1)  # there is no global order
        for row, members in enumerate(samples):
            try:
                self._put(members, epoch, {name: array[row : row + 1] for name, array in arrays.items()})
            except ValueError as error:
                raise ValueError(f"{members['__url__']}: {members['__key__']}: {error}") from error
        return Batch.of(
            [members["__key__"] for members in samples], arrays, (decoder.rgb_size_px, decoder.heatmap_size_px)
        )

    def _put(self, members: dict[str, Any], epoch: int, out: Arrays) -> None:
        codecs = self.manifest.codecs
        if absent := [ending for ending in codecs.endings if ending not in members]:
            raise ValueError(f"lacks {', '.join(absent)}")
        decoder, head, frames = self._decoder, read_head(members[HEAD]), memoryview(members[codecs.frames])
        head.check(HEAD, members[HEAD])
        if head.info.key != members["__key__"]:
            raise ValueError(f"KEY.json is of {head.info.key}")
        number = zlib.crc32(head.info.key.encode())
        draws = [draw_training(head.info.num_frames, self.settings, seed=self.seed, epoch=epoch, position=number)]
        out["label"][:] = stored_label(head.info.label)
        out["coarse_label"][:] = stored_label(head.info.coarse_label)
        decoder.put_draws(draws, out)
        decoder.put_pose(head, decoder.decode_pose(head, members[codecs.endings[decoder.pose_member]]), draws, out)
        decoder.put_frames(head, draws, lambda ranges: [frames[at : at + size] for at, size in ranges], out)


def _num_samples(url: str, manifest: Manifest) -> int:
    """Number of samples of the shard named in a URL.

    Raises:
        ValueError: the URL does not contain the name of one training shard.
    """
    found = [shard for shard in manifest.shards if f"{shard.name}.tar" in url]
    if len(found) != 1 or found[0].split != "train":
        raise ValueError(f"{url}: must contain the name of one training shard in the manifest, like train-000000.tar")
    return found[0].num_samples


class _Batches(IterableDataset[Batch]):
    """One epoch of this rank, for torch's `DataLoader`."""

    def __init__(self, stream: SequentialStream, epoch: int) -> None:
        self._stream, self._epoch = stream, epoch

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        return self._stream.read(self._epoch, self._stream.rank * workers + number)
