"""Damage as a user meets it: flipped bits, shards that are absent, cut or of another build; raised or skipped."""

import pickle
import re
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from epam_data.shards.codec import MEMBERS
from epam_data.shards.index import index_bytes, load_index
from epam_data.shards.layout import IndexRow, ShardSummary
from epam_data.shards.manifest import load_manifest
from epam_data.stream import Stream
from epam_data.stream.damage import Damage, DamageError
from epam_data.stream.order.draws import draw_training
from tests.data.damage import change_bytes
from tests.data.stream.test_stream import assert_same_batches, join, people_stream

WORKERS = (0, 2)
NUM_TRAIN = 53
STORED: dict[str, Any] = {"heatmap": "stored", "train_crop": "none", "eval_crop": "none"}


@pytest.fixture
def root(people_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(people_shards, tmp_path / "shards"))


def place_of(root: Path, key: str) -> tuple[Path, IndexRow]:
    """The shard of a sample, and its row of the index."""
    manifest, index = load_manifest(root), load_index(root)
    number = index.row_of_key[key]
    return root / f"{manifest.shards[int(index.shard[number])].name}.tar", index.row(number)


def flip(root: Path, key: str, ending: str, bit: int) -> str:
    """Flip a bit of a member; "tar": of the header in front of the sample. Returns `SHARD.tar: KEY`."""
    path, row = place_of(root, key)
    start = row.offset if ending == "tar" else row.member_offsets()[MEMBERS.index(ending)]

    def change(data: bytearray) -> None:
        data[start + bit // 8] ^= 1 << bit % 8

    change_bytes(path, change)
    return f"{path.name}: {key}"


def error_of(stream: Stream) -> str:
    """What an epoch says; the frames of the exception, which hold the loader, are let go at once."""
    try:
        list(stream.epoch())
    except ValueError as error:
        traceback.clear_frames(error.__traceback__)
        stream.close()
        return str(error)
    raise AssertionError("no error")


def evaluation(root: Path, **changes: Any) -> Stream:
    """The training samples in storage order."""
    return people_stream(root, training=False, split="train", **changes)


# Errors name shard and key


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("ending", ["json", "keypoints.npy", "heatmap.npy.zst", "rgb.mjpeg"])
@pytest.mark.parametrize("heatmap", ["stored", "drawn"])
def test_a_flipped_bit_names_shard_and_key(root: Path, heatmap: str, ending: str, workers: int) -> None:
    """In the middle of what the checksums cover; in the mark at the front of a JPEG, which libjpeg wants."""
    _, row = place_of(root, "train-17")
    middle = 4 * row.member_bytes[MEMBERS.index(ending)]
    where = flip(root, "train-17", ending, 3 if ending == "rgb.mjpeg" else middle)
    changes = STORED if heatmap == "stored" else {}
    stream = evaluation(root, workers=workers, sampling="linspace", **changes)
    unread = "heatmap.npy.zst" if heatmap == "drawn" else "keypoints.npy"
    if ending == unread:
        assert len(list(stream.epoch())) == len(stream), "it is not read"
        stream.close()
        return
    name = "KEY.json" if ending == "json" else ending
    assert re.search(rf"^{re.escape(where)}: {re.escape(name)}: ", error_of(stream))


@pytest.mark.parametrize("ending", MEMBERS)
def test_every_flipped_bit_of_a_member_is_found_or_does_no_harm(root: Path, ending: str) -> None:
    """97 bits all over the member: an error, or the very same batch (a bit in the name of a checksum)."""
    drawn = ending == "keypoints.npy"
    _, row = place_of(root, "train-17")
    changes = {"sampling": "linspace", "rgb_frames": row.num_frames, **({} if drawn else STORED)}  # every frame
    stream = evaluation(root, batch_size=1, **changes)
    step = load_index(root).row_of_key["train-17"]
    good, found = join([stream.read_step(0, step)]), 0
    for bit in np.linspace(0, 8 * row.member_bytes[MEMBERS.index(ending)] - 1, 97).astype(int).tolist():
        where = flip(root, "train-17", ending, bit)
        try:
            assert_same_batches([join([stream.read_step(0, step)])], [good])
        except DamageError as error:
            assert str(error).startswith(f"{where}: ")
            found += 1
        flip(root, "train-17", ending, bit)
    assert found >= (80 if ending == "json" else 97)


def test_a_flipped_bit_of_a_tar_header_does_no_harm(root: Path) -> None:
    """The index says where everything lies; `epam-data check` finds it."""
    good = [join([batch]) for batch in evaluation(root).epoch()]
    for bit in (0, 8 * 124, 8 * 148, 8 * 257):  # name, size, checksum, magic
        flip(root, "train-17", "tar", bit)
    assert_same_batches([join([batch]) for batch in evaluation(root).epoch()], good)


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def exchange(path: Path) -> None:
    shutil.copy(path.with_name("train-000000.tar"), path)


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("heatmap", ["stored", "drawn"])
@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (remove, "the manifest lists this shard, but there is no such file"),
        (cut, r"train-000002\.tar: cut short, expected \d+ bytes at \d+, got \d+"),
        (exchange, r"(has train-\d+ .*there; the index belongs to another build|KEY\.json: not JSON)"),
        (become_folder, r"train-000002\.tar: cannot be read \(Is a directory\)"),
    ],
)
def test_a_shard_that_is_not_there_names_shard_and_key(
    root: Path, heatmap: str, workers: int, harm: Callable[[Path], None], what: str
) -> None:
    harm(root / "train-000002.tar")
    changes = STORED if heatmap == "stored" else {}
    said = error_of(evaluation(root, workers=workers, **changes))
    assert re.search(rf"^train-000002\.tar: train-\d+: .*{what}", said), said


