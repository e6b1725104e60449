"""Shards that can only be read front to back, by plain `webdataset`: `pipe:` commands and any URL that it knows.

Where shards lie in a folder or in a store that gives ranges of bytes, `Stream` is the better choice. This one cannot
do what needs an index:

- no resume inside an epoch: what came before would have to be read again;
- shards, not samples, are dealt to ranks and loader processes, so what a global batch holds depends on their numbers,
  and an epoch is approximate: a rank takes its share of steps, begins its shards anew when they do not suffice, and
  leaves samples out when it has more. `window_shards` has no meaning;
- samples are shuffled in a buffer, behind the order of the shards: neighbours stay nearer than in `Stream`.

What is drawn for a sample (frames, flip, crop, colours) is a function of (seed, epoch, key) all the same.
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
    """Training batches of shards that are read front to back.

    Args:
        urls: of training shards, as `webdataset` takes them: `pipe:ssh host cat train-000000.tar`, `https://…`. Each
            must hold the name of its shard.
        manifest: of those shards; `load_manifest` reads it from a folder or URL.
        settings: clips and batches. What needs an index is refused: balance, on_damage, cache_dir.
        seed: of the experiment.
        rank: of this process, 0 ... world - 1.
        world: number of ranks; there must be a shard for each loader process of each rank.
        shuffle_samples: samples that are held to be shuffled, by each loader process, encoded.

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
                raise ValueError(f"stream.{name} needs an index, which a sequential stream has not")
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
        """The batches of one epoch, for this rank; as many on each rank.

        Raises:
            ValueError: a sample is damaged, or a shard has more or fewer than the manifest says; it is named.
            OSError: a URL cannot be read.
        """
        workers = self.settings.workers
        limit = self.settings.timeout_seconds if workers else 0
        loader = DataLoader(_Batches(self, epoch), batch_size=None, num_workers=workers, timeout=limit)
        for _, batch in zip(range(len(self)), loader, strict=False):
            yield batch

    def read(self, epoch: int, reader: int) -> Iterator[Batch]:
        """Batches of one of the readers, without end: what a loader process runs.

        Args:
            epoch: from 0.
            reader: 0 ... ranks * loader processes - 1; reader r has every so-many-th shard of the epoch's order.
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
        """The samples of one shard, counted: the tar module takes a damaged header for the end of the archive."""
        count = 0
        try:
            for sample in webdataset.DataPipeline(webdataset.SimpleShardList([url]), webdataset.tarfile_to_samples()):
                yield sample
                count += 1
        except (tarfile.TarError, EOFError) as error:
            raise OSError(f"{url}: cannot be read as a tar behind {count} samples ({error.args[0]})") from error
        if count != self._num_samples[url]:
            raise ValueError(f"{url}: gave {count} samples, the manifest says {self._num_samples[url]}")

    def _batch(self, samples: list[dict[str, Any]], epoch: int) -> Batch:
        decoder, settings = self._decoder, self.settings
        arrays = decoder.layout(len(samples), 1, settings.rgb_frames, settings.pose_frames).fresh()
        arrays["position"].fill(-1)  # there is no order of all
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
    """Samples of the shard whose name a URL holds.

    Raises:
        ValueError: it holds none of a training shard.
    """
    found = [shard for shard in manifest.shards if f"{shard.name}.tar" in url]
    if len(found) != 1 or found[0].split != "train":
        raise ValueError(f"{url}: must hold the name of one training shard of the manifest, as train-000000.tar")
    return found[0].num_samples


class _Batches(IterableDataset[Batch]):
    """One epoch of this rank, as torch's loader wants it."""

    def __init__(self, stream: SequentialStream, epoch: int) -> None:
        self._stream, self._epoch = stream, epoch

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        return self._stream.read(self._epoch, self._stream.rank * workers + number)
