"""RGBPoseConv3D with PCAN's interaction against the published one, and its laws."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from epam_model.networks.rgbpose_conv3d import RGBPoseConv3D
from epam_model.weights.published_names import inverse
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D
from tests.model.golden import draw_tensor, published_outputs, sample_positions
from tests.model.shared_goldens import needs_goldens

ATOL = {torch.float32: 5e-4, torch.float64: 1e-9}


def filled(num_joints: int, interaction: bool = True) -> RGBPoseConv3D:
    """The network with the weights drawn from the published names."""
    model = RGBPoseConv3D(num_joints=num_joints, interaction=interaction)
    names = inverse(RGBPOSE_CONV3D.backbone)
    state = {name: torch.from_numpy(draw_tensor(names[name], tuple(t.shape))) for name, t in model.state_dict().items()}
    model.load_state_dict(state, strict=True)
    return model.eval()


def draw(num_joints: int, batch: int, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    rgb = np.random.RandomState(1234).standard_normal((batch, 3, 8, size, size)).astype(np.float32)
    shape = (batch, num_joints, 32, size // 4, size // 4)
    pose = (np.random.RandomState(5678).random_sample(shape) ** 4).astype(np.float32)
    return torch.from_numpy(rgb).to(dtype), torch.from_numpy(pose).to(dtype)


def record(model: RGBPoseConv3D, clips: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """All outputs that the published numbers name."""
    outputs: dict[str, Tensor] = {}
    modules: dict[str, nn.Module] = {
        "rgb_path.layer2_lateral": model.pose_to_rgb[0],
        "rgb_path.layer3_lateral": model.pose_to_rgb[1],
        "pose_path.layer1_lateral": model.rgb_to_pose[0],
        "pose_path.layer2_lateral": model.rgb_to_pose[1],
        "featuredifference2": model.interactions[0],
        "featuredifference3": model.interactions[1],
    }
    for path, stages, network in (("rgb_path", 3, model.rgb_backbone), ("pose_path", 2, model.pose_backbone)):
        modules |= {f"{path}.layer{stage + 1}": network.stages[stage][-1] for stage in range(stages)}

    def keep(name: str, output) -> None:
        if isinstance(output, tuple):
            outputs.update({f"{name}.{place}": each for place, each in enumerate(output)})
        else:
            outputs[name] = output

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        outputs["x_rgb"], outputs["x_pose"] = model(*clips)
    for hook in hooks:
        hook.remove()
    return outputs


@needs_goldens
@pytest.mark.parametrize(
    ("file", "num_joints", "batch", "size", "dtype"),
    [
        ("pcan_backbone_kp17_small", 17, 2, 64, torch.float32),
        ("pcan_backbone_kp17_small", 17, 2, 64, torch.float64),
        ("pcan_backbone_kp28_small", 28, 2, 64, torch.float64),
        ("pcan_backbone_kp17_std", 17, 1, 224, torch.float32),
    ],
)
def test_outputs_are_the_published_ones(file, num_joints, batch, size, dtype):
    outputs = record(filled(num_joints).to(dtype), draw(num_joints, batch, size, dtype))
    published = published_outputs(file, dtype)
    assert outputs.keys() == published.keys()
    for name, expected in published.items():
        output = outputs[name].contiguous().numpy()
        assert output.shape == tuple(expected["shape"]), name
        close = {"rtol": 0, "atol": ATOL[dtype], "err_msg": name}
        np.testing.assert_allclose(output.reshape(-1)[sample_positions(output.size)], expected["sample"], **close)
        np.testing.assert_allclose(output.mean(axis=(2, 3, 4), dtype=np.float64), expected["pooled"], **close)


@pytest.mark.parametrize(
    ("num_joints", "interaction", "count"), [(17, True, 37_966_048), (28, True, 37_983_296), (17, False, 35_994_208)]
)
def test_parameter_counts_are_the_published_ones(num_joints, interaction, count):
    model = RGBPoseConv3D(num_joints=num_joints, interaction=interaction)
    assert sum(weight.numel() for weight in model.parameters()) == count


def test_without_interaction_the_gates_are_missing_and_nothing_else():
    """Gates of zero are no gates."""
    model, plain = filled(17), RGBPoseConv3D(interaction=False).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("interactions")})
    for interaction in model.interactions:
        for layer in (interaction.rgb_out, interaction.pose_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    clips = draw(17, 1, 32, torch.float32)
    with torch.no_grad():
        for ours, theirs in zip(model(*clips), plain(*clips), strict=True):
            torch.testing.assert_close(ours, theirs)


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 2, 4])
def test_any_clip_length_with_four_pose_frames_each(num_frames):
    model = RGBPoseConv3D(num_joints=5).eval()
    rgb, pose = model(torch.rand(1, 3, num_frames, 32, 32), torch.rand(1, 5, 4 * num_frames, 8, 8))
    assert tuple(rgb.shape) == (1, 2048, num_frames, 1, 1)
    assert tuple(pose.shape) == (1, 512, 4 * num_frames, 1, 1)


def test_both_losses_reach_both_paths():
    model = filled(17)
    rgb, pose = model(*draw(17, 1, 32, torch.float32))
    for features in (rgb, pose):
        gradients = torch.autograd.grad(
            features.square().sum(),
            (model.rgb_backbone.stem.conv.weight, model.pose_backbone.stem.conv.weight),
            retain_graph=True,
        )
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("frozen", ["rgb", "pose"])
def test_a_frozen_path_keeps_weights_and_statistics(frozen):
    model = RGBPoseConv3D(**{f"freeze_{frozen}": True})
    path = {"rgb": model.rgb_backbone, "pose": model.pose_backbone}[frozen]
    before = copy.deepcopy(path.state_dict())
    assert model.train() is model
    assert not any(module.training for module in path.modules())
    sum(features.sum() for features in model(*draw(17, 1, 32, torch.float32))).backward()
    assert all(weight.grad is None for weight in path.parameters())
    assert all(torch.equal(value, before[name]) for name, value in path.state_dict().items())
    assert all(weight.grad is not None for weight in model.rgb_to_pose.parameters())


def test_initialisation_starts_afresh_with_silent_blocks():
    model = filled(17)
    before = model.state_dict()["rgb_to_pose.0.conv.weight"].clone()
    model.init_weights()
    assert (model.rgb_backbone.stages[2][0].expand.norm.weight == 0).all()
    assert (model.rgb_backbone.stem.norm.running_mean == 0).all()
    assert not torch.equal(model.rgb_to_pose[0].conv.weight, before)
    fan_out = model.pose_to_rgb[0].weight.shape[0] * 7
    assert model.pose_to_rgb[0].weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("rgb", "pose", "message"),
    [
        ((1, 3, 2, 32, 32), (1, 28, 8, 8, 8), r"pose must be \(B, 17, T, H, W\), got \(1, 28, 8, 8, 8\)"),
        ((1, 3, 2, 32, 32), (1, 17, 6, 8, 8), "takes 4 pose frames per rgb frame, got 6 and 2"),
        ((1, 3, 2, 32, 32), (1, 17, 7, 8, 8), "pose frames must be a multiple of the 2 rgb frames, got 7"),
        ((1, 3, 2, 64, 64), (1, 17, 8, 8, 8), r"features of the same size, got \(2, 2\) from \(64, 64\) and \(1, 1\)"),
        ((1, 3, 2, 36, 36), (1, 17, 8, 16, 16), r"got features of \(5, 5\) and \(8, 8\) at a lateral connection"),
    ],
)
def test_clips_that_do_not_fit_are_named(rgb, pose, message):
    with pytest.raises(ValueError, match=message):
        RGBPoseConv3D().eval()(torch.zeros(rgb), torch.zeros(pose))