def test_the_index_of_another_build_is_refused_at_the_start(root: Path) -> None:
    manifest, index = load_manifest(root), load_index(root)
    rows = [[index.row(row) for row in np.flatnonzero(index.shard == n).tolist()] for n in range(len(manifest.shards))]
    rows[1] = [replace(row, label=0) for row in rows[1]]
    other = index_bytes(
        [
            ShardSummary(name=each.name, split=each.split, num_bytes=0, sha256="", rows=tuple(rows[number]))
            for number, each in enumerate(manifest.shards)
        ]
    )
    (root / "index.h5").write_bytes(other)
    message = f"{root / 'index.h5'}: does not match manifest.json: it is damaged or from another build"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluation(root)


def test_a_damage_error_travels() -> None:
    error = pickle.loads(pickle.dumps(DamageError("train-000001.tar", "clip", "cut short")))
    assert isinstance(error, ValueError) and str(error) == "train-000001.tar: clip: cut short"
    assert (error.shard, error.key, error.reason) == ("train-000001.tar", "clip", "cut short")


def test_settings_that_do_not_fit_are_no_damage(root: Path) -> None:
    with pytest.raises(ValueError, match=r"^train-\d+\.tar: train-\d+: has 2 persons, stream\.max_persons is 1$"):
        list(people_stream(root, max_persons=1, on_damage="skip").epoch())


# Skip: the laws of the stream, without the damaged samples

FLIPPED = ("train-3", "train-30", "train-31", "train-52")


@pytest.fixture
def damaged(root: Path) -> set[str]:
    """Keys of the samples in `root` that cannot be read any more."""
    for key in FLIPPED:
        flip(root, key, "keypoints.npy", 4000)
    remove(root / "train-000001.tar")
    path, row = place_of(root, "train-17")
    change_bytes(path, lambda data: data.__delitem__(slice(row.offset + 100, None)))
    return {*FLIPPED, *(f"train-{number}" for number in (*range(7, 14), *range(17, 21)))}


