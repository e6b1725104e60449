"""The stream's laws: one sequence of global batches, whatever the ranks, the workers and the resumes."""

import gc
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

from epam_data.check.reference import reference_heatmap
from epam_data.schema import Sample
from epam_data.shards.codec import HEATMAP_TOLERANCE, MEMBERS, decode
from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import read_shard
from epam_data.skeleton import COCO17
from epam_data.stream import Batch, BatchFinisher, Stream, StreamSettings
from epam_data.stream.order.balance import class_quotas
from epam_data.stream.order.draws import draw_evaluation, draw_training

SETTINGS = StreamSettings(batch_size=6, rgb_frames=2, pose_frames=6, window_shards=2, workers=0)
NUM_TRAIN, NUM_VAL = 14, 5


def make_stream(root: Path, *, training: bool = True, **changes: Any) -> Stream:
    names = {field.name for field in fields(StreamSettings)}
    settings = replace(SETTINGS, **{name: changes.pop(name) for name in names & changes.keys()})
    values = {"split": "train", "settings": settings, "training": training, "seed": 3, **changes}
    return Stream(root, **values)


def join(batches: list[Batch]) -> dict[str, Any]:
    """The parts of a global batch, in the order of their positions; the clips of a sample stay together."""
    keys = [key for batch in batches for key in batch.keys]
    tensors = {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name, value in vars(batches[0]).items()
        if isinstance(value, torch.Tensor)
    }
    order = torch.argsort(tensors["position"])
    samples = {name: tensor.unflatten(0, (len(keys), -1))[order] for name, tensor in tensors.items()}
    return {"keys": [keys[place] for place in order.tolist()], **samples}


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
        assert first.keys() == second.keys() and first["keys"] == second["keys"]
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


def test_a_stream_continues_after_a_broken_epoch(ntu60_shards: Path, whole_epoch: list[dict[str, Any]]) -> None:
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
    for training, consumed, most in ((True, 7, 12), (True, 18, 12), (True, -6, 12), (False, 24, 18)):
        message = rf"^consumed must be a multiple of the batch size 6, 0\.\.{most}, got {consumed}$"
        with pytest.raises(ValueError, match=message):
            make_stream(ntu60_shards, training=training).epoch(0, consumed=consumed)
    assert list(make_stream(ntu60_shards).epoch(0, consumed=12)) == []


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
            (draw,) = draw_evaluation(int(index.num_frames[index.row_of_key[key]]), stream.settings)
            np.testing.assert_array_equal(batch.pose_frames[slot], draw.pose_frames)
            np.testing.assert_array_equal(batch.rgb_frames[slot], draw.rgb_frames)


def test_a_split_smaller_than_the_world(ntu60_shards: Path) -> None:
    """Five samples on eight ranks: three ranks have nothing to do, and say so."""
    lengths = []
    for rank in range(8):
        stream = make_stream(ntu60_shards, training=False, split="val", rank=rank, world=8, batch_size=8)
        lengths.append((len(stream), sum(len(batch) for batch in stream.epoch())))
    assert lengths == [(1, 1)] * 5 + [(0, 0)] * 3


# The laws over ranks x workers x epochs, with everything that can be drawn

EVERYTHING = StreamSettings(
    batch_size=24,
    rgb_frames=2,
    pose_frames=4,
    sampling="independent",
    heatmap="drawn",
    train_crop="random_resized",
    eval_crop="centre",
    crop_px=28,
    resize_px=32,
    brightness=0.2,
    contrast=0.2,
    window_shards=2,
    workers=0,
)
WORLDS, WORKERS, EPOCHS = (1, 2, 3, 8), (0, 1, 3), (0, 1, 2)


def people_stream(root: Path, *, training: bool = True, **changes: Any) -> Stream:
    return make_stream(
        root, training=training, **{**vars(EVERYTHING), "split": "train" if training else "val", **changes}
    )


def read_all(
    root: Path, world: int, workers: int, epoch: int, first: int = 0, last: int | None = None, **changes: Any
) -> list[dict[str, Any]]:
    """Global batches `first` ... of an epoch, as the loaders' processes read them.

    Each worker of each rank has a stream of its own and reads every n-th step; the workers finish in a mixed order.
    """
    parts: dict[int, list[Batch]] = {}
    for rank in range(world):
        steps = range(len(people_stream(root, rank=rank, world=world, **changes)))[first:last]
        for worker in reversed(range(max(workers, 1))):
            stream = people_stream(root, rank=rank, world=world, **changes)
            for step in steps[worker :: max(workers, 1)]:
                parts.setdefault(step, []).append(stream.read_step(epoch, step))
    return [join(parts[step]) for step in sorted(parts)]


