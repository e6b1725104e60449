"""`Finding`: one problem reported by the check."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epam_data.system.printable import printable

_MAX_CHARACTERS = 1000  # of a message


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem and its location, as exact as the check can tell."""

    check: str  # kind: "tar", "index", "json", "keypoints", "heatmap", "frames", "alignment", "split", ...
    what: str  # message: expected and found
    shard: str = ""  # "": concerns the whole set
    key: str = ""  # "": concerns the whole shard
    member: str = ""  # ending of the member, as in `codec.MEMBERS`
    offset: int | None = None  # byte in the shard

    def __post_init__(self) -> None:
        # Names and texts are those of the shards, which a stranger may have made; they go to terminals and pages.
        for name in ("shard", "key", "member"):
            object.__setattr__(self, name, printable(getattr(self, name)))
        object.__setattr__(self, "what", printable(self.what, _MAX_CHARACTERS))

    def __str__(self) -> str:
        places = (self.shard, self.key, self.member, "" if self.offset is None else f"byte {self.offset}")
        return ": ".join(part for part in (*places, self.what) if part)

    @property
    def order(self) -> tuple[str, str, float, str]:
        """Sort key: the whole set first, then by shard, key and offset."""
        return self.shard, self.key, -math.inf if self.offset is None else self.offset, self.what
