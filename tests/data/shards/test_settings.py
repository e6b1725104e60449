"""The settings of the section shard: what a build takes unless told otherwise, and what it refuses."""

import re

import pytest

from epam_data.shards.settings import ShardSettings


def test_the_defaults_are_those_of_the_documents() -> None:
    settings = ShardSettings()
    assert (settings.samples_per_shard, settings.jpeg_quality, settings.zstd_level) == (256, 90, 3)
    assert settings.shuffle_seed == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples_per_shard": 0}, "shard.samples_per_shard must be in 1..1000000, got 0"),
        ({"samples_per_shard": 10**18}, f"shard.samples_per_shard must be in 1..1000000, got {10**18}"),
        ({"shuffle_seed": -1}, f"shard.shuffle_seed must be in 0..{2**63 - 1}, got -1"),
        ({"shuffle_seed": 2**63}, f"shard.shuffle_seed must be in 0..{2**63 - 1}, got {2**63}"),
        ({"jpeg_quality": 0}, "shard.jpeg_quality must be in 1..100, got 0"),
        ({"jpeg_quality": 101}, "shard.jpeg_quality must be in 1..100, got 101"),
        ({"zstd_level": 0}, "shard.zstd_level must be in 1..22, got 0"),
        ({"zstd_level": 23}, "shard.zstd_level must be in 1..22, got 23"),
    ],
)
def test_settings_check_themselves(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ShardSettings(**settings)


@pytest.mark.parametrize(
    ("name", "values"), [("samples_per_shard", (1, 1_000_000)), ("jpeg_quality", (1, 100)), ("zstd_level", (1, 22))]
)
def test_the_bounds_themselves_are_allowed(name: str, values: tuple[int, ...]) -> None:
    for value in values:
        assert getattr(ShardSettings(**{name: value}), name) == value
