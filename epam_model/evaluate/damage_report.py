"""Report of the samples that could not be read in an epoch, on any rank."""

from __future__ import annotations

from epam_data.stream import Stream
from epam_data.stream.damage import Damage
from epam_model.ranks.distributed import gather

MAX_LINES = 20
"""How many samples a report names; `epam-data check` finds them all."""


def all_damage(stream: Stream) -> list[Damage]:
    """The damage that all ranks found in the last epoch of a stream, by position; every rank must call this."""
    if stream.settings.on_damage == "raise":
        return []
    return sorted((each for part in gather(stream.damage) for each in part), key=lambda each: each.position)


def damage_report(stream: Stream) -> list[str]:
    """Lines that say how many samples of the last epoch were damaged, and which; every rank must call this.

    Empty if none was. After a resume within an epoch, only samples since the resume count.
    """
    damage = all_damage(stream)
    if not damage:
        return []
    done = "other samples replaced them" if stream.training else "they were left out"
    lines = [f"damage: {len(damage)} of {stream.num_samples} samples of {stream.split} cannot be read; {done}"]
    for each in damage[:MAX_LINES]:
        replacement = f"; replaced by {each.stand_in}" if each.stand_in else ""
        lines.append(f"damage: {each}{replacement}")
    if len(damage) > MAX_LINES:
        lines.append(f"damage: and {len(damage) - MAX_LINES} more; epam-data check lists them all")
    return lines
