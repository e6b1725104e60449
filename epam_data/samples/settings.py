"""The settings of a recipe's section `prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from epam_data.system.checked_fields import Share, check_fields

Decoder = Literal["pyav", "decord"]


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How a clip becomes a sample."""

    rgb_size_px: Annotated[int, Interval(ge=8, le=4096)] = 224
    """Height and width of the stored frames: 224 for EPAM, 256 for RGBPoseConv3D."""
    box_padding: Annotated[float, Interval(ge=0, le=100)] = 0.25
    """Padding around the person box, as a share of its half sides."""
    box_threshold_px: Annotated[int, Interval(ge=0, le=1_000_000)] = 10
    """If the person box is smaller than this on either side, the whole image is taken."""
    pad_image: bool = False
    """Fill a box that leaves the image with black; otherwise it is clipped, and the resize stretches it."""
    heatmap_size_px: Annotated[int, Interval(ge=8, le=4096)] = 56
    """Height and width of the stored heatmaps."""
    heatmap_kind: Literal["joints", "limbs"] = "joints"
    """What heatmap channels show."""
    sigma_px: Annotated[float, Interval(ge=0.001, le=1_000_000)] = 0.6
    """Standard deviation of the Gaussians, in heatmap pixels."""
    use_scores: bool = True
    """Scale each Gaussian by its joint's score; otherwise all joints that are not missing have 1."""
    max_frame_difference: Annotated[int, Interval(ge=0, le=1_000_000_000)] = 8
    """Report clips whose video and skeleton differ by more frames than this; the shorter one decides the length."""
    min_overlap: Share = 0.5
    """Skip clips whose shorter one of video and skeleton has less than this share of the longer's frames."""
    decoder: Decoder = "pyav"
    """Video decoder; the frames are equal, pyav is faster."""

    def __post_init__(self) -> None:
        check_fields(self, "prepare")
