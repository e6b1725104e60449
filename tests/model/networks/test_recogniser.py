"""The whole EPAM-Net against the published one: every stage, the logits, a training step."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from epam_model import EPAMBackbone, Logits, TwoStreamHead, TwoStreamRecogniser, build_epam
from epam_model.weights.convert import to_published
from epam_model.weights.epam_names import EPAM
from tests.model.golden import (
    ATTENTION_FILES,
    GOLDENS,
    SMALL_SHAPES,
    STANDARD_SHAPES,
    TOLERANCE,
    draw_clips,
    fill,
    published_outputs,
    read_fixture,
    recorded_stages,
    sample_positions,
)
from tests.model.shared_goldens import needs_goldens

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
CBAM = "CBAM_spatial_efficient_temporal"


def run(attention_type: str, shapes: tuple, dtype: torch.dtype) -> dict[str, Tensor]:
    """All outputs of the filled recogniser in evaluation mode, by published name."""
    recogniser = build_epam(60, attention_type=attention_type)
    fill(recogniser)
    recogniser.eval().to(dtype)
    with torch.no_grad(), recorded_stages(recogniser) as outputs:
        logits = recogniser(*draw_clips(shapes, dtype))
    return outputs | {"rgb_logits": logits.rgb, "pose_logits": logits.pose, "fused_logits": logits.fused}


@pytest.fixture(scope="module")
def small_outputs() -> dict[tuple[str, torch.dtype], dict[str, Tensor]]:
    """Outputs of both attention types in both precisions, for the small clips."""
    return {(kind, dtype): run(kind, SMALL_SHAPES, dtype) for kind in ATTENTION_FILES for dtype in TOLERANCE}


def assert_equals_published(outputs: dict[str, Tensor], published: dict, dtype: torch.dtype) -> None:
    assert outputs.keys() == published.keys()
    close = {"rtol": 0, "atol": TOLERANCE[dtype]}
    for name, expected in published.items():
        output = outputs[name].contiguous().numpy()
        assert output.shape == tuple(expected["shape"]), name
        sample = output.reshape(-1)[sample_positions(output.size)]
        np.testing.assert_allclose(sample, expected["sample"], **close, err_msg=name)
        if "full" in expected:
            np.testing.assert_allclose(output, expected["full"], **close, err_msg=name)
        if "pooled" in expected:
            pooled = output.mean(axis=(2, 3, 4), dtype=np.float64)
            np.testing.assert_allclose(pooled, expected["pooled"], **close, err_msg=name)
        # A sum over n values may be off by n tolerances; far less is asked for here.
        total = output.sum(dtype=np.float64)
        assert total == pytest.approx(float(expected["sum"]), rel=1e-6, abs=1e-4), name


@needs_goldens
@DTYPES
@pytest.mark.parametrize("attention_type", ATTENTION_FILES)
def test_small_clips_give_the_published_outputs(small_outputs, attention_type, dtype):
    published = published_outputs(ATTENTION_FILES[attention_type], dtype)
    assert_equals_published(small_outputs[attention_type, dtype], published, dtype)


@needs_goldens
def test_standard_clips_give_the_published_outputs():
    published = published_outputs("epam_cbam_std", torch.float32)
    assert_equals_published(run(CBAM, STANDARD_SHAPES, torch.float32), published, torch.float32)


@DTYPES
@pytest.mark.parametrize("attention_type", ATTENTION_FILES)
def test_sampled_published_outputs(small_outputs, attention_type, dtype):
    outputs = small_outputs[attention_type, dtype]
    for name, expected in read_fixture()["outputs"][attention_type].items():
        assert list(outputs[name].shape) == expected["shape"], name
        sample = outputs[name].reshape(-1)[expected["positions"]].numpy()
        np.testing.assert_allclose(sample, expected["values"], rtol=0, atol=TOLERANCE[dtype], err_msg=name)
        assert outputs[name].double().sum().item() == pytest.approx(expected["sum"], rel=1e-6, abs=1e-4), name


@pytest.fixture(scope="module")
def trained() -> tuple[TwoStreamRecogniser, Tensor, Tensor]:
    """The filled recogniser after the forward and backward pass of one step, and its two losses."""
    recogniser = build_epam(60, dropout=0.0)
    fill(recogniser)
    logits = recogniser.double().train()(*draw_clips(SMALL_SHAPES, torch.float64))
    labels = torch.tensor([3, 41])
    losses = functional.cross_entropy(logits.rgb, labels), functional.cross_entropy(logits.pose, labels)
    sum(losses).backward()
    return recogniser, *losses


def step_figures(recogniser: nn.Module) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    gradients = to_published({name: p.grad for name, p in recogniser.named_parameters()}, EPAM, "both")
    buffers = to_published(dict(recogniser.named_buffers()), EPAM, "both")
    return (
        {name: gradient.norm().item() for name, gradient in gradients.items()},
        {name: gradient.sum().item() for name, gradient in gradients.items()},
        {name: b.sum().item() for name, b in buffers.items() if not name.endswith("num_batches_tracked")},
    )


@needs_goldens
def test_training_step_gives_the_published_gradients_and_statistics(trained):
    recogniser, loss_rgb, loss_pose = trained
    norms, sums, buffers = step_figures(recogniser)
    with np.load(GOLDENS / "epam_cbam_trainstep_small_f64.npz") as golden:
        assert norms == pytest.approx(dict(zip(golden["param_names"], golden["grad_norm"], strict=True)), abs=1e-9)
        assert sums == pytest.approx(dict(zip(golden["param_names"], golden["grad_sum"], strict=True)), abs=1e-9)
        expected = dict(zip(golden["buffer_names"], golden["buffer_sum_after"], strict=True))
        assert buffers == pytest.approx(expected, abs=1e-9)
        assert loss_rgb.item() == pytest.approx(float(golden["loss_rgb"]), abs=1e-9)
        assert loss_pose.item() == pytest.approx(float(golden["loss_pose"]), abs=1e-9)


def test_sampled_training_step(trained):
    recogniser, loss_rgb, loss_pose = trained
    norms, _, buffers = step_figures(recogniser)
    expected = read_fixture()["training_step"]
    assert loss_rgb.item() == pytest.approx(expected["loss_rgb"], abs=1e-9)
    assert loss_pose.item() == pytest.approx(expected["loss_pose"], abs=1e-9)
    assert sum(norm**2 for norm in norms.values()) ** 0.5 == pytest.approx(expected["total_grad_norm"], abs=1e-9)
    assert {name: norms[name] for name in expected["grad_norm"]} == pytest.approx(expected["grad_norm"], abs=1e-9)
    assert {name: buffers[name] for name in expected["buffer_sum"]} == pytest.approx(expected["buffer_sum"], abs=1e-9)


def test_build_epam_passes_its_arguments_on(tmp_path):
    recogniser = build_epam(7, num_joints=28, attention_type="spatial_temporal", dropout=0.25, freeze_pose=True)
    assert recogniser.head.rgb.fc.out_features == 7
    assert recogniser.head.rgb.dropout.p == 0.25
    assert recogniser.backbone.pose_backbone.in_channels == 28
    assert recogniser.backbone.attention.num_frames == 16
    assert (recogniser.backbone.freeze_rgb, recogniser.backbone.freeze_pose) == (False, True)
    with pytest.raises(ValueError, match=r"absent\.pth: no such checkpoint"):
        build_epam(7, rgb_pretrained=tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"absent\.pth: no such checkpoint"):
        build_epam(7, pose_pretrained=tmp_path / "absent.pth")


def test_any_backbone_and_head_of_the_same_form_will_do():
    class PassThrough(nn.Module):
        def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
            return rgb, pose

    recogniser = TwoStreamRecogniser(PassThrough(), TwoStreamHead(4, rgb_channels=3, pose_channels=17))
    logits = recogniser(torch.rand(2, 3, 2, 4, 4), torch.rand(2, 17, 6, 2, 2))
    assert isinstance(logits, Logits)
    assert logits.fused.shape == (2, 4)


def test_a_backbone_without_pose_features_is_refused():
    with pytest.raises(ValueError, match="return_both_streams=True, got False"):
        TwoStreamRecogniser(EPAMBackbone(return_both_streams=False), TwoStreamHead(4))