def deliver(
    root: Path, world: int, workers: int, epoch: int, consumed: int = 0, **changes: Any
) -> tuple[list[dict[str, Any]], list[Damage]]:
    """What all ranks together receive, and what they did without."""
    changes = {"on_damage": "skip", "workers": workers, "world": world, **changes}
    ranks = [people_stream(root, rank=rank, **changes) for rank in range(world)]
    batches = [
        join([part for part in parts if part is not None])
        for parts in zip_longest(*(rank.epoch(epoch, consumed=consumed) for rank in ranks))
    ]
    damage = sorted((each for rank in ranks for each in rank.damage), key=lambda each: each.position)
    for rank in ranks:
        rank.close()
    return batches, damage


def keys_of(batches: list[dict[str, Any]]) -> list[str]:
    return [key for batch in batches for key in batch["keys"]]


@pytest.mark.parametrize("epoch", [0, 1])
def test_another_sample_stands_in_for_a_damaged_one(
    root: Path, people_shards: Path, damaged: set[str], epoch: int
) -> None:
    """All else is as without the damage."""
    healthy, none = deliver(people_shards, 1, 0, epoch)
    batches, damage = deliver(root, 1, 0, epoch)
    assert none == [] and len(batches) == len(healthy) == 2
    before, after = keys_of(healthy), keys_of(batches)
    assert {before[each.position]: after[each.position] for each in damage} == {
        each.key: each.stand_in for each in damage
    }
    assert {each.key for each in damage} == damaged & set(before) and len(damage) >= 10
    assert not damaged & set(after)
    for position in set(range(48)) - {each.position for each in damage}:
        one, other = batches[position // 24], healthy[position // 24]
        assert before[position] == after[position]
        assert all(torch.equal(one[name][position % 24], other[name][position % 24]) for name in one.keys() - {"keys"})
    reasons = {each.reason.partition(",")[0].partition(" (")[0] for each in damage}
    assert "keypoints.npy: damaged" in reasons and any("no such file" in each.reason for each in damage)
    assert {each.shard for each in damage} >= {"train-000001.tar", "train-000002.tar"}


def test_a_stand_in_is_cut_as_its_place_says(root: Path, damaged: set[str]) -> None:
    """Its frames, flip and crop are those that (seed, epoch, position) draw for a sample of its length."""
    batches, damage = deliver(root, 1, 0, 0)
    index = load_index(root)
    settings = people_stream(root).settings
    assert damage
    for each in damage:
        assert each.stand_in is not None
        frames = int(index.num_frames[index.row_of_key[each.stand_in]])
        draw = draw_training(frames, settings, seed=3, epoch=0, position=each.position)
        batch, place = batches[each.position // 24], each.position % 24
        assert batch["position"][place].item() == each.position
        np.testing.assert_array_equal(batch["pose_frames"][place, 0], draw.pose_frames)
        np.testing.assert_allclose(batch["crop"][place, 0], draw.crop, rtol=1e-6)
        assert batch["label"][place].item() == index.label[index.row_of_key[each.stand_in]]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_stand_ins_do_not_depend_on_ranks_or_workers(root: Path, damaged: set[str], world: int) -> None:
    """Workers of their own processes on few ranks; a step is the same function in all of them."""
    for epoch in (0, 1):
        expected, damage = deliver(root, 1, 0, epoch)
        for workers in (0, 1, 3) if world == 1 else (0, 1) if world == 2 else (0,):
            batches, others = deliver(root, world, workers, epoch)
            assert others == damage
            assert_same_batches(batches, expected)


def test_a_resumed_epoch_has_the_same_stand_ins(root: Path, damaged: set[str]) -> None:
    whole, damage = deliver(root, 3, 0, 1)
    rest, others = deliver(root, 8, 0, 1, consumed=24)
    assert_same_batches(rest, whole[1:])
    assert others == [each for each in damage if each.position >= 24]


def test_balanced_epochs_stand_in_with_what_they_hold(root: Path, damaged: set[str]) -> None:
    """A class of weight 0 stands in for nothing."""
    changes = {"class_weights": (0, 1, 1, 1, 1, 1)}
    batches, damage = deliver(root, 1, 0, 0, **changes)
    assert damage and not damaged & set(keys_of(batches))
    assert 0 not in torch.cat([batch["label"] for batch in batches])
    others = deliver(root, 2, 1, 0, **changes)
    assert others[1] == damage
    assert_same_batches(others[0], batches)


@pytest.mark.parametrize("workers", WORKERS)
def test_an_epoch_tells_its_own_damage_alone(root: Path, damaged: set[str], workers: int) -> None:
    stream = people_stream(root, on_damage="skip", workers=workers)
    list(stream.epoch(0))
    first = stream.damage
    list(stream.epoch(1))
    assert stream.damage != first and len(first) > 5 and len(stream.damage) > 5
    list(stream.epoch(0))
    assert stream.damage == first
    stream.close()


def test_the_last_whole_sample_is_found(root: Path) -> None:
    """52 of 53 cannot be read."""
    path, row = place_of(root, "train-17")
    for other in root.glob("train-*.tar"):
        if other != path:
            remove(other)
    change_bytes(path, lambda data: data.__delitem__(slice(row.member_offsets()[-1] + row.member_bytes[-1], None)))
    change_bytes(path, lambda data: data.__setitem__(slice(0, row.offset), bytes(row.offset)))
    batches, damage = deliver(root, 1, 0, 0)
    assert set(keys_of(batches)) == {"train-17"} and len(damage) >= 47


@pytest.mark.parametrize("workers", WORKERS)
def test_a_split_of_which_nothing_is_left_is_an_error(root: Path, workers: int) -> None:
    for path in root.glob("train-*.tar"):
        remove(path)
    said = error_of(people_stream(root, on_damage="skip", workers=workers))
    pattern = r"^train-\d+\.tar: train-\d+: .*no such file; none of 52 possible replacements can be read either$"
    assert re.search(pattern, said), said


# Skip in evaluation: nothing stands in, or it would count twice


@pytest.mark.parametrize(("world", "workers", "batch_size"), [(1, 0, 24), (1, 2, 1), (2, 1, 4), (3, 0, 24), (8, 0, 8)])
def test_evaluation_leaves_damaged_samples_out(
    root: Path, damaged: set[str], world: int, workers: int, batch_size: int
) -> None:
    """Each other sample exactly once; a batch of which nothing is left does not come."""
    changes = {"training": False, "split": "train", "batch_size": batch_size, "num_clips": 2}
    streams = [
        people_stream(root, rank=rank, world=world, workers=workers, on_damage="skip", **changes)
        for rank in range(world)
    ]
    parts = [list(stream.epoch()) for stream in streams]
    assert all(len(batch) > 0 and batch.num_clips == 2 for part in parts for batch in part)
    keys = [key for part in parts for batch in part for key in batch.keys]
    every = [key.decode() for key in load_index(root).keys[:NUM_TRAIN]]
    assert sorted(keys) == sorted(set(every) - damaged)
    damage = [each for stream in streams for each in stream.damage]
    assert {each.key for each in damage} == damaged and len(damage) == len(damaged)
    assert all(each.stand_in is None and every[each.position] == each.key for each in damage)
    for stream in streams:
        stream.close()


def clips_by_key(batches: Iterator[Any]) -> dict[str, Any]:
    return {
        key: (batch.position[place].item(), batch.label[place].item(), batch.rgb[place], batch.keypoints[place])
        for batch in batches
        for place, key in enumerate(batch.keys)
    }


def test_what_evaluation_keeps_is_as_it_was(root: Path, people_shards: Path, damaged: set[str]) -> None:
    healthy = clips_by_key(evaluation(people_shards).epoch())
    kept = clips_by_key(evaluation(root, on_damage="skip").epoch())
    assert kept.keys() == healthy.keys() - damaged
    for key, (position, label, rgb, keypoints) in kept.items():
        assert (position, label) == healthy[key][:2]
        assert torch.equal(rgb, healthy[key][2]) and torch.equal(keypoints, healthy[key][3])
