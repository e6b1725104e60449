"""What the benchmark measures against is EPAM-Net: its features are the published ones."""

import numpy as np
import pytest
import torch

from benchmarks.reference_epam import ReferenceEPAM
from epam_model.networks.recogniser import build_epam
from tests.model.golden import SMALL_SHAPES, TOLERANCE, draw_clips, fill, read_fixture


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
def test_features_are_the_published_ones(dtype):
    recogniser, reference = build_epam(60), ReferenceEPAM()
    fill(recogniser)
    reference.load_state_dict(recogniser.backbone.state_dict(), strict=True)
    with torch.no_grad():
        rgb, pose = reference.to(dtype).eval()(*draw_clips(SMALL_SHAPES, dtype))
    published = read_fixture()["outputs"]["CBAM_spatial_efficient_temporal"]
    for name, output in (("attended", rgb), ("pose_backbone", pose)):
        sample = output.reshape(-1)[published[name]["positions"]].numpy()
        np.testing.assert_allclose(sample, published[name]["values"], rtol=0, atol=TOLERANCE[dtype], err_msg=name)