@pytest.fixture(scope="module")
def people_epochs(people_shards: Path) -> dict[int, list[dict[str, Any]]]:
    return {epoch: read_all(people_shards, 1, 0, epoch) for epoch in EPOCHS}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("world", WORLDS)
def test_everything_drawn_is_a_function_of_seed_and_epoch_alone(
    people_shards: Path, people_epochs: dict[int, list[dict[str, Any]]], world: int, workers: int
) -> None:
    for epoch in EPOCHS:
        assert_same_batches(read_all(people_shards, world, workers, epoch), people_epochs[epoch])


def test_an_epoch_draws_all_there_is_to_draw(people_epochs: dict[int, list[dict[str, Any]]]) -> None:
    """The law above says nothing of a stream that draws nothing."""
    drawn = {"rgb_frames", "pose_frames", "flip", "crop", "colour", "keypoints"}
    for epoch, batches in people_epochs.items():
        keys = [key for batch in batches for key in batch["keys"]]
        assert len(keys) == len(set(keys)) == 48, "53 samples, but for the five of the partial batch"
        assert batches[0].keys() == {"keys", "position", "label", "coarse_label", "rgb", *drawn}
        for name in drawn - {"rgb_frames", "pose_frames"}:
            assert len(torch.unique(batches[0][name], dim=0)) > 1, name
        if epoch:
            assert keys != [key for batch in people_epochs[epoch - 1] for key in batch["keys"]]


@pytest.mark.parametrize("after", [2, 8])
def test_a_run_of_four_ranks_goes_on_with_two_or_eight(
    people_shards: Path, people_epochs: dict[int, list[dict[str, Any]]], after: int
) -> None:
    """In mid-epoch, with other workers: what the four have had and what is left are the whole epoch."""
    before = read_all(people_shards, 4, 3, 1, last=1)
    assert_same_batches(before + read_all(people_shards, after, 1, 1, first=1), people_epochs[1])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more processes than a small machine has cores
@pytest.mark.parametrize(("world", "workers"), [(1, 3), (2, 1), (3, 1)])
def test_real_loaders_deliver_the_same(
    people_shards: Path, people_epochs: dict[int, list[dict[str, Any]]], world: int, workers: int
) -> None:
    ranks = [people_stream(people_shards, rank=rank, world=world, workers=workers) for rank in range(world)]
    together = [join(list(parts)) for parts in zip(*(rank.epoch(1) for rank in ranks), strict=True)]
    assert_same_batches(together, people_epochs[1])


@pytest.mark.parametrize("world", WORLDS)
def test_evaluation_of_several_clips_is_the_same_on_any_ranks(people_shards: Path, world: int) -> None:
    changes: dict[str, Any] = {"training": False, "num_clips": 3}
    expected = read_all(people_shards, 1, 0, 0, **changes)
    assert [len(batch["keys"]) for batch in expected] == [24, 5]
    assert expected[0]["rgb"].shape == (24, 3, 2, 32, 32, 3)
    assert "colour" not in expected[0], "no colours are drawn, and none are computed"
    assert_same_batches(read_all(people_shards, world, 3, 0, **changes), expected)


def test_the_clips_of_a_sample_are_the_published_ones(people_shards: Path) -> None:
    index = load_index(people_shards)
    stream = people_stream(people_shards, training=False, num_clips=3)
    one = people_stream(people_shards, training=False)
    for batch, single in zip(stream.epoch(), one.epoch(), strict=True):
        assert batch.num_clips == 3 and single.num_clips == 1 and batch.keys == single.keys
        for place, key in enumerate(batch.keys):
            draws = draw_evaluation(int(index.num_frames[index.row_of_key[key]]), stream.settings)
            own = slice(3 * place, 3 * place + 3)
            np.testing.assert_array_equal(batch.pose_frames[own], [draw.pose_frames for draw in draws])
            np.testing.assert_array_equal(batch.rgb_frames[own], [draw.rgb_frames for draw in draws])
            assert torch.equal(batch.rgb[3 * place], single.rgb[place])
            for clip, frame in ((1, 0), (2, 1)):  # the pixels are those of the frame numbers
                same = (batch.rgb_frames[own] == batch.rgb_frames[own][clip, frame]).nonzero()
                for other, place_in_clip in same.tolist():
                    assert torch.equal(batch.rgb[own][clip, frame], batch.rgb[own][other, place_in_clip])


# Balanced epochs


