"""The stream's laws: one sequence of global batches, whatever the ranks, the workers and the resumes."""

import gc
import multiprocessing
import os
import pickle
import re
import shutil
import time
import traceback
import weakref
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from epam_data.codec import MEMBERS
from epam_data.index import load_index, load_manifest
from epam_data.stream import Batch, Stream, StreamSettings
from epam_data.stream.augment import draw_evaluation, draw_training

SETTINGS = StreamSettings(batch_size=6, rgb_frames=2, pose_frames=6, window_shards=2, workers=0)
NUM_TRAIN, NUM_VAL = 14, 5


def make_stream(root: Path, *, training: bool = True, **changes: Any) -> Stream:
    names = {field.name for field in fields(StreamSettings)}
    settings = replace(SETTINGS, **{name: changes.pop(name) for name in names & changes.keys()})
    values = {"split": "train", "settings": settings, "training": training, "seed": 3, **changes}
    return Stream(root, **values)


def join(batches: list[Batch]) -> dict[str, Any]:
    """The parts of a global batch, in the order of their positions."""
    keys = [key for batch in batches for key in batch.keys]
    tensors = {
        field.name: torch.cat([getattr(batch, field.name) for batch in batches])
        for field in fields(Batch)
        if field.name != "keys"
    }
    order = torch.argsort(tensors["position"]).tolist()
    return {"keys": [keys[place] for place in order], **{name: tensor[order] for name, tensor in tensors.items()}}


def global_batches(
    root: Path, world: int, *, epoch: int = 0, consumed: int = 0, **changes: Any
) -> Iterator[dict[str, Any]]:
    """What all ranks together receive, step by step."""
    ranks = [make_stream(root, rank=rank, world=world, **changes) for rank in range(world)]
    for parts in zip_longest(*(rank.epoch(epoch, consumed=consumed) for rank in ranks)):
        yield join([part for part in parts if part is not None])


