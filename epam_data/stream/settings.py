"""`StreamSettings`: the recipe section `stream`, and the sizes that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Interval

from epam_data.system.checked_fields import Factor, Share, check_fields

if TYPE_CHECKING:
    from epam_data.shards.index import Index
    from epam_data.shards.manifest import Manifest
    from epam_data.views.resolve import ResolvedView


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How clips are cut from samples and put into batches."""

    view: str = ""
    """Which clips to use, in which split: a protocol (`xview`) or a YAML file, see docs/views.md; empty: as built."""
    fold: Annotated[int, Ge(0)] = 0
    """Of a view with folds: the one that is val."""
    batch_size: Annotated[int, Ge(1)] = 16
    """Samples per batch, over all ranks together."""
    rgb_frames: Annotated[int, Ge(1)] = 16
    """RGB frames per clip."""
    pose_frames: Annotated[int, Ge(1)] = 48
    """Heatmap frames per clip."""
    sampling: Literal["aligned", "independent", "linspace"] = "aligned"
    """`aligned`: RGB takes every (pose_frames / rgb_frames)-th heatmap frame; `independent`: each at random;
    `linspace`: evenly spaced from the first frame to the last, not random."""
    num_clips: Annotated[int, Interval(ge=1, le=10)] = 1
    """Clips per sample in evaluation; their predictions are averaged. Training uses one."""
    eval_flip: bool = False
    """Also evaluate the mirror image of each clip, and average the predictions."""
    flip: Share = 0.5
    """Probability of the mirror image (with left and right joints swapped) in training."""
    heatmap: Literal["stored", "drawn"] = "stored"
    """`stored`: heatmaps from the shards; `drawn`: made from the keypoints, on the device, as crops need it."""
    max_persons: Annotated[int, Ge(1)] = 2
    """Largest number of persons whose heatmaps are `drawn`; samples with more are refused."""
    train_crop: Literal["none", "random_resized", "centre"] = "none"
    """`none`: frames as stored; `random_resized`: a random box, resized to crop_px; `centre`: as in `eval_crop`."""
    eval_crop: Literal["none", "centre"] = "none"
    """`none`: frames as stored; `centre`: frames resized to resize_px, then their middle of crop_px."""
    crop_px: Annotated[int, Ge(1)] = 224
    """Height and width of the frames after a crop."""
    resize_px: Annotated[int, Ge(1)] = 256
    """Height and width of the frames before a centre crop."""
    crop_area: tuple[float, float] = (0.56, 1.0)
    """Smallest and largest share of the picture that `random_resized` takes."""
    brightness: Share = 0.0
    """In training, multiply colours by a random factor from 1 - this to 1 + this."""
    contrast: Share = 0.0
    """The same for the difference between colours and the mean grey of their frame."""
    balance: Literal["none", "class", "sqrt"] = "none"
    """Share of a class in an epoch: `none`: its share of the samples; `class`: equal; `sqrt`: by the square root."""
    class_weights: tuple[Factor, ...] = ()
    """One factor per class on its share in an epoch; empty: all 1."""
    window_shards: Annotated[int, Ge(1)] = 16
    """Number of shards whose samples are shuffled together."""
    on_damage: Literal["raise", "skip"] = "raise"
    """If a sample cannot be read: `raise` an error, or `skip` it: another one replaces it (evaluation leaves it out),
    and the end of the epoch lists it."""
    workers: Annotated[int, Ge(0)] = 2
    """Loader processes per rank; 0: load in the training process."""
    timeout_seconds: Annotated[float, Gt(0)] = 300.0
    """Seconds to wait for a loader process before failing; after ten, a warning names it."""
    cache_dir: str = ""
    """For shards by URL: a local folder to download whole shards to, shared by all processes. Empty: only the bytes of
    the clips are downloaded, and not kept."""
    cache_bytes: Annotated[int, Ge(1)] = 100_000_000_000
    """Largest total size of the files in cache_dir; the least recently used shards are deleted first."""

    def __post_init__(self) -> None:
        check_fields(self, "stream")
        if self.sampling == "aligned" and self.pose_frames % self.rgb_frames:
            raise ValueError(
                "stream.pose_frames must be a multiple of rgb_frames for aligned sampling, "
                f"got {self.pose_frames} and {self.rgb_frames}"
            )
        if self.sampling == "linspace" and self.num_clips > 1:
            raise ValueError(
                f"stream.num_clips must be 1 for linspace, whose clips are all the same, got {self.num_clips}"
            )
        self._check_crops()

    def _check_crops(self) -> None:
        for name in ("train_crop", "eval_crop"):
            if getattr(self, name) != "none" and self.heatmap == "stored":
                raise ValueError(
                    f"stream.heatmap must be drawn if stream.{name} is {getattr(self, name)}, got stored: a crop cuts "
                    "and stretches the Gaussians of a stored heatmap, those of a drawn one keep their sigma"
                )
        if self.crop_px > self.resize_px and "centre" in (self.train_crop, self.eval_crop):
            raise ValueError(f"stream.crop_px must be <= resize_px {self.resize_px}, got {self.crop_px}")
        low, high = self.crop_area
        if not 0 < low <= high <= 1:
            raise ValueError(f"stream.crop_area must be two shares, 0 < least <= largest <= 1, got {self.crop_area}")

    def clips(self, manifest: Manifest, index: Index) -> ResolvedView:
        """The clips of each split: those of the view, or as the shards were built.

        Raises:
            ValueError: the view cannot be read, or does not fit the shards.
        """
        from epam_data.views.resolve import resolve_view  # here: `--help` needs none of it
        from epam_data.views.view import load_view

        return resolve_view(load_view(self.view), manifest, index, self.fold)

    def crop(self, training: bool) -> str:
        """The kind of crop in training or evaluation."""
        return self.train_crop if training else self.eval_crop

    def sizes(self, rgb_size_px: int, heatmap_size_px: int, *, training: bool) -> tuple[int, int]:
        """Sizes (height = width) of a model's input frames and heatmaps.

        Args:
            rgb_size_px: size of the stored frames.
            heatmap_size_px: size of the stored heatmaps; a crop keeps its ratio to the frames.
            training: use the training crop, else the evaluation crop.

        Raises:
            ValueError: the ratio would give a fractional number of heatmap pixels.
        """
        if self.crop(training) == "none":
            return rgb_size_px, heatmap_size_px
        cropped, left = divmod(heatmap_size_px * self.crop_px, rgb_size_px)
        if left or not cropped:
            raise ValueError(
                f"stream.crop_px must give whole heatmap pixels at the shards' ratio of {heatmap_size_px} to "
                f"{rgb_size_px}, got {self.crop_px}"
            )
        return self.crop_px, cropped
