"""The settings of a recipe's section `prepare`."""

from __future__ import annotations

from dataclasses import dataclass

DECODERS = ("pyav", "decord")
"""Video decoders, see `samples.video`."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How a clip becomes a sample."""

    rgb_size_px: int = 224
    """Height and width of the stored frames: 224 for EPAM, 256 for RGBPoseConv3D."""
    box_padding: float = 0.25
    """Padding around the person box, as a share of its half sides."""
    box_threshold_px: int = 10
    """If the person box is smaller than this on either side, the whole image is taken."""
    pad_image: bool = False
    """Fill a box that leaves the image with black; otherwise it is clipped, and the resize stretches it."""
    heatmap_size_px: int = 56
    """Height and width of the stored heatmaps."""
    heatmap_kind: str = "joints"
    """What heatmap channels show: `joints` or `limbs`."""
    sigma_px: float = 0.6
    """Standard deviation of the Gaussians, in heatmap pixels."""
    use_scores: bool = True
    """Scale each Gaussian by its joint's score; otherwise all joints that are not missing have 1."""
    max_frame_difference: int = 8
    """Report clips whose video and skeleton differ by more frames than this; the shorter one decides the length."""
    min_overlap: float = 0.5
    """Skip clips whose shorter one of video and skeleton has less than this share of the longer's frames."""
    decoder: str = "pyav"
    """Video decoder: `pyav` or `decord`; the frames are equal, pyav is faster."""

    def __post_init__(self) -> None:
        for name in ("rgb_size_px", "heatmap_size_px"):
            if getattr(self, name) < 8:
                raise ValueError(f"prepare.{name} must be >= 8, got {getattr(self, name)}")
        if self.heatmap_kind not in ("joints", "limbs"):
            raise ValueError(f"prepare.heatmap_kind must be joints or limbs, got {self.heatmap_kind!r}")
        if self.decoder not in DECODERS:
            raise ValueError(f"prepare.decoder must be one of {', '.join(DECODERS)}, got {self.decoder!r}")
        if not self.sigma_px > 0:
            raise ValueError(f"prepare.sigma_px must be > 0, got {self.sigma_px}")
        for name in ("box_padding", "box_threshold_px", "max_frame_difference"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"prepare.{name} must be >= 0, got {getattr(self, name)}")
        if not 0 <= self.min_overlap <= 1:
            raise ValueError(f"prepare.min_overlap must be in 0..1, got {self.min_overlap}")
