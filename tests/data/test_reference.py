import numpy as np
import pytest

from epam_data.prepare import draw_heatmap
from epam_data.reference import reference_heatmap
from epam_data.skeleton import joint_is_missing
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
    keypoints[1, 2, 5, 2] = np.nan
    keypoints = keypoints.astype(np.float16)
    missing = joint_is_missing(keypoints[..., :2], keypoints[..., 2])
    heights = np.where(missing, 0, keypoints[..., 2] if use_scores else 1)
    ours = draw_heatmap(info, keypoints[..., :2], heights)
    assert ours.max() > 0.3
    np.testing.assert_allclose(ours, reference_heatmap(info, keypoints, use_scores), atol=1e-6)


def test_a_single_joint_by_hand():
    info = sample_info(heatmap_size_px=8, box=(0, 0, 8, 8), image_size=(8, 8), video_size=(8, 8), sigma_px=1.0)
    keypoints = np.zeros((1, 6, 17, 3))
    keypoints[0, 2, 4] = (3.0, 5.0, 0.5)
    volume = reference_heatmap(info, keypoints, use_scores=True)
    assert volume[2, 4, 5, 3] == 0.5
    assert volume[2, 4, 5, 4] == pytest.approx(0.5 * np.exp(-0.5))
    assert volume[2, 4, 5, 7] == 0  # beyond 3 sigma
    assert np.count_nonzero(volume.sum(axis=(2, 3))) == 1
