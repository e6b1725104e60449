import numpy as np
import pytest

from epam_data.check.reference import reference_heatmap
from epam_data.check.rules.heatmaps import ROUNDING, HeatmapError, heatmap_error, nonzero_pixels, property_faults
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


def still(
    x: float, y: float, score: float = 0.9, sigma: float = 0.6, scale: float = 1.25
) -> tuple[SampleInfo, np.ndarray, np.ndarray]:
    """One joint, number 3, in every frame; its channel well inside the heatmap."""
    square = (SIZE, SIZE)
    info = sample_info(
        heatmap_size_px=SIZE, box=(0, 0, *square), image_size=square, video_size=square, sigma_px=sigma,
        heatmap_scale=scale,
    )  # fmt: skip
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


def test_an_empty_volume_of_nobody_differs_nowhere():
    info, keypoints, _ = still(12, 12)
    empty = np.zeros((6, 17, SIZE, SIZE), np.uint8)
    nowhere = HeatmapError(largest=0.0, frame=0, channel=0, x=0, y=0)
    assert heatmap_error(info, keypoints * 0, empty, use_scores=True, layout=COCO17) == nowhere
    assert heatmap_error(info, keypoints[:0], empty, use_scores=True, layout=COCO17) == nowhere


def test_an_error_is_allowed_up_to_the_tolerance():
    error = HeatmapError(largest=HEATMAP_TOLERANCE + ROUNDING, frame=0, channel=0, x=0, y=0)
    assert error.allowed and HEATMAP_TOLERANCE == 0.5 / 255 and ROUNDING == 1e-5
    assert not HeatmapError(largest=HEATMAP_TOLERANCE + 2 * ROUNDING, frame=0, channel=0, x=0, y=0).allowed


def test_half_a_level_is_rounding_and_a_level_is_not():
    for stored, wanted in ((100, 100.5), (101, 100.5)):
        info, keypoints, heatmap = still(12, 15, score=wanted / 255, scale=1.0)
        heatmap[:, 3, 15, 12] = stored
        assert faults(info, keypoints, heatmap) == ""
    info, keypoints, heatmap = still(12, 15, score=254 / 255, scale=1.0)
    heatmap[:, 3, 15, 12] = 255
    assert "a channel's peak exceeds its joint's score by 0.0039 at frame 0, channel 3" in faults(
        info, keypoints, heatmap
    )
    heatmap[:, 3, 15, 12] = 253
    assert "the pixel at a joint is too low by 0.0039 at frame 0, channel 3" in faults(info, keypoints, heatmap)


def test_a_missing_person_lends_no_height():
    info, keypoints, heatmap = still(12, 15, score=0.3)
    both = np.concatenate([np.zeros_like(keypoints), keypoints])
    heatmap[1, 3] *= 2
    assert "a channel's peak exceeds its joint's score by 0.298" in faults(info, both, heatmap)


@pytest.mark.parametrize(("sigma", "allowed"), [(0.4, 0.220), (0.6, 0.125), (2.0, 0.935)])
def test_the_mass_may_be_off_by_what_sampling_and_rounding_explain(sigma: float, allowed: float):
    info, keypoints, heatmap = still(14, 14, sigma=sigma)
    level, full = info.heatmap_scale / 255, 2 * np.pi * sigma**2 * 0.9
    for off, is_fault in ((allowed - 0.01, False), (allowed + 0.01, True)):
        changed = heatmap.copy()
        missing = round((full + off) / level - changed[4, 3].sum())
        changed[4, 3, 0, :8] = np.diff(np.linspace(0, missing, 9).round())  # far from the joint
        assert ("the mass of a channel is not that of a Gaussian" in faults(info, keypoints, changed)) == is_fault


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (-2, 0), (0, 2), (0, -2)])
def test_the_centroid_may_be_off_by_what_sampling_and_rounding_explain(dx: int, dy: int):
    info, keypoints, heatmap = still(14, 14)
    allowed = 0.0874  # pixels: 0.03, and what a Gaussian of this sigma and height gives by itself
    places = np.arange(SIZE) - 14
    for _ in range(60):
        mass = heatmap[4, 3].sum()
        off = max(abs(heatmap[4, 3].sum(axis=axis) @ places) / mass for axis in (0, 1))
        if abs(off - allowed) > 0.002:
            said = "the centroid of a channel is off its joint" in faults(info, keypoints, heatmap)
            assert said == (off > allowed), off
        heatmap[4, 3, 14 + dy, 14 + dx] += 1
    assert off > 2 * allowed


@pytest.mark.parametrize(
    ("x", "y", "is_asked"),
    [(7, 14, True), (14, 7, True), (20, 14, True), (14, 20, True),
     (6.9, 14, False), (14, 6.9, False), (20.1, 14, False), (14, 20.1, False)],
)  # fmt: skip
def test_moments_are_asked_for_where_a_whole_gaussian_fits(x: float, y: float, is_asked: bool):
    """3 sigma and a pixel from each border of 28 pixels, whose centres are 0 and 27."""
    info, keypoints, heatmap = still(x, y, sigma=2.0)
    wide = (np.sqrt(heatmap / 255) * 255).astype(np.uint8)
    assert ("the mass of a channel is not that of a Gaussian" in faults(info, keypoints, wide)) == is_asked


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("at", "is_asked"), [(-0.5, False), (-0.4, True), (0.4, True), (26.6, True), (27.4, True), (27.5, False)]
)
def test_joints_whose_pixel_is_in_the_heatmap_are_asked_for(axis: int, at: float, is_asked: bool):
    info, keypoints, heatmap = still(*((at, 12) if axis == 0 else (12, at)))
    assert faults(info, keypoints, heatmap) == ""
    assert ("the pixel at a joint is too low by" in faults(info, keypoints, heatmap * 0)) == is_asked


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_no_number_is_a_fault():
    info, keypoints = clip()
    heatmap = drawn(info, keypoints)
    keypoints = keypoints.astype(np.float64)
    keypoints[0, 1, 2, 2] = 1e308  # a Gaussian of infinite mass
    assert (
        "the mass of a channel is not that of a Gaussian; error beyond rounding: nan at frame 1, channel 2"
        in faults(info, keypoints, heatmap)
    )
