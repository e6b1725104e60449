"""Samples that cannot be read: the error that names them, and the record of what was done about them."""

from __future__ import annotations

from dataclasses import dataclass


class DamageError(ValueError):
    """A sample is not there as the index says; names its shard and key."""

    def __init__(self, shard: str, key: str, reason: str) -> None:
        super().__init__(shard, key, reason)
        self.shard, self.key, self.reason = shard, key, reason

    def __str__(self) -> str:
        return f"{self.shard}: {self.key}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A damaged sample that an epoch went on without."""

    position: int
    """Its place in the epoch."""
    shard: str
    """The file that should hold it."""
    key: str
    """Its key."""
    reason: str
    """Why it cannot be read."""
    stand_in: str | None
    """Key of the sample that the batch holds in its place; None: nothing does (evaluation)."""

    def __str__(self) -> str:
        return f"{self.shard}: {self.key}: {self.reason}"
