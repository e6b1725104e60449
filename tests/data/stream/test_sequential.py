"""Shards read front to back by webdataset: the samples of an epoch, the draws of the keys, and what it cannot do."""

import http.server
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from epam_data.shards.codec import HEATMAP
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.stream import StreamSettings
from epam_data.stream.batch import read_batch
from epam_data.stream.loading.clip_reader import ClipReader
from epam_data.stream.order.draws import Draw
from epam_data.stream.sequential import SequentialStream
from tests.data.stream.test_stream import SETTINGS


def settings(**changes: Any) -> StreamSettings:
    return StreamSettings(**{**vars(SETTINGS), "batch_size": 2, **changes})


def shard_paths(root: Path) -> list[Path]:
    return sorted(root.glob("train-*.tar"))


def sequential(root: Path, urls: list[str] | None = None, rank: int = 0, world: int = 1, **changes: Any):
    urls = urls or [f"pipe:cat {path}" for path in shard_paths(root)]
    return SequentialStream(
        urls, load_manifest(root), settings=settings(**changes), seed=3, rank=rank, world=world, shuffle_samples=5
    )


def keys_of(stream: SequentialStream, epoch: int = 0) -> list[str]:
    return [key for batch in stream.epoch(epoch) for key in batch.keys]


@pytest.fixture
def web(ntu60_shards: Path) -> Iterator[str]:
    """A web server of the shards."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(ntu60_shards)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_of_pipes_gives_each_sample_about_once(ntu60_shards: Path, workers: int):
    """Of one reader exactly once; of two, whose shards are unequal, those of the smaller come again."""
    stream = sequential(ntu60_shards, workers=workers)
    counts = Counter(keys_of(stream))
    assert sum(counts.values()) == 2 * len(stream) == 14
    assert len(counts) == 14 if not workers else 8 <= len(counts) <= 14
    assert keys_of(stream) == keys_of(sequential(ntu60_shards, workers=workers))
    assert keys_of(stream) != keys_of(stream, 1)


def test_a_web_server_gives_the_same(ntu60_shards: Path, web: str):
    urls = [f"{web}/{path.name}" for path in shard_paths(ntu60_shards)]
    assert keys_of(sequential(ntu60_shards, urls)) == keys_of(sequential(ntu60_shards))


def test_ranks_have_different_shards_and_as_many_steps(ntu60_shards: Path):
    ranks = [sequential(ntu60_shards, rank=rank, world=2) for rank in range(2)]
    keys = [keys_of(rank) for rank in ranks]
    assert len(keys[0]) == len(keys[1]) == 7 and not set(keys[0]) & set(keys[1])


@pytest.mark.parametrize("heatmap", ["stored", "drawn"])
def test_its_clips_are_those_of_random_access(ntu60_shards: Path, heatmap: str):
    index = load_index(ntu60_shards)
    reader = ClipReader(ntu60_shards, load_manifest(ntu60_shards), index, settings(heatmap=heatmap), training=True)
    for batch in sequential(ntu60_shards, heatmap=heatmap).epoch(0):
        draws = [
            Draw(rgb_frames=rgb, pose_frames=pose, flip=flip)
            for rgb, pose, flip in zip(
                batch.rgb_frames.numpy(), batch.pose_frames.numpy(), batch.flip.tolist(), strict=True
            )
        ]
        rows = np.array([index.row_of_key[key] for key in batch.keys])
        expected = vars(read_batch(reader, rows, np.full(len(rows), -1), draws))
        assert expected.keys() == vars(batch).keys()
        for name, value in vars(batch).items():
            same = torch.equal(value, expected[name]) if isinstance(value, torch.Tensor) else value == expected[name]
            assert same, name


def test_draws_are_those_of_the_key(ntu60_shards: Path):
    """Whatever the ranks: the same clip of the same sample in the same epoch."""

    def clips(**changes: Any) -> dict[str, tuple[list[int], bool]]:
        stream = sequential(ntu60_shards, **changes)
        return {
            key: (frames, flip)
            for batch in stream.epoch(0)
            for key, frames, flip in zip(batch.keys, batch.pose_frames.tolist(), batch.flip.tolist(), strict=True)
        }

    alone, shared = clips(), clips(world=2)
    assert shared and all(alone[key] == clip for key, clip in shared.items())


def test_damage_names_url_and_key(ntu60_shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    path, row = shard_paths(root)[0], load_index(root).row(1)
    data = bytearray(path.read_bytes())
    data[row.member_offsets()[HEATMAP] + 40] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=rf"^pipe:cat {path}: {row.key}: heatmap\.npy\.zst: damaged"):
        keys_of(sequential(root))


@pytest.mark.parametrize("what", ["header", "boundary"])
def test_a_shard_that_ends_early_is_an_error(ntu60_shards: Path, tmp_path: Path, what: str):
    """The tar module says nothing of either."""
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    path, row = shard_paths(root)[0], load_index(root).row(1)
    data = bytearray(path.read_bytes())
    data[row.offset] ^= 1
    path.write_bytes(bytes(data) if what == "header" else bytes(data[: row.offset]))
    with pytest.raises((ValueError, OSError), match=rf"^pipe:cat {path}: (has 1 samples, the manifest says 4|cannot)"):
        keys_of(sequential(root))


def test_a_tar_that_is_cut_is_an_error(ntu60_shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    path = shard_paths(root)[0]
    path.write_bytes(path.read_bytes()[: load_index(root).row(1).member_offsets()[HEATMAP] + 9])
    with pytest.raises(OSError, match=rf"^pipe:cat {path}: cannot be read as a tar after \d samples"):
        keys_of(sequential(root))


def test_an_epoch_of_some_shards_is_shorter(ntu60_shards: Path):
    assert len(sequential(ntu60_shards, [f"pipe:cat {path}" for path in shard_paths(ntu60_shards)[:2]])) == 4


def test_a_pipe_that_fails_is_an_error(ntu60_shards: Path):
    urls = [f"pipe:cat {path}; exit 3" for path in shard_paths(ntu60_shards)]
    with pytest.raises(OSError, match="exit 3"):
        keys_of(sequential(ntu60_shards, urls))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"balance": "class"}, r"^stream\.balance needs an index, which a sequential stream does not have$"),
        ({"on_damage": "skip"}, r"^stream\.on_damage needs an index"),
        ({"batch_size": 3, "world": 2}, r"^stream\.batch_size must be a multiple of 2 ranks, got 3$"),
        (
            {"urls": ["pipe:cat val-000000.tar"]},
            r"^pipe:cat val-000000\.tar: must contain the name of one training shard",
        ),
        ({"workers": 5}, r"^1 ranks of 5 loader processes need a shard each, got 4$"),
    ],
)
def test_what_it_cannot_do_is_refused(ntu60_shards: Path, changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        sequential(ntu60_shards, **changes)
