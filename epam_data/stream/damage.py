"""Samples that cannot be read: the error, and the record of what replaced them."""

from __future__ import annotations

from dataclasses import dataclass


class DamageError(ValueError):
    """A sample cannot be read as the index describes it; names its shard and key."""

    def __init__(self, shard: str, key: str, reason: str) -> None:
        super().__init__(shard, key, reason)
        self.shard, self.key, self.reason = shard, key, reason

    def __str__(self) -> str:
        return f"{self.shard}: {self.key}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A damaged sample that an epoch replaced or left out."""

    position: int
    """Its position in the epoch."""
    shard: str
    """Its shard file."""
    key: str
    """Its key."""
    reason: str
    """Why it cannot be read."""
    stand_in: str | None
    """Key of the sample that replaces it in the batch; None: left out (evaluation)."""

    def __str__(self) -> str:
        return f"{self.shard}: {self.key}: {self.reason}"
