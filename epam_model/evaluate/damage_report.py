"""What an epoch went on without, told to people: the samples that no rank could read."""

from __future__ import annotations

from epam_data.stream import Stream
from epam_data.stream.damage import Damage
from epam_model.ranks.distributed import gather

MAX_LINES = 20
"""Samples that a report names; `epam-data check` finds them all."""


def all_damage(stream: Stream) -> list[Damage]:
    """What the last epoch of a stream met on all ranks, by position; every rank must ask."""
    if stream.settings.on_damage == "raise":
        return []
    return sorted((each for part in gather(stream.damage) for each in part), key=lambda each: each.position)


def damage_report(stream: Stream) -> list[str]:
    """Lines for people: how many samples of the last epoch were damaged, and which; every rank must ask.

    Empty if none was. After a resume in mid-epoch: of those that came since.
    """
    damage = all_damage(stream)
    if not damage:
        return []
    done = "others stood in for them" if stream.training else "they were left out"
    lines = [f"damage: {len(damage)} of {stream.num_samples} samples of {stream.split} cannot be read; {done}"]
    for each in damage[:MAX_LINES]:
        stand_in = f"; in its place {each.stand_in}" if each.stand_in else ""
        lines.append(f"damage: {each}{stand_in}")
    if len(damage) > MAX_LINES:
        lines.append(f"damage: and {len(damage) - MAX_LINES} more; epam-data check names them all")
    return lines
