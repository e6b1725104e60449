import pytest

from epam_model.losses.settings import LossSettings


def test_settings_name_what_they_refuse():
    with pytest.raises(ValueError, match=r"train\.loss\.tree must be >= 0 and finite, got -1"):
        LossSettings(tree=-1)
    with pytest.raises(ValueError, match=r"train\.loss\.label_smoothing must be >= 0 and < 1, got 1\.0"):
        LossSettings(label_smoothing=1.0)
