"""Keypoints in heatmap pixels: drawn, they are the stored heatmap; cropped, that of the smaller box."""

from dataclasses import replace

import numpy as np
import pytest

from epam_data.check.reference import reference_heatmap
from epam_data.samples.heatmap import draw_joints
from epam_data.schema import SampleInfo
from epam_data.skeleton import COCO17
from epam_data.stream.order.draws import WHOLE
from epam_data.stream.order.keypoints import heatmap_keypoints
from tests.data.raw_data import sample_info

INFO = sample_info(image_size=(90, 120), video_size=(180, 240), box=(10, 12, 74, 92), heatmap_size_px=16)


def skeleton(persons: int = 2, seed: int = 0) -> np.ndarray:
    """(M, 6, 17, 3) float16, some joints missing in each of the published ways."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform((0, 0, 0.3), (50, 60, 1.1), (persons, 6, 17, 3))
    keypoints[0, 0, 0, :2] = 0
    keypoints[0, 1, 1, 0] = np.nan
    keypoints[0, 2, 2, 2] = 5e-5
    keypoints[0, 3, 3, 2] = np.nan
    return keypoints.astype(np.float16)


def drawn(info: SampleInfo, crop: tuple[float, float, float, float] = WHOLE, use_scores: bool = True) -> np.ndarray:
    size = info.heatmap_size_px
    made = heatmap_keypoints(info, skeleton(), crop, size, use_scores=use_scores, max_persons=3)
    assert made.shape == (3, 6, 17, 3) and made.dtype == np.float64 and np.isfinite(made).all()
    assert not made[2].any(), "persons that are not there are missing"
    return draw_joints(made[..., :2], made[..., 2], (size, size), info.sigma_px)


@pytest.mark.parametrize("use_scores", [True, False])
def test_without_a_crop_they_draw_the_reference(use_scores: bool) -> None:
    np.testing.assert_allclose(
        drawn(INFO, use_scores=use_scores), reference_heatmap(INFO, skeleton(), use_scores, COCO17), atol=1e-6
    )


def test_a_crop_draws_the_reference_of_the_smaller_box() -> None:
    """A quarter off on the left, an eighth at the top and at the bottom: 64 x 80 video pixels become 48 x 60."""
    smaller = replace(INFO, box=(26, 22, 74, 82))
    expected = reference_heatmap(smaller, skeleton(), True, COCO17)
    np.testing.assert_allclose(drawn(INFO, crop=(0.25, 0.125, 1.0, 0.875)), expected, atol=1e-6)
    assert np.abs(expected - reference_heatmap(INFO, skeleton(), True, COCO17)).max() > 0.1


def test_more_persons_than_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^has 2 persons, stream\.max_persons is 1$"):
        heatmap_keypoints(INFO, skeleton(), WHOLE, 16, use_scores=True, max_persons=1)
