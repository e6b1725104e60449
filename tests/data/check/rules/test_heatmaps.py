import numpy as np
import pytest

from epam_data.check.reference import reference_heatmap
from epam_data.check.rules.heatmaps import heatmap_error, nonzero_pixels, property_faults
from epam_data.samples.heatmap import quantise
from epam_data.samples.prepare import draw_heatmap
from epam_data.schema import SampleInfo
from epam_data.shards.codec import HEATMAP_TOLERANCE
from epam_data.skeleton import COCO17, joint_is_missing
from tests.data.raw_data import sample_info

SIZE = 28


def clip(
    kind: str = "joints", num_persons: int = 1, seed: int = 0, sigma: float = 0.6
) -> tuple[SampleInfo, np.ndarray]:
    """Geometry and keypoints: everything that a set may hold, missing joints and scores over 1 among it."""
    rng = np.random.default_rng(seed)
    info = sample_info(heatmap_kind=kind, heatmap_size_px=SIZE, box=(0, 0, 96, 96), sigma_px=sigma, heatmap_scale=1.2)
    keypoints = rng.uniform(-6, 102, (num_persons, 6, 17, 3))
    keypoints[..., 2] = rng.uniform(0.05, 1.2, keypoints.shape[:-1])
    keypoints[rng.random(keypoints.shape[:-1]) < 0.1] = 0
    keypoints[0, 2, 2, 0] = np.nan
    return info, keypoints.astype(np.float32)


def drawn(info: SampleInfo, keypoints: np.ndarray, use_scores: bool = True) -> np.ndarray:
    """What a build stores."""
    missing = joint_is_missing(keypoints[..., :2], keypoints[..., 2])
    heights = np.where(missing, 0, keypoints[..., 2] if use_scores else 1)
    return quantise(draw_heatmap(info, keypoints[..., :2], heights, COCO17), info.heatmap_scale)


@pytest.mark.parametrize("kind", ["joints", "limbs"])
@pytest.mark.parametrize("num_persons", [0, 1, 2])
@pytest.mark.parametrize(
    ("seed", "sigma", "use_scores"), [(0, 0.6, True), (1, 0.7, True), (2, 1.5, False), (3, 0.4, True)]
)
def test_what_a_build_draws_raises_no_alarm(kind: str, num_persons: int, seed: int, sigma: float, use_scores: bool):
    if not num_persons:
        info, keypoints = clip(kind, 1, seed, sigma)
        keypoints = keypoints[:0]
    else:
        info, keypoints = clip(kind, num_persons, seed, sigma)
    heatmap = drawn(info, keypoints, use_scores)
    error = heatmap_error(info, keypoints, heatmap, use_scores, COCO17)
    assert error.allowed and error.largest <= HEATMAP_TOLERANCE + 1e-5
    assert list(property_faults(info, keypoints, heatmap, use_scores, COCO17)) == []


@pytest.mark.parametrize("kind", ["joints", "limbs"])
def test_the_error_is_that_of_the_whole_volume(kind: str):
    info, keypoints = clip(kind, 2)
    rng = np.random.default_rng(1)
    heatmap = drawn(info, keypoints)
    for _ in range(30):
        changed = heatmap.copy()
        place = tuple(int(rng.integers(n)) for n in changed.shape)
        changed[place] = rng.integers(256)
        reference = reference_heatmap(info, keypoints, use_scores=True, layout=COCO17) / info.heatmap_scale
        whole = np.abs(changed / 255 - reference)
        error = heatmap_error(info, keypoints, changed, use_scores=True, layout=COCO17)
        assert error.largest == pytest.approx(whole.max(), abs=1e-12)
        assert whole[error.frame, error.channel, error.y, error.x] == pytest.approx(whole.max(), abs=1e-12)


