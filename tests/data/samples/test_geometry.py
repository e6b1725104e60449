"""Where keypoints lie in a crop: by hand, and to the last bit."""

import numpy as np
import pytest

from epam_data.samples.geometry import to_heatmap_pixels


def test_keypoints_move_through_video_and_crop() -> None:
    """Skeleton in 100 x 200, video 200 x 800 (x times 4, y times 2), crop (80, 20) ... (280, 70) into 56 x 112."""
    moved = to_heatmap_pixels(
        np.array([[20.0, 10.0], [70.0, 35.0], [45.0, 22.5]]), (100, 200), (200, 800), (80, 20, 280, 70), (56, 112)
    )
    np.testing.assert_allclose(moved, [[0, 0], [112, 56], [56, 28]], atol=1e-12)
    assert moved.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_order_of_operations_is_the_stated_one(dtype: type) -> None:
    """In float64, whatever the skeletons have; another order differs in the last bit for some of these joints."""
    keypoints = np.random.default_rng(0).uniform(-9, 99, (2, 5, 17, 2)).astype(dtype)
    moved = to_heatmap_pixels(keypoints, (90, 70), (95, 127), (3, 5, 80, 71), (56, 48))
    assert moved.shape == keypoints.shape and moved.dtype == np.float64
    for place in np.ndindex(2, 5, 17):
        x, y = map(float, keypoints[place])
        assert tuple(moved[place]) == ((x * (127 / 70) - 3) * 48 / 77, (y * (95 / 90) - 5) * 56 / 66)


def test_the_corners_of_the_box_are_those_of_the_image() -> None:
    box = (-10, 20, 30, 100)  # it may reach outside the video
    moved = to_heatmap_pixels(np.array([[-10, 20], [30, 100], [10, 60]]), (96, 128), (96, 128), box, (40, 60))
    assert moved.tolist() == [[0, 0], [60, 40], [30, 20]]
