"""What a check says: a `Finding`."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, and where: as far down as the check can tell."""

    check: str  # what looked: "tar", "index", "json", "keypoints", "heatmap", "frames", "alignment", "split", ...
    what: str  # expected and found, in words
    shard: str = ""  # "" where it concerns the whole set
    key: str = ""  # "" where it concerns the whole shard
    member: str = ""  # ending of the member, as in `codec.MEMBERS`
    offset: int | None = None  # byte in the shard

    def __str__(self) -> str:
        places = (self.shard, self.key, self.member, "" if self.offset is None else f"byte {self.offset}")
        return ": ".join(part for part in (*places, self.what) if part)

    @property
    def order(self) -> tuple[str, str, float, str]:
        """Sorts findings: the whole set first, then shard by shard, by key, from front to back."""
        return self.shard, self.key, -math.inf if self.offset is None else self.offset, self.what
