"""The doctor without MMAction2: versions, known troubles, and what it says where the plug-in cannot be imported."""

import re
import sys

import pytest
import torch

from epam_model.cli import main
from epam_model.tools.diagnosis import TROUBLES, Tick, remedy_for, tick


def test_versions(capsys):
    assert main(["doctor"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["torch"] == torch.__version__ and lines.keys() == {"python", "epam", "torch", "numpy"}


def test_without_mmaction2_it_says_what_to_install(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("epam_model.mmaction")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mmaction", None)  # so that an installed one is not found
    assert main(["doctor", "--mmaction"]) == 1
    text = capsys.readouterr().out
    assert re.search(
        r"^\[ \] imports +ModuleNotFoundError: No module named 'mmaction'\n +-> .*pip install 'epam", text, re.M
    )
    for trouble in TROUBLES:
        assert trouble.message in text and trouble.remedy in text


def test_a_config_is_one_of_mmaction2(capsys):
    assert main(["doctor", "--config", "config.py"]) == 2
    assert "config is a file of MMAction2: it needs --mmaction" in capsys.readouterr().err


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.message)
def test_each_known_message_has_its_own_remedy(trouble):
    assert remedy_for(trouble.message) == trouble.remedy


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("'EPAMBackbone is not in the mmengine::model registry. Please check whether", "custom_imports"),
        ("ModuleNotFoundError: No module named 'epam_model.mmaction'", "pip install"),
        ("RGBPoseConv3D.forward() got an unexpected keyword argument 'gt_coarse'", "EPAMRecognizer"),
        ("spatial_temporal attention needs clips of 16 frames, got 8", "RGB=16, Pose=48"),
        ("RGBPoseConv3D takes 4 pose frames per rgb frame, got 48 and 16", "RGB=8, Pose=32"),
        ("rgb features must be (B, 2048, T, H, W), got (2, 432, 16, 7, 7)", "[432, 216]"),
        ("size mismatch for cls_head.fc_rgb.weight: copying a param with shape", "[432, 216]"),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "halve batch_size"),
        ("KeyError: 'RGBPoseHead is already registered in model at mmaction.models'", "epam_model.mmaction.replace"),
    ],
)
def test_real_messages_are_recognised(message, word):
    assert word in remedy_for(message)


def test_a_tick_keeps_what_was_raised():
    def look() -> str:
        raise KeyError("Backbone is not in the registry")

    found = tick("registered", look)
    assert (
        not found.ok
        and found.detail == "KeyError: 'Backbone is not in the registry'"
        and "custom_imports" in found.remedy
    )
    assert str(tick("memory", lambda: "1 GB")) == "[x] memory       1 GB"
    assert str(Tick(name="a", ok=False, detail="b", remedy="c")).splitlines()[1].strip() == "-> c"
    assert remedy_for("something else") == ""
