import copy
import os
import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from epam_model import EPAMBackbone
from epam_model.networks.x_shift_net import rgb_stream
from tests.paths import ROOT


@pytest.fixture(scope="module")
def shared_backbone() -> EPAMBackbone:
    """Read only: tests that change a backbone make their own copy."""
    return EPAMBackbone().eval()


def clips(num_rgb: int = 4, num_pose: int = 12, size: int = 32, batch: int = 1) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 3, num_rgb, size, size), torch.rand(batch, 17, num_pose, size // 4, size // 4)


def wake(backbone: EPAMBackbone) -> EPAMBackbone:
    """Gives the zero batch norms of a fresh backbone some weight, so that every layer takes part."""
    for name, parameter in backbone.named_parameters():
        if name.endswith("project.norm.weight"):
            nn.init.constant_(parameter, 0.5)
    return backbone


@pytest.mark.parametrize(
    ("attention_type", "expected"),
    [("CBAM_spatial_efficient_temporal", 2_499_717), ("spatial_temporal", 2_502_117)],
)
def test_parameter_counts_are_the_published_ones(attention_type, expected):
    assert sum(p.numel() for p in EPAMBackbone(attention_type=attention_type).parameters()) == expected


@torch.no_grad()
def test_features_of_both_streams(shared_backbone):
    rgb, pose = clips(batch=2, size=64)
    rgb_features, pose_features = shared_backbone(rgb, pose)
    assert rgb_features.shape == (2, shared_backbone.rgb_channels, 4, 2, 2) == (2, 432, 4, 2, 2)
    assert pose_features.shape == (2, shared_backbone.pose_channels, 12, 2, 2) == (2, 216, 12, 2, 2)


@torch.no_grad()
def test_the_parts_alone_make_the_whole(shared_backbone):
    rgb, pose = clips()
    rgb_alone, pose_alone = shared_backbone.rgb_backbone(rgb), shared_backbone.pose_backbone(pose)
    attention_map = shared_backbone.attention(pose_alone[:, :, [0, 3, 6, 9]])
    attended, pose_features, returned_map = shared_backbone(rgb, pose, return_attention=True)
    torch.testing.assert_close(attended, rgb_alone + rgb_alone * attention_map)
    torch.testing.assert_close(pose_features, pose_alone)
    torch.testing.assert_close(returned_map, attention_map)


@torch.no_grad()
@pytest.mark.parametrize(("num_pose", "frames"), [(4, [0, 1, 2, 3]), (8, [0, 2, 4, 6]), (12, [0, 3, 6, 9])])
def test_the_frame_ratio_follows_the_clips(shared_backbone, num_pose, frames):
    seen = []
    hook = shared_backbone.attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    _, pose_features = shared_backbone(*clips(num_pose=num_pose))
    hook.remove()
    torch.testing.assert_close(seen[0], pose_features[:, :, frames])


@torch.no_grad()
def test_one_stream_alone_may_be_asked_for(shared_backbone):
    backbone = copy.deepcopy(shared_backbone)
    backbone.return_both_streams = False
    rgb, pose = clips()
    attended = backbone(rgb, pose)
    torch.testing.assert_close(attended, shared_backbone(rgb, pose)[0])
    with_map = backbone(rgb, pose, return_attention=True)
    assert [tuple(each.shape) for each in with_map] == [(1, 432, 4, 1, 1), (1, 1, 4, 1, 1)]


def test_28_joints():
    backbone = EPAMBackbone(num_classes=52, num_joints=28).eval()
    rgb, _ = clips()
    assert backbone(rgb, torch.rand(1, 28, 12, 8, 8))[1].shape == (1, 216, 12, 1, 1)


def test_the_rgb_loss_reaches_the_pose_stream():
    backbone = wake(EPAMBackbone())
    backbone(*clips(batch=2))[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert backbone.pose_backbone.stem.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("frozen", "free"), [("rgb", "pose"), ("pose", "rgb")])
def test_a_frozen_stream_keeps_weights_and_statistics(frozen, free):
    backbone = wake(EPAMBackbone(**{f"freeze_{frozen}": True}))
    streams = {"rgb": backbone.rgb_backbone, "pose": backbone.pose_backbone}
    before = copy.deepcopy(streams[frozen].state_dict())
    for mode in (False, True):
        assert backbone.train(mode) is backbone
        assert not any(module.training for module in streams[frozen].modules())
        assert all(module.training == mode for module in streams[free].modules())
    optimiser = torch.optim.SGD(backbone.parameters(), lr=0.1, weight_decay=0.1)
    sum(features.square().mean() for features in backbone(*clips(batch=2))).backward()
    optimiser.step()
    assert all(parameter.grad is None for parameter in streams[frozen].parameters())
    assert all(parameter.grad is not None for parameter in streams[free].parameters())
    assert all(torch.equal(value, before[key]) for key, value in streams[frozen].state_dict().items())


def test_pretrained_streams_survive_init_weights(tmp_path):
    trained = rgb_stream()
    nn.init.constant_(trained.last.norm.bias, 3.0)
    plain, wrapped = tmp_path / "plain.pth", tmp_path / "wrapped.pth"
    torch.save(trained.state_dict(), plain)
    torch.save({"state_dict": trained.state_dict(), "epoch": 3}, wrapped)
    for path in (plain, str(wrapped)):
        backbone = EPAMBackbone(rgb_pretrained=path)
        backbone.init_weights()
        loaded = backbone.rgb_backbone.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in trained.state_dict().items())


