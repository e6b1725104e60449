"""What two-stream backbones share: protocols, the check that RGB and pose clips match, frozen streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


class Stream(Protocol):
    """One stream of a backbone."""

    in_channels: int
    stride: int

    def feature_size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the features of a clip (B, C, T, H, W)."""


class StreamBackbone(Protocol):
    """A module that maps a clip (B, C, T, H, W) to features (B, out_channels, T', H', W')."""

    out_channels: int
    __call__: Callable[..., Any]


@runtime_checkable
class HasParts(Protocol):
    """A module that names the part of the network to which its weights belong."""

    @property
    def module_parts(self) -> Mapping[str, str]:
        """Name of a submodule (`backbone.attention`) -> its part, a key of `train.lr_factors`: rgb, pose, ..."""


class TwoStreamBackbone(HasParts, Protocol):
    """A module that maps (rgb, pose) clips to the pair (rgb features, pose features)."""

    rgb_channels: int
    pose_channels: int
    __call__: Callable[..., Any]


def frame_ratio(rgb: Tensor, pose: Tensor, rgb_stream: Stream, pose_stream: Stream) -> int:
    """Pose frames per RGB frame.

    Args:
        rgb: (B, 3, T, H, W).
        pose: (B, V, r * T, h, w).
        rgb_stream: network of the RGB stream, for its channels and stride.
        pose_stream: network of the pose stream.

    Raises:
        ValueError: the clips do not fit their streams, or their features do not match in frames or size.
    """
    for name, clip, stream in (("rgb", rgb, rgb_stream), ("pose", pose, pose_stream)):
        if clip.ndim != 5 or clip.shape[1] != stream.in_channels:
            raise ValueError(f"{name} must be (B, {stream.in_channels}, T, H, W), got {tuple(clip.shape)}")
    if rgb.shape[0] != pose.shape[0]:
        raise ValueError(f"rgb and pose must have as many clips, got {rgb.shape[0]} and {pose.shape[0]}")
    num_rgb, num_pose = rgb.shape[2], pose.shape[2]
    if num_rgb < 1 or num_pose < num_rgb or num_pose % num_rgb:
        raise ValueError(f"pose frames must be a multiple of the {num_rgb} rgb frames, got {num_pose}")
    rgb_size, pose_size = rgb_stream.feature_size(rgb), pose_stream.feature_size(pose)
    if rgb_size != pose_size:
        raise ValueError(
            f"rgb and pose must give features of the same size, got {rgb_size} from {tuple(rgb.shape[3:])} "
            f"and {pose_size} from {tuple(pose.shape[3:])}"
        )
    return num_pose // num_rgb


def keep_frozen(streams: dict[nn.Module, bool]) -> None:
    """Puts frozen streams (True) into evaluation mode, so that their batch norms keep their statistics."""
    for stream, frozen in streams.items():
        if frozen:
            stream.eval()
