from typing import Any

from epam_data.check.check_shard import ClipMeasures
from epam_data.check.ranking import rankings
from epam_data.check.rules.motion import MAX_LAG, Motion


def clip(key: str, **changes: Any) -> ClipMeasures:
    values = {
        "key": key,
        "shard": "train-000000",
        "num_frames": 40,
        "jpeg_bytes": 40_000,
        "num_persons": 1,
        "joint_scores": (0.8, 0.9),
        "crop_px": (100, 80),
        "visible": 1.0,
        "outside_image": 0.0,
        "outside_crop": 0.0,
    }
    return ClipMeasures(**{**values, **changes})


def lagging(frames: int, best: float = 0.7) -> Motion:
    curve = [0.1] * (2 * MAX_LAG + 1)
    curve[MAX_LAG + frames] = best
    return Motion(curve=tuple(curve))


def test_the_most_extreme_clip_of_each_measure_comes_first():
    clips = (
        clip("plain", motion=lagging(0), heatmap_error=0.001),
        clip("wrong", heatmap_error=0.5),
        clip("late", motion=lagging(4)),
        clip("short", num_frames=9, jpeg_bytes=9_000),
        clip("blind", visible=0.2),
        clip("unsure", joint_scores=(0.1, float("nan"))),
        clip("outside", outside_image=0.3),
        clip("small", crop_px=(12, 10)),
        clip("heavy", jpeg_bytes=400_000),
        clip("flat", crop_px=(90, 3)),
    )
    first = {ranking.title: ranking.clips[0] for ranking in rankings(clips)}
    assert first == {
        "Largest heatmap error": ("wrong", "0.50000 of the scale"),
        "RGB and pose furthest apart": ("late", "+4 frames, better by 0.60"),
        "Most joints missing": ("blind", "80.0%"),
        "Lowest mean score": ("unsure", "0.10"),
        "Most joints outside the image": ("outside", "30.0% of the visible ones"),
        "Smallest person box": ("small", "10 x 12 px"),
        "Fewest frames": ("short", "9 frames"),
        "Most JPEG bytes per frame": ("heavy", "10.0 kB"),
    }


def test_what_no_clip_has_is_not_ranked_and_ties_go_by_key():
    made = {ranking.title: ranking.clips for ranking in rankings((clip("b"), clip("a"), clip("c")), length=2)}
    assert "Largest heatmap error" not in made and "RGB and pose furthest apart" not in made
    assert [key for key, _ in made["Fewest frames"]] == ["a", "b"]
    assert rankings(()) == []


def test_five_clips_of_each_measure_are_ranked():
    made = rankings(tuple(clip(f"k{number}", num_frames=30 - number) for number in range(7)))
    assert {len(ranking.clips) for ranking in made} == {5}
    fewest = next(ranking for ranking in made if ranking.title == "Fewest frames")
    assert fewest.clips == tuple((f"k{number}", f"{30 - number} frames") for number in (6, 5, 4, 3, 2))


def test_a_key_that_the_index_has_twice_is_ranked_twice():
    made = rankings((clip("a"), clip("a", num_frames=39)))
    assert all([key for key, _ in ranking.clips] == ["a", "a"] for ranking in made)


def test_measures_are_ranked_by_what_they_say():
    clips = (
        clip("sure", motion=lagging(4, best=0.9), visible=0.5),
        clip("unsure", motion=lagging(-4, best=0.5), visible=0.4),
        clip("early", motion=lagging(-6, best=0.5)),
        clip("still", motion=lagging(8, best=0.2)),
        clip("long", num_frames=400, jpeg_bytes=200_000),
    )
    made = {ranking.title: ranking.clips for ranking in rankings(clips)}
    assert [key for key, _ in made["RGB and pose furthest apart"]] == ["early", "sure", "unsure"]
    assert made["RGB and pose furthest apart"][2] == ("unsure", "-4 frames, better by 0.40")
    assert made["Most joints missing"][:2] == (("unsure", "60.0%"), ("sure", "50.0%"))
    assert made["Most JPEG bytes per frame"][-1] == ("long", "0.5 kB")
