"""The recipe section `stream` checks itself, and tells the sizes that follow from it."""

import re

import pytest

from epam_data.stream import StreamSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "stream.batch_size must be in 1..1000000, got 0"),
        ({"rgb_frames": 0}, "stream.rgb_frames must be in 1..100000, got 0"),
        ({"pose_frames": -1}, "stream.pose_frames must be in 1..100000, got -1"),
        ({"window_shards": 0}, "stream.window_shards must be >= 1, got 0"),
        ({"workers": -1}, "stream.workers must be in 0..100000, got -1"),
        ({"sampling": "random"}, "stream.sampling must be one of aligned, independent, linspace, got 'random'"),
        (
            {"rgb_frames": 10, "pose_frames": 48},
            "stream.pose_frames must be a multiple of rgb_frames for aligned sampling, got 48 and 10",
        ),
        ({"flip": 1.5}, "stream.flip must be in 0..1, got 1.5"),
        ({"contrast": -0.1}, "stream.contrast must be in 0..1, got -0.1"),
        ({"num_clips": 11}, "stream.num_clips must be in 1..10, got 11"),
        (
            {"num_clips": 2, "sampling": "linspace"},
            "stream.num_clips must be 1 for linspace, whose clips are all the same, got 2",
        ),
        ({"heatmap": "both"}, "stream.heatmap must be one of stored, drawn, got 'both'"),
        ({"on_damage": "ignore"}, "stream.on_damage must be one of raise, skip, got 'ignore'"),
        ({"max_persons": 0}, "stream.max_persons must be in 1..1000, got 0"),
        ({"crop_px": 5000}, "stream.crop_px must be in 1..4096, got 5000"),
        ({"timeout_seconds": float("inf")}, "stream.timeout_seconds must be > 0 and <= 1000000, got inf"),
        ({"train_crop": "five"}, "stream.train_crop must be one of none, random_resized, centre, got 'five'"),
        ({"eval_crop": "random_resized"}, "stream.eval_crop must be one of none, centre, got 'random_resized'"),
        (
            {"train_crop": "random_resized"},
            "stream.heatmap must be drawn if stream.train_crop is random_resized, got stored: a crop cuts "
            "and stretches the Gaussians of a stored heatmap, those of a drawn one keep their sigma",
        ),
        (
            {"eval_crop": "centre", "heatmap": "drawn", "crop_px": 300},
            "stream.crop_px must be <= resize_px 256, got 300",
        ),
        (
            {"crop_area": (0.5, 1.1)},
            "stream.crop_area must be two shares, 0 < least <= largest <= 1, got (0.5, 1.1)",
        ),
        ({"balance": "all"}, "stream.balance must be one of none, class, sqrt, got 'all'"),
        ({"class_weights": (1.0, -2.0)}, "stream.class_weights must be >= 0 and finite, got (1.0, -2.0)"),
    ],
)
def test_settings_check_themselves(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        StreamSettings(**changes)


def test_independent_lengths_need_not_divide() -> None:
    assert StreamSettings(rgb_frames=10, pose_frames=48, sampling="independent").pose_frames == 48


def test_the_published_lengths_are_the_defaults() -> None:
    assert (StreamSettings().rgb_frames, StreamSettings().pose_frames, StreamSettings().flip) == (16, 48, 0.5)


def test_a_crop_keeps_the_ratio_of_heatmaps_to_frames() -> None:
    chosen = StreamSettings(heatmap="drawn", train_crop="random_resized")
    assert chosen.sizes(256, 64, training=True) == (224, 56)
    assert chosen.sizes(256, 64, training=False) == (256, 64)
    assert StreamSettings(heatmap="drawn", eval_crop="centre").sizes(256, 64, training=False) == (224, 56)
    assert StreamSettings().sizes(224, 56, training=True) == (224, 56)
    message = "stream.crop_px must give whole heatmap pixels at the shards' ratio of 56 to 224, got 223"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        StreamSettings(heatmap="drawn", train_crop="centre", crop_px=223).sizes(224, 56, training=True)