@pytest.mark.parametrize("changes", [{"balance": "class"}, {"balance": "sqrt"}, {"class_weights": (1, 1, 1, 1, 0, 3)}])
def test_balanced_epochs_are_under_the_same_laws(people_shards: Path, changes: dict[str, Any]) -> None:
    """6 classes, the largest with half of the samples; 48 of 53 places in each epoch."""
    changes |= {"window_shards": 3}
    labels = load_index(people_shards).label[:53]
    quotas = class_quotas(
        np.bincount(labels, minlength=6), changes.get("balance", "none"), changes.get("class_weights", ())
    )
    seen = []
    for epoch in (0, 1):
        whole = read_all(people_shards, 1, 0, epoch, **changes)
        assert [len(batch["keys"]) for batch in whole] == [24, 24]
        given = np.bincount(torch.cat([batch["label"] for batch in whole]).flatten(), minlength=6)
        assert (given <= quotas).all() and (quotas - given).sum() == 5, "each class its places, but for the last five"
        for world, workers in ((2, 3), (8, 1)):
            assert_same_batches(read_all(people_shards, world, workers, epoch, **changes), whole)
        resumed = read_all(people_shards, 3, 1, epoch, last=1, **changes)
        assert_same_batches(resumed + read_all(people_shards, 8, 0, epoch, first=1, **changes), whole)
        seen.append([key for batch in whole for key in batch["keys"]])
    assert sorted(seen[0]) != sorted(seen[1]), "another epoch, other samples of the large classes"


def test_evaluation_is_never_balanced(people_shards: Path) -> None:
    plain = read_all(people_shards, 1, 0, 0, training=False)
    assert_same_batches(read_all(people_shards, 1, 0, 0, training=False, balance="class"), plain)


def test_hidden_labels_can_be_evaluated_but_not_balanced(ma52_shards: Path) -> None:
    """The same recipe trains and predicts."""
    stream = make_stream(ma52_shards, split="test", training=False, batch_size=2, balance="class")
    assert [batch.label.tolist() for batch in stream.epoch()] == [[-1, -1]]
    with pytest.raises(ValueError, match=r"^stream\.balance needs labels in 0\.\.51, got -1\.\.-1$"):
        make_stream(ma52_shards, split="test", batch_size=2, balance="class")


def test_balanced_epochs_read_a_shard_in_one_stretch(people_shards: Path) -> None:
    index = load_index(people_shards)
    batches = read_all(people_shards, 1, 0, 0, balance="class", window_shards=1)
    visited = [int(index.shard[index.row_of_key[key]]) for batch in batches for key in batch["keys"]]
    assert len(set(visited)) > 4 and np.count_nonzero(np.diff(visited)) == len(set(visited)) - 1


def test_copies_of_a_sample_are_augmented_apart(people_shards: Path) -> None:
    """The rare class comes again and again, each time with draws of its own."""
    batches = read_all(people_shards, 1, 0, 0, balance="class")
    keys = [key for batch in batches for key in batch["keys"]]
    crops = torch.cat([batch["crop"][:, 0] for batch in batches])
    often = max(keys, key=keys.count)
    own = [crop.tolist() for key, crop in zip(keys, crops, strict=True) if key == often]
    assert len(own) >= 3 and len({tuple(crop) for crop in own}) == len(own)


# Heatmaps drawn from the keypoints


@pytest.mark.parametrize("training", [True, False])
def test_drawn_heatmaps_equal_the_stored_ones_where_nothing_is_cropped(people_shards: Path, training: bool) -> None:
    settings = {"train_crop": "none", "eval_crop": "none", "brightness": 0.0, "contrast": 0.0}
    drawn = people_stream(people_shards, training=training, **settings)
    stored = people_stream(people_shards, training=training, **settings, heatmap="stored")
    finish, largest = BatchFinisher.for_shards(drawn.manifest), 0.0
    for one, other in zip(drawn.epoch(1), stored.epoch(1), strict=True):
        assert one.keypoints is not None and one.heatmap is None and one.crop is one.colour is None
        assert other.keypoints is None and other.heatmap is not None and other.heatmap_scale is not None
        (rgb, pose), (stored_rgb, stored_pose) = finish(one), finish(other)
        assert torch.equal(rgb, stored_rgb)
        off = (pose - stored_pose).abs().amax(dim=(1, 2, 3, 4))
        assert (off <= HEATMAP_TOLERANCE * other.heatmap_scale + 1e-6).all()
        largest = max(largest, float(off.max()))
    assert largest > 0.5 * HEATMAP_TOLERANCE, "the stored ones are quantised, the drawn ones are not"


