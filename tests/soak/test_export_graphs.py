"""Exported graphs against PyTorch: for a network of this many layers torch's exporters take minutes."""

from pathlib import Path

import pytest
import torch

from epam_model.networks.recogniser import build_epam
from epam_model.tools.export import export_model

onnxruntime = pytest.importorskip("onnxruntime")


pytestmark = pytest.mark.soak

CLIPS = torch.rand(2, 3, 2, 32, 32), torch.rand(2, 17, 6, 8, 8)


def test_a_saved_graph_gives_the_same_logits_for_any_number_of_clips(tmp_path: Path):
    model = build_epam(6).eval()
    export_model(model, tmp_path / "m.pt2", rgb=CLIPS[0], pose=CLIPS[1])
    graph = torch.export.load(tmp_path / "m.pt2").module()
    for count in (2, 3):
        clips = torch.rand(count, 3, 2, 32, 32), torch.rand(count, 17, 6, 8, 8)
        with torch.no_grad():
            logits = model(*clips)
            for ours, theirs in zip(graph(*clips), (logits.rgb, logits.pose), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_onnxruntime_gives_the_logits_of_pytorch(tmp_path: Path):
    torch.manual_seed(0)
    model = build_epam(6).eval()
    for name, weight in model.named_parameters():
        if name.endswith("project.norm.weight"):
            torch.nn.init.constant_(weight, 0.3)  # the zeros of a fresh block would hide it
    clips = torch.rand(2, 3, 4, 32, 32), torch.rand(2, 17, 12, 8, 8)
    export_model(model, tmp_path / "m.onnx", rgb=clips[0], pose=clips[1])
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert [output.name for output in session.get_outputs()] == ["rgb_logits", "pose_logits"]
    for count in (2, 3):
        rgb, pose = torch.rand(count, 3, 4, 32, 32), torch.rand(count, 17, 12, 8, 8)
        with torch.no_grad():
            logits = model(rgb, pose)
        outputs = session.run(None, {"rgb": rgb.numpy(), "pose": pose.numpy()})
        for ours, theirs in zip(outputs, (logits.rgb, logits.pose), strict=True):
            torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=0, atol=1e-4)
