"""A build's plan and its finished shards -> `Manifest`."""

from __future__ import annotations

import hashlib

from epam_data.build.plan import BuildPlan
from epam_data.shards.layout import ShardSummary
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.skeleton import LAYOUTS
from epam_data.versions import tool_versions


def make_manifest(
    plan: BuildPlan, sources: dict[str, str], shards: list[ShardSummary], index: bytes, problems: dict[str, int]
) -> Manifest:
    """The manifest of finished shards.

    Args:
        plan: of the build.
        sources: hash of each skeleton file.
        shards: all finished shards.
        index: bytes of `index.h5`.
        problems: number of clips by action.
    """
    layout, taxonomy = plan.layout, plan.taxonomy
    is_known = layout.name in LAYOUTS
    return Manifest(
        dataset=plan.dataset,
        protocol=plan.raw.protocol,
        skeleton=layout.name,
        joints=layout.joints,
        flip_pairs=None if is_known else layout.flip_pairs,
        limbs=None if is_known else layout.limbs,
        taxonomy=taxonomy.name,
        classes=taxonomy.classes,
        groups=taxonomy.groups,
        coarse_of=taxonomy.coarse_of,
        prepare=plan.prepare,
        shard=plan.shard,
        sources=sources,
        versions=tool_versions(),
        problems=problems,
        index_sha256=hashlib.sha256(index).hexdigest(),
        shards=tuple(map(ShardEntry.of, shards)),
    )
