"""Your own reader, for `dataset: gestures:GESTURES`: it reads a folder of videos and a pickle in a layout of your own.

The pickle holds one record per video:

    {"anna_wave_1": {"joints": (T, 17, 3) x, y, score, "size": (H, W), "gesture": "wave", "by": "anna"}, ...}

A video is found by the name of its clip: `anna_wave_1.mp4` (or .avi) in the folder `raw.videos`.
"""

from collections.abc import Iterator

import numpy as np

from epam_data.readers import RawSettings, Reader, key_from_name
from epam_data.readers.pickles import load_pickle
from epam_data.schema import Clip, Problem
from epam_data.taxonomy import parse_taxonomy

CLASSES = parse_taxonomy("gestures", {"arms": {0: "wave", 1: "raise"}, "trunk": {2: "bow"}})
VALIDATION = {"cleo"}  # people who are not in the training data


def read_gestures(raw: RawSettings) -> Iterator[Clip | Problem]:
    """Each record as a `Clip`, or as a `Problem` with the reason why not, which a build reports and skips."""
    for name, record in load_pickle(raw.skeletons).items():  # does not run code from the file
        split = "val" if record["by"] in VALIDATION else "train"
        try:
            if record["gesture"] not in CLASSES.classes:
                raise ValueError(f"{name}: gesture must be one of {CLASSES.classes}, got {record['gesture']!r}")
            joints = np.asarray(record["joints"], np.float32)[None]  # one person: (M, T, V, 3)
            yield Clip(
                key=key_from_name(name),
                name=name,
                split=split,
                label=CLASSES.classes.index(record["gesture"]),
                keypoints=joints[..., :2],
                scores=joints[..., 2],
                image_size=record["size"],
            )
        except ValueError as error:
            yield Problem(name=name, split=split, action="skipped", reason=str(error))


GESTURES = Reader(read=read_gestures, skeleton="coco17", taxonomy=CLASSES)
