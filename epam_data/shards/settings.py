"""The settings of a recipe's section `shard`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How samples are packed into shards."""

    samples_per_shard: int = 256
    """Clips per shard; about 0.8 MB each at 224 pixels, so 256 make 200 MB."""
    jpeg_quality: int = 90
    """JPEG quality of the frames, 1 to 100."""
    zstd_level: int = 3
    """zstd level of the heatmaps, 1 to 22."""
    shuffle_seed: int = 0
    """Seed that shuffles clips over the shards, once, at build time."""

    def __post_init__(self) -> None:
        if self.samples_per_shard < 1:
            raise ValueError(f"shard.samples_per_shard must be >= 1, got {self.samples_per_shard}")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"shard.jpeg_quality must be in 1..100, got {self.jpeg_quality}")
        if not 1 <= self.zstd_level <= 22:
            raise ValueError(f"shard.zstd_level must be in 1..22, got {self.zstd_level}")
