"""Shards in MMEngine's loaders: the layout of `PackActionInputs`, the numbers of our own stream."""

import math

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import PackActionInputs
from mmaction.registry import DATASETS, MODELS
from mmengine.runner import Runner

from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_model.mmaction import ShardDataset
from tests.mmaction.small import NUM_TRAIN, NUM_VAL

PREPROCESSOR = dict(
    type="MultiModalDataPreprocessor",
    preprocessors=dict(
        imgs=dict(
            type="ActionDataPreprocessor",
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            format_shape="NCTHW",
        ),
        heatmap_imgs=dict(type="ActionDataPreprocessor"),
    ),
)


@pytest.fixture
def root(data):
    return str(data / "shards" / "ntu60_xsub")


def loader(dataset, num_workers=0):
    return Runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            dataset=dataset,
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        seed=0,
    )


def test_the_layout_is_that_of_pack_action_inputs(root):
    sample = DATASETS.build(dict(type="ShardDataset", root=root, split="train"))[1]
    results = {
        "imgs": np.zeros((1, 3, 16, 32, 32), np.uint8),
        "heatmap_imgs": np.zeros((1, 17, 48, 8, 8), np.float32),
        "label": 1,
        "img_shape": (32, 32),
    }
    wanted = PackActionInputs(collect_keys=("imgs", "heatmap_imgs")).transform(results)
    assert sample.keys() == wanted.keys() and sample["inputs"].keys() == wanted["inputs"].keys()
    for name, tensor in wanted["inputs"].items():
        assert sample["inputs"][name].shape == tensor.shape and sample["inputs"][name].dtype == tensor.dtype
    ours, theirs = sample["data_samples"], wanted["data_samples"]
    assert type(ours) is type(theirs) and torch.equal(ours.gt_label, theirs.gt_label)
    assert ours.img_shape == theirs.img_shape and ours.video_id == "train-1"


@pytest.mark.parametrize("num_clips", [1, 3])
def test_evaluation_gives_the_numbers_of_our_own_stream(root, num_clips):
    """Through MMEngine's loader and MMAction2's preprocessor."""
    settings = StreamSettings(batch_size=2, num_clips=num_clips, workers=0)
    stream = Stream(root, split="val", settings=settings, training=False)
    dataset = dict(type="ShardDataset", root=root, split="val", test_mode=True, stream=dict(num_clips=num_clips))
    finish, preprocess = BatchFinisher.for_shards(stream.manifest), MODELS.build(PREPROCESSOR)
    for ours, theirs in zip(stream.epoch(), loader(dataset), strict=True):
        rgb, pose = finish(ours)
        batch = preprocess(theirs)
        for got, want in ((batch["inputs"]["imgs"], rgb), (batch["inputs"]["heatmap_imgs"], pose)):
            assert got.shape[:2] == (2, num_clips)
            torch.testing.assert_close(got.flatten(0, 1), want)
        assert [sample.gt_label.item() for sample in batch["data_samples"]] == ours.label.tolist()
        assert [sample.video_id for sample in batch["data_samples"]] == ours.keys


def test_training_draws_anew_and_as_torch_is_seeded(root):
    dataset = ShardDataset(root, "train", stream={"flip": 0.5})
    torch.manual_seed(1)
    first = [dataset[0]["inputs"] for _ in range(4)]
    torch.manual_seed(1)
    again = [dataset[0]["inputs"] for _ in range(4)]
    for name in ("imgs", "heatmap_imgs"):
        assert all(torch.equal(a[name], b[name]) for a, b in zip(first, again, strict=True))
        assert any(not torch.equal(first[0][name], each[name]) for each in first[1:])


