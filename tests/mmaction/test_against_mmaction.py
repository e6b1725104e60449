"""Our sampling, boxes and heatmaps against MMAction2's own transforms (networks and head: see their own tests)."""

import numpy as np
import pytest
from mmaction.datasets.transforms import GeneratePoseTarget, MMCompact, MMUniformSampleFrames, UniformSampleFrames
from scipy.stats import chi2_contingency

from epam_data.samples.heatmap import draw_joints, draw_limbs
from epam_data.samples.prepare import person_box
from epam_data.skeleton import COCO17, LAYOUTS
from epam_data.stream import StreamSettings
from epam_data.stream.order.draws import draw_evaluation
from epam_data.stream.order.sampling import test_frames as repeatable_frames
from epam_data.stream.order.sampling import uniform_frames

LENGTHS = (8, 16, 32, 48)


def people(seed: int, joints: int, size_px: int, persons: int = 2, frames: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """(M, T, V, 2) and (M, T, V) float32: some joints beside the image, some without a score, persons that overlap."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(-0.1 * size_px, 1.1 * size_px, (persons, frames, joints, 2)).astype(np.float32)
    keypoints[1] = keypoints[0] + rng.normal(0, size_px / 50, keypoints[0].shape)
    scores = rng.uniform(0.05, 1.2, keypoints.shape[:3]).astype(np.float32)
    scores[rng.random(scores.shape) < 0.15] = 0
    return keypoints, scores


def their_heatmap(keypoints: np.ndarray, scores: np.ndarray, size_px: int, **settings) -> np.ndarray:
    results = {"keypoint": keypoints.copy(), "keypoint_score": scores.copy(), "img_shape": (size_px, size_px)}
    return GeneratePoseTarget(**settings).transform(results)["imgs"]


@pytest.mark.parametrize("use_score", [True, False])
@pytest.mark.parametrize(("size_px", "scaling"), [(224, 0.25), (256, 0.25), (56, 1.0)])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_generate_pose_target_joints(layout, size_px, scaling, use_score):
    for seed, sigma in ((0, 0.6), (1, 0.7), (2, 2.0)):
        keypoints, scores = people(seed, len(layout.joints), size_px)
        wanted = their_heatmap(
            keypoints, scores, size_px, sigma=sigma, use_score=use_score, with_kp=True, scaling=scaling
        )
        small = round(size_px * scaling)
        heights = scores if use_score else np.ones_like(scores)
        got = draw_joints(keypoints * np.float32(scaling), heights, (small, small), sigma)
        assert got.shape == wanted.shape and wanted.max() > 0.5
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_generate_pose_target_limbs(layout):
    """In float64 theirs are ours; their transform rounds coordinates to float32 on the way, up to 4e-6 of height."""
    for seed, sigma in ((3, 0.6), (4, 0.7), (5, 2.0)):
        keypoints, scores = people(seed, len(layout.joints), 56)
        keypoints[:, :, layout.limbs[0][1]] = keypoints[:, :, layout.limbs[0][0]] + 0.5  # a limb under a pixel
        got = draw_limbs(keypoints, scores, layout.limbs, (56, 56), sigma)
        settings = dict(sigma=sigma, with_kp=False, with_limb=True, skeletons=layout.limbs)
        wanted = their_heatmap(keypoints, scores, 56, **settings)
        exact = np.zeros(got.shape)
        for frame, out in enumerate(exact):
            people_there = keypoints[:, frame].astype(np.float64), scores[:, frame].astype(np.float64)
            GeneratePoseTarget(**settings).generate_heatmap(out, *people_there)
        assert got.shape == wanted.shape and wanted.max() > 0.5
        np.testing.assert_allclose(got, exact, rtol=0, atol=1e-6)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=5e-6)


@pytest.mark.parametrize("pad_image", [True, False])
def test_mm_compact(pad_image):
    """The same box, and keypoints that follow it; also where there is no person to speak of."""
    hw, compact = (240, 320), MMCompact(hw_ratio=1.0, allow_imgpad=pad_image)
    boxes = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        extent = rng.uniform(2, 120)
        centre = rng.uniform(60, 180, 2)
        keypoints = centre + rng.uniform(-extent, extent, (2, 5, 17, 2))
        missing = rng.random(keypoints.shape[:3]) < 0.2
        keypoints[missing] = 0
        wanted = compact._get_box(keypoints, hw)
        got = person_box(keypoints, missing, hw, pad_image=pad_image)
        assert got == wanted, seed
        boxes.add(got)
        moved = {"keypoint": keypoints.copy(), "img_shape": hw, "imgs": [np.zeros((*hw, 3), np.uint8)]}
        compact.transform(moved)
        shown = ~missing
        np.testing.assert_allclose(moved["keypoint"][shown], keypoints[shown] - got[:2])
        assert moved["img_shape"] == (got[3] - got[1], got[2] - got[0])
    assert (0, 0, 320, 240) in boxes and len(boxes) > 150


@pytest.mark.parametrize("num_clips", [1, 2, 10])
def test_uniform_sample_frames_at_test_time(num_clips):
    """The same indices, for every length of recording."""
    for length in LENGTHS:
        theirs = UniformSampleFrames(clip_len=length, num_clips=num_clips, test_mode=True)
        for num_frames in (*range(1, 130), 299, 300):
            wanted = theirs.transform({"total_frames": num_frames})["frame_inds"].reshape(num_clips, length)
            np.testing.assert_array_equal(repeatable_frames(num_frames, length, num_clips), wanted)


@pytest.mark.parametrize("num_clips", [1, 10])
def test_both_modalities_at_test_time(num_clips):
    settings = StreamSettings(rgb_frames=16, pose_frames=48, sampling="independent", num_clips=num_clips)
    theirs = MMUniformSampleFrames(clip_len={"RGB": 16, "Pose": 48}, num_clips=num_clips, test_mode=True)
    for num_frames in (5, 20, 40, 60, 103, 300):
        wanted = theirs.transform({"total_frames": num_frames, "modality": "Pose"})
        draws = draw_evaluation(num_frames, settings)
        np.testing.assert_array_equal(np.concatenate([draw.rgb_frames for draw in draws]), wanted["RGB_inds"])
        np.testing.assert_array_equal(np.concatenate([draw.pose_frames for draw in draws]), wanted["Pose_inds"])


@pytest.mark.parametrize(("num_frames", "length"), [(5, 8), (7, 5), (9, 5), (13, 4), (12, 4)])
def test_uniform_sample_frames_in_training(num_frames, length):
    """The same distribution over whole clips: two samples of 20,000, compared by a chi-squared test."""
    theirs, rng = UniformSampleFrames(clip_len=length), np.random.default_rng(6)
    np.random.seed(7)
    table: dict[bytes, list[int]] = {}
    for _ in range(20_000):
        for which, clip in enumerate(
            (
                uniform_frames(num_frames, length, rng),
                theirs.transform({"total_frames": num_frames})["frame_inds"].astype(np.int64),
            )
        ):
            table.setdefault(clip.tobytes(), [0, 0])[which] += 1
    assert 1 < len(table) < 200  # so that each clip is seen often
    assert chi2_contingency(np.array(list(table.values()))).pvalue > 1e-3


def test_the_limbs_are_those_that_mmaction2_draws_by_default():
    assert GeneratePoseTarget().skeletons == COCO17.limbs
