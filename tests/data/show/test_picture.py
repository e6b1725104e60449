from dataclasses import replace

import numpy as np

from epam_data.schema import Sample
from epam_data.show.picture import as_text, contact_sheet, overlay
from epam_data.skeleton import COCO17
from tests.data.raw_data import make_sample, sample_info

SIZE = 192  # frames of 16 pixels are enlarged


def panels(image) -> np.ndarray:
    """(3, SIZE, SIZE, 3): frame, skeleton, heatmap."""
    return np.asarray(image).astype(int).reshape(SIZE, 3, SIZE, 3).swapaxes(0, 1)


def test_overlay_shows_frame_skeleton_and_heatmap_side_by_side():
    sample = make_sample()
    frame, skeleton, heat = panels(overlay(sample, 2))
    small = frame.reshape(16, 12, 16, 12, 3).mean(axis=(1, 3))
    assert np.abs(small - sample.frames[2]).max() < 12
    assert (skeleton != frame).any() and (heat != frame).any()
    assert contact_sheet(sample, num_frames=3).size == (3 * SIZE, 3 * SIZE)


def test_large_frames_keep_their_size():
    sample = make_sample(rgb_size_px=200)
    assert overlay(sample, 0).size == (600, 200)
    np.testing.assert_array_equal(np.asarray(overlay(sample, 0))[:, :200], sample.frames[0])


def test_the_flip_mirrors_every_panel_but_the_sides_keep_their_colours():
    """One arm on the image's left: in the mirror it is on the right, and a right arm, so its colour changes."""
    info = sample_info(rgb_size_px=192, image_size=(192, 192), video_size=(192, 192), box=(0, 0, 192, 192))
    keypoints = np.zeros((1, 6, 17, 3), np.float32)
    keypoints[0, 0, 5], keypoints[0, 0, 7] = (40, 50, 1), (40, 90, 1)  # left shoulder and elbow
    heatmap = np.zeros((6, 17, 8, 8), np.uint8)
    heatmap[0, 5, 2, 1] = 255
    frames = np.full((6, 192, 192, 3), 100, np.uint8)
    frames[:, :, :20] = 0
    sample = Sample(info=info, keypoints=keypoints, heatmap=heatmap, frames=frames)
    plain, mirrored = panels(overlay(sample, 0)), panels(overlay(sample, 0, flip=True))
    np.testing.assert_array_equal(mirrored[0], plain[0][:, ::-1])
    np.testing.assert_array_equal(mirrored[2], plain[2][:, ::-1])
    blue, orange = plain[1][70, 40], mirrored[1][70, 191 - 40]
    assert blue[2] > blue[0] + 50 and orange[0] > orange[2] + 50


def test_joints_that_only_a_manifest_knows_are_drawn_by_its_layout_or_without_limbs():
    known = make_sample(rgb_size_px=64)
    other = replace(known, info=replace(known.info, skeleton="other"))
    np.testing.assert_array_equal(overlay(other, 0, layout=COCO17), overlay(known, 0))
    np.testing.assert_array_equal(contact_sheet(other, 1, layout=COCO17), contact_sheet(known, 1))
    joints = replace(COCO17, name="other", limbs=())
    np.testing.assert_array_equal(overlay(other, 0), overlay(other, 0, layout=joints))
    assert (np.asarray(overlay(other, 0)) != np.asarray(overlay(known, 0))).any()


def test_heat_reddens_its_place_and_missing_joints_are_not_drawn():
    heatmap = np.zeros((6, 17, 8, 8), np.uint8)
    heatmap[0, 3, 6, 1] = 255
    frames = np.full((6, 16, 16, 3), 100, np.uint8)
    keypoints = np.zeros((1, 6, 17, 3), np.float16)
    sample = Sample(info=sample_info(), keypoints=keypoints, heatmap=heatmap, frames=frames)
    _, skeleton, hot = panels(overlay(sample, 0))
    assert (skeleton == 100).all()  # no joint to draw
    row, column = np.unravel_index(hot[..., 0].argmax(), (SIZE, SIZE))
    assert abs(row - 6.5 * 24) < 24 and abs(column - 1.5 * 24) < 24
    assert hot[row, column, 0] > hot[row, column, 1] + 50 and hot[10, 180].tolist() == [75, 75, 75]


def test_a_picture_as_text_has_two_pixels_a_character():
    image = overlay(make_sample(), 0)
    lines = as_text(image, 30).split("\n")
    assert len(lines) == 5 and all(line.count("\N{UPPER HALF BLOCK}") == 30 for line in lines)
    first = np.asarray(image.resize((30, 10), 4))[0, 0]  # 4: box
    assert lines[0].startswith("\x1b[38;2;" + ";".join(map(str, first)))