def test_crops_and_drawn_heatmaps(data):
    stream = dict(
        rgb_frames=8, pose_frames=32, sampling="independent", heatmap="drawn", train_crop="random_resized", crop_px=64
    )
    inputs = ShardDataset(str(data / "shards" / "ma52_rgbpose"), "train", stream=stream)[0]["inputs"]
    assert inputs["imgs"].shape == (1, 3, 8, 64, 64) and inputs["imgs"].dtype == torch.uint8
    assert inputs["heatmap_imgs"].shape == (1, 28, 32, 16, 16) and inputs["heatmap_imgs"].dtype == torch.float32


def test_wrappers_of_mmengine_take_it(root):
    """As configs build them, and around a data set that exists."""
    one = dict(type="ShardDataset", root=root, split="train", test_mode=True)
    plain = DATASETS.build(one)
    keys = [plain.get_data_info(number)["video_id"] for number in range(len(plain))]
    for inner in (one, plain):
        repeated = DATASETS.build(dict(type="RepeatDataset", dataset=inner, times=3))
        assert len(repeated) == 3 * len(plain) and repeated.metainfo == plain.metainfo
        assert repeated[len(plain) + 1]["data_samples"].video_id == keys[1]
        joined = DATASETS.build(dict(type="ConcatDataset", datasets=[inner, {**one, "split": "val"}]))
        assert len(joined) == NUM_TRAIN + NUM_VAL
        assert joined[NUM_TRAIN]["data_samples"].video_id == joined.get_data_info(NUM_TRAIN)["video_id"] == "val-0"
        balanced = DATASETS.build(dict(type="ClassBalancedDataset", dataset=inner, oversample_thr=1.0))
        labels = [plain.get_cat_ids(number) for number in range(len(plain))]
        repeats = [math.ceil(math.sqrt(len(plain) / labels.count(label))) for label in labels]
        assert len(balanced) == sum(repeats) > len(plain)
        batch = next(iter(loader(balanced)))
        assert [sample.video_id for sample in batch["data_samples"]] == [keys[0], keys[0]]


@pytest.mark.parametrize(("indices", "expected"), [(2, [0, 1]), (-1, [3]), ([2, 0], [2, 0])])
def test_a_subset_has_the_samples_that_were_asked_for(root, indices, expected):
    whole = ShardDataset(root, "train", test_mode=True)
    subset, keys = whole.get_subset(indices), [f"train-{number}" for number in expected]
    assert [subset[number]["data_samples"].video_id for number in range(len(subset))] == keys
    assert len(whole) == NUM_TRAIN
    whole.get_subset_(indices)
    assert [whole.get_data_info(number)["video_id"] for number in range(len(whole))] == keys


def test_hidden_labels_are_left_out(root):
    dataset = ShardDataset(root, "test", test_mode=True)
    assert len(dataset) == 2 and "gt_label" not in dataset[0]["data_samples"]
    assert dataset.get_cat_ids(0) == [] and dataset.get_data_info(1)["label"] == -1
    assert len(dataset.metainfo["classes"]) == 60


def test_workers_of_mmengine_read_the_same(root):
    dataset = dict(type="ShardDataset", root=root, split="train", test_mode=True)
    here, there = loader(dataset), loader(dataset, num_workers=2)
    for _ in range(2):  # epochs
        for ours, theirs in zip(here, there, strict=True):
            for name in ("imgs", "heatmap_imgs"):
                assert all(map(torch.equal, ours["inputs"][name], theirs["inputs"][name]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(split="dev"), "split 'dev' has no sample; there are train, val, test"),
        (
            dict(split="val", stream=dict(batch_size=4)),
            "stream must have keys of view, fold, rgb_frames, .*got batch_size",
        ),
        (dict(split="val", stream=dict(rgb_frame=4)), "got rgb_frame$"),
        (dict(split="val", stream=dict(rgb_frames=5)), "stream.pose_frames must be a multiple of rgb_frames"),
    ],
)
def test_what_does_not_fit_is_named(root, arguments, message):
    with pytest.raises(ValueError, match=message):
        ShardDataset(root, **arguments)