def test_a_level_more_is_found_and_named():
    info, keypoints = clip()
    heatmap = drawn(info, keypoints)
    heatmap[3, 5, 20, 7] += 1
    error = heatmap_error(info, keypoints, heatmap, use_scores=True, layout=COCO17)
    assert not error.allowed and "frame 3, channel 5, pixel (7, 20)" in str(error)


def faults(info: SampleInfo, keypoints: np.ndarray, heatmap: np.ndarray) -> str:
    return "\n".join(property_faults(info, keypoints, heatmap, use_scores=True, layout=COCO17))


def still(x: float, y: float, score: float = 0.9) -> tuple[SampleInfo, np.ndarray, np.ndarray]:
    """One joint, number 3, in every frame; its channel well inside the heatmap."""
    info = sample_info(heatmap_size_px=SIZE, box=(0, 0, SIZE, SIZE), image_size=(SIZE, SIZE), video_size=(SIZE, SIZE))
    keypoints = np.zeros((1, 6, 17, 3), np.float32)
    keypoints[0, :, 3] = x, y, score
    return info, keypoints, drawn(info, keypoints)


def test_properties_that_do_not_hold_are_named():
    info, keypoints, heatmap = still(12.3, 15.6)
    assert faults(info, keypoints, heatmap) == ""
    ghost = heatmap.copy()
    ghost[4, 9, 2, 2] = 30
    assert "a channel without a visible joint must be empty" in faults(info, keypoints, ghost)
    assert "at frame 4, channel 9" in faults(info, keypoints, ghost)
    bright = heatmap.copy()
    bright[1, 3] = (bright[1, 3] * 1.5).clip(0, 255)
    assert "peak exceeds its joint's score" in faults(info, keypoints, bright)
    wiped = heatmap.copy()
    wiped[2] = 0
    assert "the pixel at a joint is too low by" in faults(info, keypoints, wiped)
    assert "frame 2, channel 3" in faults(
        info, keypoints, np.where(np.arange(6)[:, None, None, None] == 2, 0, heatmap).astype(np.uint8)
    )


def test_a_moved_blob_has_another_centroid_and_a_wide_one_another_mass():
    info, keypoints, heatmap = still(12.4, 15.5)
    near = drawn(info, np.where(np.arange(3) == 0, keypoints + 0.3, keypoints) * (keypoints != 0))
    assert "the centroid of a channel is off its joint" in faults(info, keypoints, near)
    wide = (np.sqrt(heatmap / 255) * 255).astype(np.uint8)
    assert "the mass of a channel is not that of a Gaussian" in faults(info, keypoints, wide)


def test_each_of_two_persons_is_asked_for():
    info, keypoints = clip(num_persons=2, seed=4)
    alone = drawn(info, keypoints[:1])
    assert "the pixel at a joint is too low by" in faults(info, keypoints, alone)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 9, 9), (3, 5, 7, 7)])
def test_nonzero_pixels_are_numpys(shape: tuple[int, ...]):
    volume = np.where(np.random.default_rng(0).random(shape) < 0.1, 7, 0).astype(np.uint8)
    np.testing.assert_array_equal(nonzero_pixels(volume), np.flatnonzero(volume))


@pytest.mark.parametrize(("x", "y"), [(12, 27), (27, 12), (0, 9), (9, 0)])
def test_joints_on_the_border_are_asked_for(x: float, y: float):
    info, keypoints, heatmap = still(x, y)
    assert faults(info, keypoints, heatmap) == ""
    heatmap[3, 3, y, x] = 0
    assert "the pixel at a joint is too low by" in faults(info, keypoints, heatmap)


def test_moments_are_asked_for_where_one_of_two_persons_is_missing():
    info, keypoints, heatmap = still(12.4, 15.5)
    both = np.concatenate([np.zeros_like(keypoints), keypoints])
    assert faults(info, both, heatmap) == ""
    wide = (np.sqrt(heatmap / 255) * 255).astype(np.uint8)
    assert "the mass of a channel is not that of a Gaussian" in faults(info, both, wide)
