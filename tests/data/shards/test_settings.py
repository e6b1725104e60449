"""The settings of the section shard check themselves."""

import re

import pytest

from epam_data.shards.settings import ShardSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples_per_shard": 0}, "shard.samples_per_shard must be >= 1, got 0"),
        ({"jpeg_quality": 0}, "shard.jpeg_quality must be in 1..100, got 0"),
        ({"jpeg_quality": 101}, "shard.jpeg_quality must be in 1..100, got 101"),
        ({"zstd_level": 23}, "shard.zstd_level must be in 1..22, got 23"),
    ],
)
def test_settings_check_themselves(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ShardSettings(**settings)
