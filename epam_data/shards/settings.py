"""The settings of a recipe's section `shard`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from epam_data.system.checked_fields import Seed, check_fields


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How samples are packed into shards."""

    samples_per_shard: Annotated[int, Interval(ge=1, le=1_000_000)] = 256
    """Clips per shard; about 0.8 MB each at 224 pixels, so 256 make 200 MB."""
    jpeg_quality: Annotated[int, Interval(ge=1, le=100)] = 90
    """JPEG quality of the frames."""
    zstd_level: Annotated[int, Interval(ge=1, le=22)] = 3
    """zstd level of the heatmaps."""
    shuffle_seed: Seed = 0
    """Seed that shuffles clips over the shards, once, at build time."""

    def __post_init__(self) -> None:
        check_fields(self, "shard")