def test_init_weights_starts_afresh():
    backbone = EPAMBackbone()
    kernel = backbone.pose_backbone.stem.conv.weight.clone()
    backbone(*clips(batch=2))
    backbone.init_weights()
    assert not torch.equal(backbone.pose_backbone.stem.conv.weight, kernel)
    assert (backbone.pose_backbone.stem.norm.running_mean == 0).all()


def test_a_pretrained_stream_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "stream.pth"
    state = rgb_stream().state_dict()
    torch.save({"conv1_s.weight" if key == "stem.conv.weight" else key: v for key, v in state.items()}, path)
    expected = r"the weights do not fit the model, read as epam checkpoint: missing stem.conv.weight; unexpected"
    with pytest.raises(ValueError, match=expected):
        EPAMBackbone(rgb_pretrained=path)
    torch.save(state | {"stem.conv.weight": torch.zeros(24, 4, 1, 3, 3)}, path)
    expected = r"stem.conv.weight must be \(24, 3, 1, 3, 3\), got \(24, 4, 1, 3, 3\)"
    with pytest.raises(ValueError, match=expected):
        EPAMBackbone(rgb_pretrained=path)
    with pytest.raises(ValueError, match=r"gone\.pth: no such checkpoint"):
        EPAMBackbone(rgb_pretrained=tmp_path / "gone.pth")


@pytest.mark.parametrize(
    ("rgb", "pose", "message"),
    [
        ((1, 1, 4, 32, 32), (1, 17, 12, 8, 8), r"rgb must be \(B, 3, T, H, W\), got \(1, 1, 4, 32, 32\)"),
        ((1, 3, 4, 32, 32), (1, 28, 12, 8, 8), r"pose must be \(B, 17, T, H, W\), got \(1, 28, 12, 8, 8\)"),
        ((3, 4, 32, 32), (1, 17, 12, 8, 8), r"rgb must be \(B, 3, T, H, W\), got \(3, 4, 32, 32\)"),
        ((2, 3, 4, 32, 32), (1, 17, 12, 8, 8), "rgb and pose must have as many clips, got 2 and 1"),
        ((1, 3, 4, 32, 32), (1, 17, 10, 8, 8), "pose frames must be a multiple of the 4 rgb frames, got 10"),
        ((1, 3, 4, 32, 32), (1, 17, 0, 8, 8), "pose frames must be a multiple of the 4 rgb frames, got 0"),
        ((1, 3, 0, 32, 32), (1, 17, 12, 8, 8), "pose frames must be a multiple of the 0 rgb frames, got 12"),
        (
            (1, 3, 4, 224, 224),
            (1, 17, 12, 64, 64),
            r"features of the same size, got \(7, 7\) from \(224, 224\) and \(8, 8\) from \(64, 64\)",
        ),
    ],
)
def test_clips_that_do_not_fit_are_named(shared_backbone, rgb, pose, message):
    with pytest.raises(ValueError, match=message):
        shared_backbone(torch.zeros(rgb), torch.zeros(pose))


