import numpy as np
import pytest

from epam_data.check.reference import heatmap_points, reference_heatmap, reference_pixels
from epam_data.samples.prepare import draw_heatmap
from epam_data.skeleton import COCO17, joint_is_missing
from tests.data.raw_data import sample_info


@pytest.mark.parametrize("kind", ["joints", "limbs"])
@pytest.mark.parametrize("use_scores", [True, False])
def test_the_reference_and_the_renderer_agree(kind: str, use_scores: bool):
    """Two persons, scores over 1, missing and NaN joints, joints far outside the box, float16 keypoints."""
    rng = np.random.default_rng(5)
    info = sample_info(heatmap_kind=kind, heatmap_size_px=28, box=(11, -5, 61, 44), image_size=(48, 64))
    keypoints = rng.uniform(-10, 70, (2, 6, 17, 3))
    keypoints[..., 2] = rng.uniform(0, 1.2, keypoints.shape[:-1])
    keypoints[0, 0, :3] = 0
    keypoints[0, 1, 4, 0] = np.nan
    keypoints[0, 3, 5, 0] = keypoints[0, 3, 6, 1] = 0  # one coordinate of 0 does not make a joint missing
    keypoints[1, 2, 5, 2] = np.nan
    keypoints = keypoints.astype(np.float16)
    missing = joint_is_missing(keypoints[..., :2], keypoints[..., 2])
    heights = np.where(missing, 0, keypoints[..., 2] if use_scores else 1)
    ours = draw_heatmap(info, keypoints[..., :2], heights, COCO17)
    assert ours.max() > 0.3
    np.testing.assert_allclose(ours, reference_heatmap(info, keypoints, use_scores, COCO17), atol=1e-6)


def test_a_single_joint_by_hand():
    info = sample_info(heatmap_size_px=8, box=(0, 0, 8, 8), image_size=(8, 8), video_size=(8, 8), sigma_px=1.0)
    keypoints = np.zeros((1, 6, 17, 3))
    keypoints[0, 2, 4] = (3.0, 5.0, 0.5)
    volume = reference_heatmap(info, keypoints, use_scores=True, layout=COCO17)
    assert volume[2, 4, 5, 3] == 0.5
    assert volume[2, 4, 5, 4] == pytest.approx(0.5 * np.exp(-0.5))
    assert volume[2, 4, 5, 7] == 0  # beyond 3 sigma
    assert np.count_nonzero(volume.sum(axis=(2, 3))) == 1


@pytest.mark.parametrize("kind", ["joints", "limbs"])
def test_the_pixels_are_the_whole_volumes(kind: str):
    """Three persons that overlap, missing joints, limbs under a pixel, joints on and beyond every border."""
    rng = np.random.default_rng(9)
    info = sample_info(heatmap_kind=kind, heatmap_size_px=24, box=(0, 0, 24, 24), image_size=(24, 24))
    info = sample_info(**{**info.__dict__, "video_size": (24, 24), "sigma_px": 1.3})
    keypoints = rng.uniform(-8, 32, (3, 6, 17, 3))
    keypoints[1] = keypoints[0] + rng.normal(0, 0.5, keypoints[0].shape)
    keypoints[2, :, 5] = keypoints[2, :, 7]  # a limb of no length
    keypoints[2, :, 8] = keypoints[2, :, 10] + (1.2, 0, 0)  # limbs a little over a pixel, and a little under
    keypoints[2, :, 13] = keypoints[2, :, 15] + (0, 0.9, 0)
    keypoints[0, 4, 5, 0] = keypoints[0, 4, 6, 1] = 0  # one coordinate of 0 does not make a joint missing
    keypoints[..., 2] = rng.uniform(0, 1.2, keypoints.shape[:-1])
    keypoints[0, 2] = 0
    keypoints[1, 3, 4, 1] = np.nan
    volume = reference_heatmap(info, keypoints, use_scores=True, layout=COCO17)
    places, values = reference_pixels(info, keypoints, use_scores=True, layout=COCO17)
    assert len(np.unique(places)) == len(places)
    scattered = np.zeros(volume.size)
    scattered[places] = values
    np.testing.assert_array_equal(scattered.reshape(volume.shape), volume)
    assert len(places) < volume.size