def assert_same_batches(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert first["keys"] == second["keys"]
        for name in first.keys() - {"keys"}:
            assert torch.equal(first[name], second[name]), name


@pytest.fixture(scope="module")
def whole_epoch(ntu60_shards: Path) -> list[dict[str, Any]]:
    """Epoch 1 on one rank without workers: what all others must equal."""
    return list(global_batches(ntu60_shards, 1, epoch=1))


@pytest.mark.parametrize(("world", "workers"), [(1, 1), (1, 2), (2, 0), (3, 0), (2, 2), (6, 0)])
def test_global_batches_do_not_depend_on_ranks_or_workers(
    ntu60_shards: Path, whole_epoch: list[dict[str, Any]], world: int, workers: int
) -> None:
    assert_same_batches(list(global_batches(ntu60_shards, world, epoch=1, workers=workers)), whole_epoch)


@pytest.mark.parametrize("batch_size", [1, 4, 6, 14])
def test_an_epoch_gives_each_sample_once_but_for_the_partial_batch(ntu60_shards: Path, batch_size: int) -> None:
    stream = make_stream(ntu60_shards, batch_size=batch_size)
    assert stream.num_samples == NUM_TRAIN and len(stream) == NUM_TRAIN // batch_size
    batches = list(stream.epoch(2))
    assert [len(batch) for batch in batches] == [batch_size] * len(stream)
    keys = [key for batch in batches for key in batch.keys]
    assert len(set(keys)) == len(keys) == NUM_TRAIN // batch_size * batch_size
    positions = torch.cat([batch.position for batch in batches])
    assert positions.tolist() == list(range(len(keys)))


def test_epochs_and_seeds_differ(ntu60_shards: Path) -> None:
    stream = make_stream(ntu60_shards)
    orders = [[key for batch in stream.epoch(epoch) for key in batch.keys] for epoch in (0, 1, 0)]
    orders.append([key for batch in make_stream(ntu60_shards, seed=4).epoch(0) for key in batch.keys])
    assert orders[0] == orders[2] and orders[0] != orders[1] and orders[0] != orders[3]
    missed = {frozenset(order) for order in orders}
    assert len(missed) > 1, "the dropped samples change"


def test_draws_are_those_of_their_position(ntu60_shards: Path) -> None:
    index = load_index(ntu60_shards)
    stream = make_stream(ntu60_shards, flip=0.5, sampling="independent")
    flips = []
    for batch in stream.epoch(1):
        for slot, key in enumerate(batch.keys):
            row = index.row_of_key[key]
            position = int(batch.position[slot])
            draw = draw_training(int(index.num_frames[row]), stream.settings, seed=3, epoch=1, position=position)
            np.testing.assert_array_equal(batch.rgb_frames[slot], draw.rgb_frames)
            np.testing.assert_array_equal(batch.pose_frames[slot], draw.pose_frames)
            assert bool(batch.flip[slot]) == draw.flip
            assert int(batch.label[slot]) == index.label[row] == int(key[-3:]) - 1
            flips.append(draw.flip)
    assert 0 < sum(flips) < len(flips)


# Resume


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("consumed", [0, 6, 12])
def test_a_resumed_epoch_gives_the_remaining_batches(
    ntu60_shards: Path, whole_epoch: list[dict[str, Any]], consumed: int, world: int
) -> None:
    rest = list(global_batches(ntu60_shards, world, epoch=1, consumed=consumed))
    assert_same_batches(rest, whole_epoch[consumed // 6 :])


def test_a_stream_goes_on_after_a_broken_epoch(ntu60_shards: Path, whole_epoch: list[dict[str, Any]]) -> None:
    """The same loader, with workers that have read ahead: nothing of the broken epoch comes up again."""
    stream = make_stream(ntu60_shards, workers=1)
    broken = stream.epoch(0)
    next(broken)
    broken.close()
    assert_same_batches([join([batch]) for batch in stream.epoch(1)], whole_epoch)
    resumed = [join([batch]) for batch in stream.epoch(1, consumed=6)]
    assert_same_batches(resumed, whole_epoch[1:])


def test_one_step_is_a_pure_function(ntu60_shards: Path, whole_epoch: list[dict[str, Any]]) -> None:
    stream = make_stream(ntu60_shards)
    for epoch, step in ((1, 1), (0, 0), (1, 0), (1, 1)):
        batch = stream.read_step(epoch, step)
        if epoch == 1:
            assert_same_batches([join([batch])], [whole_epoch[step]])


def test_consumed_counts_whole_batches(ntu60_shards: Path) -> None:
    with pytest.raises(ValueError, match=r"^consumed must be a multiple of the batch size 6, got 7$"):
        next(make_stream(ntu60_shards).epoch(0, consumed=7))


# Evaluation


@pytest.mark.parametrize(("split", "count"), [("train", NUM_TRAIN), ("val", NUM_VAL)])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_gives_each_sample_once_without_padding(
    ntu60_shards: Path, world: int, split: str, count: int
) -> None:
    keys: list[str] = []
    for rank in range(world):
        stream = make_stream(ntu60_shards, training=False, split=split, rank=rank, world=world)
        batches = list(stream.epoch())
        assert len(batches) == len(stream) and all(0 < len(batch) <= 6 // world for batch in batches)
        keys += [key for batch in batches for key in batch.keys]
    assert len(keys) == count == len(set(keys))


@pytest.mark.parametrize(("world", "workers"), [(2, 0), (3, 0), (1, 1)])
def test_evaluation_does_not_depend_on_ranks_workers_or_seed(ntu60_shards: Path, world: int, workers: int) -> None:
    expected = list(global_batches(ntu60_shards, 1, training=False))
    several = list(global_batches(ntu60_shards, world, training=False, workers=workers, seed=9, epoch=5))
    assert_same_batches(several, expected)
    assert_same_batches(list(global_batches(ntu60_shards, world, training=False, consumed=6)), expected[1:])


def test_evaluation_reads_in_storage_order_and_never_flips(ntu60_shards: Path) -> None:
    index = load_index(ntu60_shards)
    stream = make_stream(ntu60_shards, training=False, flip=1.0)
    batches = list(stream.epoch())
    keys = [key for batch in batches for key in batch.keys]
    assert keys == [key.decode() for key in index.keys[:NUM_TRAIN]]
    for batch in batches:
        assert not batch.flip.any()
        for slot, key in enumerate(batch.keys):
            draw = draw_evaluation(int(index.num_frames[index.row_of_key[key]]), stream.settings)
            np.testing.assert_array_equal(batch.pose_frames[slot], draw.pose_frames)
            np.testing.assert_array_equal(batch.rgb_frames[slot], draw.rgb_frames)


def test_a_split_smaller_than_the_world(ntu60_shards: Path) -> None:
    """Five samples on eight ranks: three ranks have nothing to do, and say so."""
    lengths = []
    for rank in range(8):
        stream = make_stream(ntu60_shards, training=False, split="val", rank=rank, world=8, batch_size=8)
        lengths.append((len(stream), sum(len(batch) for batch in stream.epoch())))
    assert lengths == [(1, 1)] * 5 + [(0, 0)] * 3


# Processes


def error_of(stream: Stream) -> str:
    """What an epoch says; the frames of the exception, which hold the loader, are let go at once."""
    try:
        list(stream.epoch())
    except ValueError as error:
        traceback.clear_frames(error.__traceback__)
        return str(error)
    raise AssertionError("no error")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_names_shard_and_key(ntu60_shards: Path, tmp_path: Path, workers: int) -> None:
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    index, manifest = load_index(root), load_manifest(root)
    row = index.row(9)
    name = manifest.shards[int(index.shard[9])].name
    with (root / f"{name}.tar").open("r+b") as file:
        file.seek(row.member_offsets()[MEMBERS.index("heatmap.npy.zst")])
        file.write(os.urandom(16))
    stream = make_stream(root, batch_size=1, workers=workers)
    assert f"{name}.tar: {row.key}: heatmap.npy.zst: damaged" in error_of(stream)


def first_keys(stream: Stream) -> list[str]:
    return [key for batch in islice(stream.epoch(1), 2) for key in batch.keys]


def test_a_used_stream_travels_to_another_process(ntu60_shards: Path, whole_epoch: list[dict[str, Any]]) -> None:
    """Where processes are spawned, the loader pickles its stream: also one that has read steps and epochs."""
    stream = make_stream(ntu60_shards)
    stream.read_step(0, 0)
    assert first_keys(stream)
    copy = pickle.loads(pickle.dumps(stream))
    expected = whole_epoch[0]["keys"] + whole_epoch[1]["keys"]
    assert first_keys(copy) == expected == first_keys(stream)


def test_spawned_workers_give_the_same_batches(
    ntu60_shards: Path, whole_epoch: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(ntu60_shards, workers=1)
    stream.read_step(0, 0)
    monkeypatch.setattr(stream._loader, "multiprocessing_context", multiprocessing.get_context("spawn"))
    assert_same_batches([join([batch]) for batch in stream.epoch(1)], whole_epoch)


def test_a_dropped_stream_frees_its_workers_at_once(ntu60_shards: Path) -> None:
    """Without the garbage collector, which would wait for a time-out of 5 seconds per worker."""
    stream = make_stream(ntu60_shards, workers=2)
    list(stream.epoch(0))
    loader = weakref.ref(stream._loader)
    gc.disable()
    try:
        start = time.monotonic()
        del stream
        assert loader() is None
        assert time.monotonic() - start < 4
    finally:
        gc.enable()


# What a stream refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "test"}, "{root}: split 'test' has no sample; the shards hold train, val"),
        ({"rank": 2, "world": 2}, "rank must be in 0..1, got 2"),
        ({"rank": -1}, "rank must be in 0..0, got -1"),
        ({"world": 4}, "stream.batch_size must be a multiple of 4 ranks, got 6"),
        ({"batch_size": 15}, "stream.batch_size 15 is more than the 14 samples of train"),
    ],
)
def test_a_stream_that_does_not_fit_is_refused(ntu60_shards: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(root=ntu60_shards))}$"):
        make_stream(ntu60_shards, **changes)


def test_evaluation_takes_any_batch_size(ntu60_shards: Path) -> None:
    (batch,) = make_stream(ntu60_shards, training=False, batch_size=100).epoch()
    assert len(batch) == NUM_TRAIN


def test_manifest_and_index_must_agree(ntu60_shards: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(ntu60_shards, tmp_path / "shards"))
    manifest = load_manifest(root)
    entries = (replace(manifest.shards[0], num_samples=3), *manifest.shards[1:])
    (root / "manifest.json").write_bytes(replace(manifest, shards=entries).to_json())
    message = f"{root}: the manifest counts 13 samples in train, the index 14"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_stream(root)


def test_no_shards_no_stream(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no manifest\.json; no shard directory, or its build is not finished$"):
        make_stream(tmp_path)


def test_one_epoch_at_a_time(ntu60_shards: Path) -> None:
    stream = make_stream(ntu60_shards)
    first, second = stream.epoch(0), stream.epoch(1)
    next(first)
    assert next(second).keys == next(make_stream(ntu60_shards).epoch(1)).keys
    with pytest.raises(
        RuntimeError, match="another epoch of this stream was begun; a stream gives one epoch at a time"
    ):
        next(first)