def test_crops_give_the_sizes_of_the_recipe(people_shards: Path) -> None:
    """32 px frames and 8 px heatmaps: crops of 28 px have heatmaps of 7."""
    for training in (True, False):
        stream = people_stream(people_shards, training=training)
        rgb, pose = BatchFinisher.for_shards(stream.manifest)(next(stream.epoch()))
        assert rgb.shape == (24, 3, 2, 28, 28) and pose.shape == (24, 17, 4, 7, 7)
        assert stream.clip_sizes_px == (28, 7)
        assert pose.amax(dim=(1, 2, 3, 4)).min() > 0.3
    stream = people_stream(people_shards, training=False, eval_crop="none")
    rgb, pose = BatchFinisher.for_shards(stream.manifest)(next(stream.epoch()))
    assert rgb.shape[-2:] == (32, 32) and pose.shape[-2:] == (8, 8), "evaluation has a crop of its own"


def stored_sample(root: Path, key: str) -> Sample:
    for path in root.glob(f"{key.partition('-')[0]}-*.tar"):
        for name, _, members in read_shard(path):
            if name == key:
                return decode(members)
    raise AssertionError(key)


@pytest.mark.parametrize("training", [True, False])
def test_the_heatmap_of_a_crop_is_that_of_its_box(people_shards: Path, training: bool) -> None:
    """Against the slow reference, drawn for the crop's own box in the video: exact at every scale."""
    stream = people_stream(people_shards, training=training, flip=0.0)
    batch = stream.read_step(1, 0)
    assert batch.crop is not None
    _, pose = BatchFinisher.for_shards(stream.manifest)(batch)
    for place, key in enumerate(batch.keys[:8]):
        sample = stored_sample(people_shards, key)
        x1, y1, x2, y2 = sample.info.box
        left, top, right, bottom = batch.crop[place].double().tolist()
        box = (x1 + left * (x2 - x1), y1 + top * (y2 - y1), x1 + right * (x2 - x1), y1 + bottom * (y2 - y1))
        info = replace(sample.info, box=box, heatmap_size_px=7)
        expected = reference_heatmap(info, sample.keypoints[:, batch.pose_frames[place].numpy()], True, COCO17)
        # The box travels as float32 to the frames only: here it moves a centre by some 10^-6 pixels.
        np.testing.assert_allclose(pose[place].transpose(0, 1), expected, rtol=0, atol=1e-4)
    assert len(torch.unique(batch.crop, dim=0)) == (24 if training else 1)


def test_shards_of_limbs_are_not_drawn(people_shards: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(people_shards, tmp_path / "shards"))
    manifest = load_manifest(root)
    limbs = replace(manifest, prepare=replace(manifest.prepare, heatmap_kind="limbs"))
    (root / "manifest.json").write_bytes(limbs.to_json())
    with pytest.raises(ValueError, match=r"stream\.heatmap must be stored for shards of limbs, got drawn"):
        people_stream(root)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_of_too_many_persons_is_named(people_shards: Path, workers: int) -> None:
    stream = people_stream(people_shards, max_persons=1, workers=workers)
    pattern = r"^train-\d+\.tar: train-\d+: has 2 persons, stream\.max_persons is 1$"
    assert re.search(pattern, error_of(stream))


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
    """A stream may travel to another process: also one whose loader is at work."""
    stream = make_stream(ntu60_shards, workers=1)
    stream.read_step(0, 0)
    assert first_keys(stream)
    copy = pickle.loads(pickle.dumps(stream))
    expected = whole_epoch[0]["keys"] + whole_epoch[1]["keys"]
    assert first_keys(copy) == expected == first_keys(stream)


def test_a_dropped_stream_frees_its_workers_at_once(ntu60_shards: Path) -> None:
    """Without the garbage collector, which would wait for a time-out of 5 seconds per worker."""
    stream = make_stream(ntu60_shards, workers=2)
    list(stream.epoch(0))
    loader = weakref.ref(stream._opened)
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
        ({"rank": -1, "world": 1}, "rank must be in 0..0, got -1"),
        ({"rank": 1}, "rank and world need each other, got rank 1 and world None"),
        ({"rank": 0, "world": 4}, "stream.batch_size must be a multiple of 4 ranks, got 6"),
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
    message = f"{root}/index.h5: not a readable index (it has 19 rows, the manifest counts 18 samples)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_stream(root)


def test_no_shards_no_stream(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no manifest\.json found; not a shard directory, or its build is not finished$"
    ):
        make_stream(tmp_path)


def test_one_epoch_at_a_time(ntu60_shards: Path) -> None:
    stream = make_stream(ntu60_shards)
    first, second = stream.epoch(0), stream.epoch(1)
    next(first)
    assert next(second).keys == next(make_stream(ntu60_shards).epoch(1)).keys
    with pytest.raises(
        RuntimeError, match="another epoch of this stream was started; a stream runs one epoch at a time"
    ):
        next(first)
