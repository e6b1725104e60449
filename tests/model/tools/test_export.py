from pathlib import Path

import pytest
import torch

from epam_model.networks.recogniser import build_epam
from epam_model.tools.export import PlainOutputs, export_model

CLIPS = torch.rand(2, 3, 2, 32, 32), torch.rand(2, 17, 6, 8, 8)


def test_outputs_are_those_of_the_streams_that_are_there():
    model = build_epam(6).eval()
    with torch.no_grad():
        outputs = PlainOutputs(model)(*CLIPS)
        torch.testing.assert_close(outputs[0], model(*CLIPS).rgb, rtol=0, atol=1e-5)
    assert len(outputs) == 2


def test_other_endings_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"m\.pth: the ending must be one of \.pt2, \.onnx"):
        export_model(build_epam(6), tmp_path / "m.pth", rgb=CLIPS[0], pose=CLIPS[1])
