"""Accuracy of the motion test: `python -m benchmarks.motion SHARDS [SHARDS ...]`, directories of correct shards.

Each clip with enough motion is tested unchanged (an alarm is false) and with its skeleton 2 to 6 frames early and late
(from 3 on, an alarm is correct). If there are few recordings, --windows also tests each window of 45 frames of a clip.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.measure import publish
from epam_data.check.rules.motion import Motion, motion_of
from epam_data.schema import Sample
from epam_data.shards.codec import decode
from epam_data.shards.reader import read_shard

SHIFTS = (0, 2, 3, 4, 5, 6)
WINDOW, STEP = 45, 5


def motions(sample: Sample, shift: int, start: int, end: int) -> list[Motion]:
    """The motion of frames start ... end with the skeleton `shift` frames late, and early."""
    frames, keypoints = sample.frames[start:end], sample.keypoints[:, start:end]
    num, made = end - start, []
    for lag in {shift, -shift}:
        early, late = max(0, lag), max(0, -lag)
        motion = motion_of(sample.info, keypoints[:, late : num - early], frames[early : num - late])
        made += [motion] if motion else []
    return made


def main() -> None:
    """Print and save, for each directory and shift, the clips with motion and the alarms among them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--windows", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for root in arguments.shards:
        samples = [decode(members) for path in sorted(root.glob("*.tar")) for _, _, members in read_shard(path)]
        for shift in SHIFTS:
            found: list[Motion] = []
            for sample in samples:
                length = sample.info.num_frames
                spans = {(0, length)}
                if arguments.windows:
                    spans |= {(start, start + WINDOW) for start in range(0, length - WINDOW + 1, STEP)}
                for start, end in sorted(spans):
                    found += motions(sample, shift, start, end)
            moving = [motion for motion in found if motion.moves]
            alarms = sum(motion.shifted for motion in moving)
            share = alarms / max(1, len(moving))
            rows.append(
                {
                    "shards": root.name,
                    "shift": shift,
                    "tests": len(found),
                    "moving": len(moving),
                    "alarms": alarms,
                    "share": share,
                }
            )
    publish("motion_windows" if arguments.windows else "motion", rows)


if __name__ == "__main__":
    main()
