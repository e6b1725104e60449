"""`Finding`: one problem reported by the check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem and its location, as exact as the check can tell."""

    check: str  # kind: "tar", "index", "json", "keypoints", "heatmap", "frames", "alignment", "split", ...
    what: str  # message: expected and found
    shard: str = ""  # "": concerns the whole set
    key: str = ""  # "": concerns the whole shard
    member: str = ""  # ending of the member, as in `codec.MEMBERS`
    offset: int | None = None  # byte in the shard

    def __str__(self) -> str:
        places = (self.shard, self.key, self.member, "" if self.offset is None else f"byte {self.offset}")
        return ": ".join(part for part in (*places, self.what) if part)

    @property
    def order(self) -> tuple[str, str, int, str]:
        """Sort key: the whole set first, then by shard, key and offset."""
        return self.shard, self.key, -1 if self.offset is None else self.offset, self.what
