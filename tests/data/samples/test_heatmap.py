"""The renderer against a slow, obvious reference, and the laws of heatmaps."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from epam_data import generate_pose_heatmap
from epam_data.samples.heatmap import _compiled, draw_joints, draw_limbs, heatmap_scale, quantise
from epam_data.shards.codec import HEATMAP_TOLERANCE
from epam_data.skeleton import COCO17

SIZE = (14, 18)
LIMBS = ((0, 1), (1, 2), (2, 0))


def is_missing(x: float, y: float, score: float) -> bool:
    return not score >= 1e-4 or math.isnan(x) or math.isnan(y)


def window(low: float, high: float, sigma: float, length: int) -> range:
    """Pixels from 3 sigma below `low` to 3 sigma above `high`; int() truncates towards zero."""
    return range(max(int(low - 3 * sigma), 0), min(int(high + 3 * sigma) + 1, length))


def reference_joints(keypoints: np.ndarray, scores: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
    """(T, V, h, w) float64, one pixel after the other."""
    num_persons, num_frames, num_joints = scores.shape
    out = np.zeros((num_frames, num_joints, *size))
    for m, t, v in np.ndindex(num_persons, num_frames, num_joints):
        mu_x, mu_y, score = float(keypoints[m, t, v, 0]), float(keypoints[m, t, v, 1]), float(scores[m, t, v])
        if is_missing(mu_x, mu_y, score):
            continue
        for y in window(mu_y, mu_y, sigma, size[0]):
            for x in window(mu_x, mu_x, sigma, size[1]):
                value = score * math.exp(-((x - mu_x) ** 2 + (y - mu_y) ** 2) / (2 * sigma**2))
                out[t, v, y, x] = max(out[t, v, y, x], value)
    return out


def distance_to_segment(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    along = end - start
    share = float(np.dot(point - start, along) / np.dot(along, along))
    if share <= 0:
        return float(np.linalg.norm(point - start))
    if share >= 1:
        return float(np.linalg.norm(point - end))
    return float(np.linalg.norm(point - start - share * along))


def reference_limbs(
    keypoints: np.ndarray, scores: np.ndarray, limbs: tuple, size: tuple[int, int], sigma: float
) -> np.ndarray:
    """(T, L, h, w) float64, one pixel after the other."""
    num_persons, num_frames, _ = scores.shape
    out = np.zeros((num_frames, len(limbs), *size))
    for m, t, (number, (a, b)) in ((m, t, n) for m, t in np.ndindex(num_persons, num_frames) for n in enumerate(limbs)):
        start, end = keypoints[m, t, a].astype(np.float64), keypoints[m, t, b].astype(np.float64)
        score_a, score_b = float(scores[m, t, a]), float(scores[m, t, b])
        if is_missing(*start, score_a) or is_missing(*end, score_b):
            continue
        if ((end - start) ** 2).sum() < 1:
            point = reference_joints(start[None, None, None], np.array([[[score_a]]]), size, sigma)[0, 0]
            out[t, number] = np.maximum(out[t, number], point)
            continue
        for y in window(min(start[1], end[1]), max(start[1], end[1]), sigma, size[0]):
            for x in window(min(start[0], end[0]), max(start[0], end[0]), sigma, size[1]):
                distance = distance_to_segment(np.array([x, y], float), start, end)
                value = min(score_a, score_b) * math.exp(-(distance**2) / (2 * sigma**2))
                out[t, number, y, x] = max(out[t, number, y, x], value)
    return out


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("sigma", [0.6, 0.7])
def test_whole_skeletons_equal_the_reference(sigma: float, dtype: type) -> None:
    rng = np.random.default_rng(7)
    keypoints = rng.uniform(-4, 60, (2, 5, 17, 2)).astype(dtype)
    scores = rng.uniform(0, 1.1, (2, 5, 17)).astype(dtype)
    keypoints[0, 1, 3:6] = np.nan
    keypoints[1, 2] = 0
    scores[0, 3] = 0
    joints = draw_joints(keypoints, scores, (56, 56), sigma)
    np.testing.assert_allclose(joints, reference_joints(keypoints, scores, (56, 56), sigma), rtol=0, atol=1e-6)
    limbs = draw_limbs(keypoints, scores, COCO17.limbs, (56, 56), sigma)
    expected = reference_limbs(keypoints, scores, COCO17.limbs, (56, 56), sigma)
    np.testing.assert_allclose(limbs, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.6, 0.7])
def test_window_bounds_are_taken_in_float64(sigma: float) -> None:
    """Joints at which mu - 3 sigma falls on another side of an integer in float32; they would lose a pixel."""
    mu = np.float32(3 * sigma) + np.arange(1, 40, dtype=np.float32)
    with np.errstate(all="ignore"):
        in_float32 = (mu - np.float32(3 * sigma)).astype(int)
    differs = np.array([int(float(m) - 3 * sigma) for m in mu]) != in_float32
    assert differs.any()
    for one in mu[differs]:
        points = np.full((1, 1, 1, 2), one, np.float32)
        expected = reference_joints(points, np.ones((1, 1, 1)), (48, 48), sigma)
        np.testing.assert_allclose(draw_joints(points, np.ones((1, 1, 1)), (48, 48), sigma), expected, atol=1e-6)


def test_a_joint_by_hand() -> None:
    """mu (5.2, 3.0), sigma 0.6: columns 3 ... 7, rows 1 ... 4 (int(4.8) + 1 exclusive)."""
    volume = draw_joints(np.array([[[[5.2, 3.0]]]]), np.array([[[0.5]]]), (8, 10), 0.6)[0, 0]
    rows, columns = np.nonzero(volume)
    assert (sorted(set(rows.tolist())), sorted(set(columns.tolist()))) == ([1, 2, 3, 4], [3, 4, 5, 6, 7])
    assert volume[3, 5] == pytest.approx(0.5 * math.exp(-0.04 / 0.72), abs=1e-6)
    assert volume[1, 3] == pytest.approx(0.5 * math.exp(-(2.2**2 + 2**2) / 0.72), abs=1e-6)


def test_a_window_truncates_towards_zero_at_the_image_corner() -> None:
    """mu -1.9, sigma 0.6: int(-0.1) + 1 = 1, so column 0 is painted; at mu -2.9 int(-1.1) + 1 = 0: nothing is."""
    for mu, painted in ((-1.9, True), (-2.7, True), (-2.9, False)):
        volume = draw_joints(np.array([[[[mu, 4.0]]]]), np.ones((1, 1, 1)), (8, 8), 0.6)
        assert bool(volume.any()) is painted
        assert not volume[..., 1:].any()


def test_persons_combine_by_maximum() -> None:
    rng = np.random.default_rng(0)
    keypoints, scores = rng.uniform(2, 12, (3, 2, 4, 2)), rng.uniform(0.2, 1, (3, 2, 4))
    for draw in (draw_joints, lambda k, s, *rest: draw_limbs(k, s, LIMBS, *rest)):
        each = [draw(keypoints[m : m + 1], scores[m : m + 1], SIZE, 0.6) for m in range(3)]
        np.testing.assert_array_equal(draw(keypoints, scores, SIZE, 0.6), np.maximum.reduce(each))


@pytest.mark.parametrize("score", [np.nan, 9e-5, 0, np.inf])
def test_a_missing_end_leaves_its_limbs_empty(score: float) -> None:
    keypoints = np.array([[[[3.0, 3.0], [9.0, 3.0], [9.0, 9.0]]]])
    scores = np.array([[[score, 1.0, 1.0]]])
    volume = draw_limbs(keypoints, scores, LIMBS, SIZE, 0.6)[0]
    assert [bool(channel.any()) for channel in volume] == [False, True, False]


def test_a_limb_has_the_lower_score_and_a_short_one_its_start() -> None:
    keypoints = np.array([[[[3.0, 3.0], [9.0, 3.0], [9.9, 3.0]]]])
    volume = draw_limbs(keypoints, np.array([[[0.25, 0.75, 0.5]]]), ((0, 1), (1, 2), (2, 1)), SIZE, 0.6)[0]
    assert volume[0].max() == 0.25 and (volume[0, 3, 3:10] == 0.25).all()
    assert volume[1].max() == 0.75 and volume[1].argmax() == 3 * SIZE[1] + 9
    assert volume[2].max() == pytest.approx(0.5 * math.exp(-0.01 / 0.72), abs=1e-6)
    assert volume[1, 3, 10] == pytest.approx(0.75 * math.exp(-1 / 0.72), abs=1e-6), "the end, at 9.9, does not show"


@pytest.mark.parametrize(("length", "is_point"), [(0.99, True), (1.0, False), (1.2, False), (1.5, False)])
def test_a_limb_of_a_pixel_is_a_segment(length: float, is_point: bool) -> None:
    keypoints, scores = np.array([[[[3.0, 4.0], [3.0 + length, 4.0]]]]), np.array([[[0.9, 0.5]]])
    volume = draw_limbs(keypoints, scores, ((0, 1),), SIZE, 0.6)
    expected = reference_limbs(keypoints, scores, ((0, 1),), SIZE, 0.6)
    np.testing.assert_allclose(volume, expected, rtol=0, atol=1e-6)
    assert volume.max() == np.float32(0.9 if is_point else 0.5)


def test_a_layout_without_limbs_has_no_channel() -> None:
    assert draw_limbs(np.zeros((1, 4, 3, 2)), np.ones((1, 4, 3)), (), SIZE, 0.6).shape == (4, 0, *SIZE)


def test_a_score_of_exactly_the_least_counts() -> None:
    for kind, score in ((np.float64, 1e-4), (np.float64, 9.99e-5)):
        volume = draw_joints(np.full((1, 1, 1, 2), 3.0, kind), np.full((1, 1, 1), score, kind), SIZE, 0.6)
        assert bool(volume.any()) is (score >= 1e-4)


def test_infinite_values_render_nothing() -> None:
    for bad in (np.inf, -np.inf):
        assert not draw_joints(np.array([[[[bad, 3.0]]]]), np.ones((1, 1, 1)), SIZE, 0.6).any()
        assert not draw_joints(np.full((1, 1, 1, 2), 3.0), np.full((1, 1, 1), bad), SIZE, 0.6).any()


@pytest.mark.parametrize("far", [1e9, -1e9, 3e38, -3e38])
def test_joints_very_far_outside_render_nothing(far: float) -> None:
    for point in ([far, 3.0], [3.0, far], [far, far]):
        assert not draw_joints(np.array([[[point]]], np.float32), np.ones((1, 1, 1)), SIZE, 0.6).any()


def test_inputs_are_not_changed() -> None:
    keypoints, scores = np.full((1, 1, 2, 2), np.nan), np.ones((1, 1, 2))
    draw_joints(keypoints, scores, SIZE, 0.6)
    assert np.isnan(keypoints).all() and (scores == 1).all()


def test_generate_pose_heatmap_puts_joints_first() -> None:
    rng = np.random.default_rng(1)
    keypoints = rng.uniform(1, 12, (5, 17, 3))
    keypoints[..., 2] = rng.uniform(0, 1, (5, 17))
    volume = generate_pose_heatmap(keypoints, SIZE)
    assert volume.shape == (17, 5, *SIZE) and volume.dtype == np.float32 and volume.flags["C_CONTIGUOUS"]
    expected = reference_joints(keypoints[None, ..., :2], keypoints[None, ..., 2], SIZE, 0.6)
    np.testing.assert_allclose(volume, expected.transpose(1, 0, 2, 3), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(generate_pose_heatmap(keypoints, 14), generate_pose_heatmap(keypoints, (14, 14)))
    assert not np.array_equal(volume, generate_pose_heatmap(keypoints, SIZE, sigma=0.7))


def test_generate_pose_heatmap_takes_whole_numbers_of_any_kind() -> None:
    keypoints = np.random.default_rng(1).uniform(1, 50, (2, 3, 3))
    expected = generate_pose_heatmap(keypoints, 56)
    assert expected.shape == (3, 2, 56, 56)
    for size in (np.int64(56), np.uint8(56), np.array(56), (np.int32(56), 56), [56, 56], np.array([56, 56])):
        np.testing.assert_array_equal(generate_pose_heatmap(keypoints, size), expected)  # type: ignore[arg-type]
    np.testing.assert_array_equal(generate_pose_heatmap(keypoints), expected)
    assert generate_pose_heatmap(keypoints, (np.int64(20), 30)).shape == (3, 2, 20, 30)


@pytest.mark.parametrize("size", [56.0, "56", None, 0, -1, (56,), (56, 56, 56), (56, 0), (5.5, 6), [[1], [2, 3]]])
def test_generate_pose_heatmap_refuses_what_is_no_size(size: object) -> None:
    message = f"img_size must be a whole number of pixels, or height and width, got {size}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        generate_pose_heatmap(np.zeros((2, 3, 3)), size)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(5, 17, 2), (1, 5, 17, 3), (17, 3)])
def test_generate_pose_heatmap_names_the_shape(shape: tuple[int, ...]) -> None:
    message = f"keypoints must be (T, V, 3): x, y, score; got {shape}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        generate_pose_heatmap(np.zeros(shape), 56)


def test_wrong_shapes_and_sigmas_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"^keypoints must be \(M, T, V, 2\) and scores \(M, T, V\), got \(1, 2, 3, 2\) and \(1, 2, 4\)$",
    ):
        draw_joints(np.zeros((1, 2, 3, 2)), np.zeros((1, 2, 4)), SIZE, 0.6)
    for sigma in (0, -1, math.nan):
        with pytest.raises(ValueError, match=rf"^sigma must be > 0 heatmap pixels, got {sigma}$"):
            draw_joints(np.zeros((1, 2, 3, 2)), np.zeros((1, 2, 3)), SIZE, sigma)


@given(
    heatmap=hnp.arrays(np.float32, (4, 5), elements=st.floats(0, 1.5, width=32)),
    scale=st.floats(1.5, 3),
)
def test_quantisation_stays_within_its_tolerance(heatmap: np.ndarray, scale: float) -> None:
    levels = quantise(heatmap, scale)
    assert levels.dtype == np.uint8
    error = np.abs(levels.astype(np.float64) * scale / 255 - heatmap)
    assert error.max() <= HEATMAP_TOLERANCE * scale + 1e-6


def test_full_scale_is_255() -> None:
    for scale in (1.0, 1.0625, 1.1, 1.3):
        assert quantise(np.array([[scale, 0]], np.float32), scale).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("scores", "scale"),
    [
        ([0.2, 0.9], 1.0),
        ([0.2, 1.25], 1.25),
        ([math.nan, 0.5], 1.0),
        ([math.nan, 1.5, math.inf], 1.5),
        ([], 1.0),
        ([math.nan], 1.0),
    ],
)
def test_the_scale_is_the_largest_score_and_at_least_1(scores: list[float], scale: float) -> None:
    assert heatmap_scale(np.array(scores, np.float16)) == scale


def test_the_origin_is_a_missing_joint_in_the_skeletons_pixels_only() -> None:
    """`generate_pose_heatmap` takes an annotation's pixels, where (0, 0) says missing; a crop's corner is a place."""
    keypoints = np.zeros((2, 3, 3), np.float32)
    keypoints[..., 2] = 1
    assert generate_pose_heatmap(keypoints, 8).max() == 0
    assert draw_joints(keypoints[None, ..., :2], keypoints[None, ..., 2], (8, 8), 0.6)[0, 0, 0, 0] == 1


# Behind the tests by hand: where those fail, a search for the smallest example takes long and says no more.

COORDINATES = st.one_of(
    st.floats(-6, 24, width=32),
    st.integers(-3, 20).map(float),
    st.sampled_from([0.0, math.nan, -1e6, 1e6, 0.5, 17.5]),
)
SCORES = st.one_of(st.floats(0, 1.5, width=32), st.sampled_from([0.0, 1e-4, 9.9e-5, 2e-4, 1.0, math.nan, -0.5]))


@st.composite
def skeletons(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 2), st.just(3)))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    points = draw(hnp.arrays(np.float64, (*shape, 2), elements=COORDINATES))
    return points.astype(kind), draw(hnp.arrays(np.float64, shape, elements=SCORES)).astype(kind)


@settings(deadline=None, max_examples=150)
@given(skeleton=skeletons(), sigma=st.sampled_from([0.6, 0.7, 2.0]))
def test_joints_equal_the_reference(skeleton: tuple[np.ndarray, np.ndarray], sigma: float) -> None:
    volume = draw_joints(*skeleton, SIZE, sigma)
    assert volume.dtype == np.float32 and volume.shape == (skeleton[0].shape[1], 3, *SIZE)
    np.testing.assert_allclose(volume, reference_joints(*skeleton, SIZE, sigma), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=150)
@given(skeleton=skeletons(), sigma=st.sampled_from([0.6, 0.7, 2.0]))
def test_limbs_equal_the_reference(skeleton: tuple[np.ndarray, np.ndarray], sigma: float) -> None:
    volume = draw_limbs(*skeleton, LIMBS, SIZE, sigma)
    assert volume.dtype == np.float32 and volume.shape == (skeleton[0].shape[1], 3, *SIZE)
    np.testing.assert_allclose(volume, reference_limbs(*skeleton, LIMBS, SIZE, sigma), rtol=0, atol=1e-6)


def _doubled(value: float) -> float:
    return 2 * value


def test_without_a_folder_for_numba_each_process_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed read-only, and no home folder: numba then refuses to cache."""

    def refuse(self: object) -> None:
        raise RuntimeError("cannot cache function '_doubled': no locator available for file")

    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.enable_caching", refuse)
    assert _compiled(_doubled)(21.0) == 42.0