def test_spatial_temporal_attention_needs_its_clip_length():
    backbone = EPAMBackbone(attention_type="spatial_temporal").eval()
    with pytest.raises(ValueError, match="needs clips of 16 frames, got 4"):
        backbone(*clips())


def test_unknown_attention_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"one of \['CBAM_spatial_efficient_temporal', 'spatial_temporal'\], got 'no'"):
        EPAMBackbone(attention_type="no")


def test_sync_batch_norm_keeps_initialisation_and_freezing():
    backbone = nn.SyncBatchNorm.convert_sync_batchnorm(EPAMBackbone(freeze_rgb=True))
    assert not any(isinstance(module, nn.BatchNorm3d) for module in backbone.modules())
    backbone.init_weights()
    assert (backbone.rgb_backbone.stages[0][0].project.norm.weight == 0).all()
    assert not backbone.train().rgb_backbone.stem.norm.training


TORCH_ALONE = """
import sys
for name in {banned!r}:
    sys.modules[name] = None  # importing it is an error now
import torch
from epam_model import EPAMBackbone
torch.manual_seed(0)
backbone = EPAMBackbone(rgb_pretrained={weights!r}, num_joints=5).eval()
with torch.no_grad():
    rgb, pose = backbone(torch.rand(1, 3, 2, 32, 32), torch.rand(1, 5, 6, 8, 8))
print(tuple(rgb.shape), tuple(pose.shape), float(backbone.rgb_backbone.stem.conv.weight.sum()))
ours = {{name.partition(".")[0] for name in sys.modules}} & {{"epam_model", "epam_data"}}
print(*sorted(name for name in ours if sys.modules[name] is not None))
"""


def needed_by(distribution: str, found: set[str]) -> set[str]:
    """A distribution and all that it requires, installed or not, without its extras."""
    if distribution in found:
        return found
    found.add(distribution)
    with suppress(PackageNotFoundError):
        for line in requires(distribution) or ():
            if "extra ==" not in line:
                needed_by(re.split(r"[^\w.-]", line)[0].lower().replace("_", "-"), found)
    return found


def test_it_needs_torch_alone(tmp_path: Path):
    """Users copy it into projects of their own: built, filled from a file and run where nothing else is installed."""
    stream, weights = rgb_stream(), tmp_path / "rgb.pth"
    torch.save({"state_dict": stream.state_dict()}, weights)
    allowed = needed_by("torch", set())
    banned = {
        module
        for module, owners in packages_distributions().items()
        if module.isidentifier() and module not in sys.stdlib_module_names
        if not {owner.lower().replace("_", "-") for owner in owners} & allowed
    }
    banned = (banned | {"numpy", "epam_data"}) - {"epam_model"}
    assert {"h5py", "yaml", "simplejpeg", "zstandard", "numpy", "epam_data"} <= banned and "torch" not in banned
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TORCH_ALONE.format(banned=sorted(banned), weights=str(weights))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = f"(1, 432, 2, 1, 1) (1, 216, 6, 1, 1) {stream.stem.conv.weight.sum().item()}\nepam_model\n"
    assert done.stdout == said
