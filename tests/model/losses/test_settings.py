from dataclasses import asdict

import pytest

from epam_model.losses.settings import LossSettings


def test_settings_name_what_they_refuse():
    with pytest.raises(ValueError, match=r"train\.loss\.tree must be >= 0 and finite, got -1"):
        LossSettings(tree=-1)
    with pytest.raises(ValueError, match=r"train\.loss\.label_smoothing must be >= 0 and < 1, got 1\.0"):
        LossSettings(label_smoothing=1.0)


def test_the_defaults_are_the_published_factors():
    """PCAN's; a recipe holds only what differs."""
    assert asdict(LossSettings()) == {
        "rgb": 1.0,
        "pose": 1.0,
        "rgb_coarse": 1.0,
        "pose_coarse": 1.0,
        "coarse_prototype": 0.2,
        "fine_prototype": 0.2,
        "diversity": 0.2,
        "tree": 1.0,
        "label_smoothing": 0.0,
    }
