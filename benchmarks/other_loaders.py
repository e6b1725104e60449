"""Other libraries on the samples of our shards, with the same codecs, as their users would write it.

    PYTHON -m benchmarks.other_loaders litdata SHARDS WORKERS

`benchmarks.stream` calls this with the interpreter of an environment with the library; of this package it imports only
modules that need no more than NumPy. First the samples are converted to the library's own format, in a folder with the
name of the library next to the shards. Then each line on stdin starts an epoch, and a line with its clips per second is
printed.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
import zstandard
from torch.utils.data import DataLoader, default_collate

from epam_data.stream.order.draws import draw_training
from epam_data.stream.settings import StreamSettings

BATCH = 16
SETTINGS = StreamSettings(batch_size=BATCH)
CHUNK_BYTES = 1 << 26
Clip = tuple[torch.Tensor, torch.Tensor, int]


def decode(sample: dict[str, Any]) -> Clip:
    """The members of a sample by ending -> (T, S, S, 3) and (T', V, h, w) uint8, and the label."""
    head = json.loads(bytes(sample["json"]))
    rng = np.random.default_rng()
    draw = draw_training(head["num_frames"], SETTINGS, seed=0, epoch=0, position=int(rng.integers(1 << 30)))
    volume = np.load(io.BytesIO(zstandard.ZstdDecompressor().decompress(sample["heatmap.npy.zst"])))
    offsets, mjpeg = head["frame_offsets"], sample["rgb.mjpeg"]
    frames = [
        simplejpeg.decode_jpeg(mjpeg[offsets[frame] : offsets[frame + 1]], "RGB") for frame in draw.rgb_frames.tolist()
    ]
    return torch.from_numpy(np.stack(frames)), torch.from_numpy(volume[draw.pose_frames]), head["label"]


def decode_batch(samples: list[dict[str, Any]]) -> Any:
    """Decode and stack, in the workers."""
    return default_collate([decode(sample) for sample in samples])


def samples_of(path: Path) -> Iterator[dict[str, bytes]]:
    """The samples of a tar."""
    sample: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            sample[member.name.partition(".")[2]] = file.read()
            if "rgb.mjpeg" in sample:  # the last member of a sample
                yield sample
                sample = {}


def with_webdataset(root: Path, workers: int) -> Iterable[Any]:
    """Reads the tars directly, with the usual shuffles."""
    import webdataset

    urls = sorted(map(str, root.glob("train-*.tar")))
    data = webdataset.WebDataset(urls, shardshuffle=len(urls), nodesplitter=None, empty_check=False)
    data = data.shuffle(100).map(decode).batched(BATCH)
    return DataLoader(data, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


def with_litdata(root: Path, workers: int) -> Iterable[Any]:
    """Chunks of litdata, shuffled."""
    import litdata

    chunks = root / "litdata"
    if not chunks.exists():
        inputs = sorted(map(str, root.glob("train-*.tar")))
        litdata.optimize(read_tar, inputs, str(chunks), chunk_bytes=CHUNK_BYTES, num_workers=1, verbose=False)
    data = litdata.StreamingDataset(str(chunks), shuffle=True, drop_last=False)
    return litdata.StreamingDataLoader(
        data, batch_size=BATCH, num_workers=workers, persistent_workers=True, collate_fn=decode_batch
    )


def read_tar(path: str) -> Iterator[dict[str, bytes]]:
    """`samples_of`, for litdata's processes."""
    yield from samples_of(Path(path))


def with_streaming(root: Path, workers: int) -> Iterable[Any]:
    """MosaicML's MDS shards, shuffled."""
    import streaming

    shards = root / "streaming"
    if not shards.exists():
        tars = sorted(root.glob("train-*.tar"))
        columns = dict.fromkeys(next(samples_of(tars[0])), "bytes")
        with streaming.MDSWriter(out=str(shards), columns=columns, size_limit=CHUNK_BYTES) as writer:
            for tar in tars:
                for sample in samples_of(tar):
                    writer.write(sample)
    data = streaming.StreamingDataset(local=str(shards), shuffle=True, batch_size=BATCH)
    return DataLoader(data, batch_size=BATCH, num_workers=workers, persistent_workers=True, collate_fn=decode_batch)


LOADERS: dict[str, Callable[[Path, int], Iterable[Any]]] = {
    "webdataset": with_webdataset,
    "litdata": with_litdata,
    "streaming": with_streaming,
}


def clips_per_second(batches: Iterable[Any]) -> float:
    """The rate of one epoch after the first batch; the start of the processes is measured separately."""
    epoch = iter(batches)
    next(epoch)
    begun, count = time.perf_counter(), 0
    for batch in epoch:
        count += len(batch[0])
    return count / (time.perf_counter() - begun)


def main() -> None:
    """Run an epoch for each line on stdin."""
    name, root, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    loader = LOADERS[name](root, workers)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(clips_per_second(loader), flush=True)


if __name__ == "__main__":
    main()
