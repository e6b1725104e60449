import numpy as np

from epam_data.picture import contact_sheet, overlay
from epam_data.schema import Sample
from tests.data.raw_data import make_sample, sample_info


def test_overlay_shows_frame_skeleton_and_heatmap_side_by_side():
    sample = make_sample()
    image = np.asarray(overlay(sample, 2))
    assert image.shape == (16, 48, 3)
    np.testing.assert_array_equal(image[:, :16], sample.frames[2])
    assert contact_sheet(sample, num_frames=3).size == (48, 48)


def test_the_flip_mirrors_frame_and_heatmap():
    sample = make_sample()
    image = np.asarray(overlay(sample, 0, flip=True))
    assert image.shape == (16, 32, 3)
    np.testing.assert_array_equal(image[:, :16], sample.frames[0, :, ::-1])


def test_heat_reddens_its_place_and_missing_joints_are_not_drawn():
    info = sample_info()
    heatmap = np.zeros((6, 17, 8, 8), np.uint8)
    heatmap[0, 3, 6, 1] = 255
    frames = np.full((6, 16, 16, 3), 100, np.uint8)
    sample = Sample(info=info, keypoints=np.zeros((1, 6, 17, 3), np.float16), heatmap=heatmap, frames=frames)
    image = np.asarray(overlay(sample, 0)).astype(int)
    np.testing.assert_array_equal(image[:, 16:32], 100)  # no joint to draw
    hot = image[:, 32:]
    assert np.unravel_index(hot[..., 0].argmax(), (16, 16))[0] in (12, 13)
    assert hot[13, 3, 0] > hot[13, 3, 1] + 50 and hot[3, 13].tolist() == [75, 75, 75]