def test_nobody_has_no_pixels():
    for num_persons in (0, 1):
        places, values = reference_pixels(
            sample_info(), np.zeros((num_persons, 6, 17, 3)), use_scores=True, layout=COCO17
        )
        assert not places.size and not values.size


def scene(*persons: dict[int, tuple[float, float, float]], kind: str = "joints", size: int = 24):
    """Info and (M, 6, 17, 3) keypoints of joints in heatmap pixels, in frame 2; all others are missing."""
    info = sample_info(heatmap_kind=kind, heatmap_size_px=size, box=(0, 0, size, size), image_size=(size, size),
                       video_size=(size, size), sigma_px=1.0)  # fmt: skip
    keypoints = np.zeros((len(persons), 6, 17, 3))
    for number, joints in enumerate(persons):
        for joint, values in joints.items():
            keypoints[number, 2, joint] = values
    return info, keypoints


def both_ways(info, keypoints, use_scores: bool = True) -> np.ndarray:
    """The volume, which both forms give."""
    volume = reference_heatmap(info, keypoints, use_scores=use_scores, layout=COCO17)
    places, values = reference_pixels(info, keypoints, use_scores=use_scores, layout=COCO17)
    scattered = np.zeros(volume.size)
    scattered[places] = values
    assert len(np.unique(places)) == len(places)
    np.testing.assert_array_equal(scattered.reshape(volume.shape), volume)
    return volume


@pytest.mark.parametrize("limb", [0, len(COCO17.limbs) - 1])
def test_a_limb_is_as_high_as_its_lower_end_and_under_a_pixel_as_its_start(limb: int):
    a, b = COCO17.limbs[limb]
    for length, at_start, at_end in ((1.0, 0.5, 0.5), (4.0, 0.5, 0.5), (0.5, 0.9, 0.9 * np.exp(-0.5))):
        for step in ((length, 0), (0, length)):
            ends = {a: (10.0, 12.0, 0.9), b: (10 + step[0], 12 + step[1], 0.5)}
            volume = both_ways(*scene(ends, kind="limbs"))
            assert volume[2, limb, 12, 10] == pytest.approx(at_start)
            x, y = (11, 12) if step[0] else (10, 13)
            assert volume[2, limb, y, x] == pytest.approx(at_end)


@pytest.mark.parametrize("alone", [0, 1])
def test_persons_that_meet_in_one_joint_give_each_pixel_once(alone: int):
    many = {joint: (3.0 + joint, 9.0, 0.4) for joint in range(5)}
    one = {2: (5.5, 9.0, 0.8)}
    volume = both_ways(*scene(*((one, many) if alone == 0 else (many, one))))
    assert volume[2, 2].max() == pytest.approx(0.8 * np.exp(-0.125))


@pytest.mark.parametrize(("x", "y"), [(-3.5, 9), (-4.5, 9), (9, -3.5), (9, -4.5), (26.5, 9), (27, 9), (9, 26.5),
                                      (9, 27), (-1e30, 9), (9, 1e30), (23, 0.2)])  # fmt: skip
def test_joints_beside_the_heatmap_reach_into_it_by_three_sigma(x: float, y: float):
    info, keypoints = scene({4: (x, y, 1.0)})
    volume = both_ways(info, keypoints)
    assert (volume.max() > 0) == (min(x, y) > -4 and max(x, y) < 27)


@pytest.mark.parametrize("score", [0.0, 5e-5, 1e-4, 0.3, np.nan, np.inf])
def test_the_joints_that_are_drawn_are_those_that_are_not_missing(score: float):
    info, keypoints = scene({4: (8, 9, score), 5: (0, 9, 1), 6: (8, 0, 1), 7: (0, 0, 1), 8: (np.inf, 9, 1)})
    seen = heatmap_points(info, keypoints, use_scores=True)[3]
    np.testing.assert_array_equal(seen, ~joint_is_missing(keypoints[..., :2], keypoints[..., 2]))
