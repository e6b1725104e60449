import os
import subprocess
import sys
from typing import get_args

import pytest

from epam_model.networks.epam import ATTENTIONS
from epam_model.networks.settings import AttentionName, HeadName, ModelSettings, NetworkName
from epam_model.networks.table import HEADS, NETWORKS
from tests.paths import ROOT


def test_a_recipe_may_name_what_the_tables_have():
    assert tuple(NETWORKS) == get_args(NetworkName)
    assert tuple(HEADS) == get_args(HeadName)
    assert tuple(ATTENTIONS) == get_args(AttentionName)


@pytest.mark.parametrize("room", ["networks", "losses", "train"])
def test_reading_a_recipe_needs_no_torch(room: str):
    code = f"import sys, epam_model.{room}.settings; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"streams": "depth"}, r"model\.streams must be one of both, rgb, pose, got 'depth'"),
        ({"attention_type": "none"}, r"model\.attention_type must be one of CBAM.*, spatial_temporal, got 'none'"),
        ({"dropout": 1.5}, r"model\.dropout must be in 0\.\.1, got 1\.5"),
        ({"streams": "rgb", "freeze_rgb": True}, r"model\.freeze_rgb needs model\.streams both, got rgb"),
        ({"network": "c3d"}, r"model\.network must be one of epam, rgbpose_conv3d, got 'c3d'"),
        ({"head": "mlp"}, r"model\.head must be one of linear, pcan, got 'mlp'"),
        ({"rgb_rectification": -1.0}, r"model\.rgb_rectification must be >= 0 and finite, got -1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_model_settings_name_what_they_refuse(values: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ModelSettings(**values)
