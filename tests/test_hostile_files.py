"""Files of strangers, kind by kind, through the commands: what each costs, and what is said.

One small case for each kind; the rooms' own tests try its neighbours, and `tests/soak/test_fuzz.py` what nobody thought
of. Each row is (what a stranger gives, exit code, what the one line says).
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epam_data.cli import main as data_main
from tests.data.raw_data import SMALL_HW, annotation, ntu_name, person, write_pickle, write_recording

RECIPE = "dataset: ntu60\nraw: {protocol: xsub}\nprepare: {rgb_size_px: 64, heatmap_size_px: 16}\n"
HEIGHT, WIDTH = SMALL_HW


class Runs:
    """An object whose pickle creates a file where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


# Records of a skeleton pickle: what is changed in a good one, and what the build says of it. One build has them all.

NESTED: Any = []
for _ in range(300):
    NESTED = [NESTED]

RECORDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a huge label": ({"label": 10**30}, "skipped", "label must be from 0 to"),
    "an infinite label": ({"label": float("inf")}, "skipped", "label must be an integer, got inf"),
    "a name that is a list": ({"frame_dir": ["x"]}, "skipped", "frame_dir must be text, got list"),
    "half a character": ({"frame_dir": "S\udc80"}, "skipped", "frame_dir holds half of a character"),
    "a long name": ({"frame_dir": "x" * 5000}, "skipped", "frame_dir must have 1 to 1024 characters, got 5000"),
    "a name outside": ({"frame_dir": "../../etc/passwd"}, "skipped", "expected a name like|must stay inside"),
    "a control character": ({"frame_dir": "a\x1b[2J"}, "skipped", "frame_dir holds a control character"),
    "a size as text": ({"img_shape": "12"}, "skipped", r"img_shape must be \(H, W\), got '12'"),
    "nested lists": ({"keypoint": NESTED}, "skipped", "keypoint must be an array, got lists nested too deeply"),
    "pointers as numbers": ({"keypoint": np.array([None, "x"], object)}, "skipped", "keypoint"),
    "fractions": ({"keypoint": person(20)[None] / (WIDTH, HEIGHT)}, "skipped", "fractions|0 to 1|0..1"),
    "exchanged sides": ({"img_shape": (WIDTH, HEIGHT)}, "mended", "img_shape"),
    "another aspect ratio": ({"img_shape": (HEIGHT, 3 * WIDTH)}, "skipped", r"img_shape.*\(96, 384\).*\(96, 128\)|96"),
}
VIDEOS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a playlist": (lambda path: path.write_text(f"ffconcat version 1.0\nfile {ntu_name(1, 1)}_rgb.avi\n"), "skipped"),
    "a pipe": (os.mkfifo, "skipped"),
    "a web page": (lambda path: path.write_text("<!DOCTYPE html><html>"), "skipped"),
    "nothing": (lambda path: path.write_bytes(b""), "skipped"),
    "another ending": (
        lambda path: shutil.copy(path.with_name(f"{ntu_name(1, 1)}_rgb.avi"), path.with_suffix(".MKV")),
        "x",
    ),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two good clips and a bad one of each kind, built by one command."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "recipe.yaml").write_text(RECIPE)
    records, names = [], {}
    for number, what in enumerate(("good", "good too", *RECORDS, *VIDEOS), 1):
        name = names[what] = ntu_name(number, 1)
        keypoints = person(20, seed=number)
        if what in VIDEOS:
            VIDEOS[what][0](folder / "videos" / f"{name}_rgb.avi")
        else:
            write_recording(folder / "videos" / f"{name}_rgb.avi", keypoints)
        records.append({**annotation(name, 0, keypoints[None]), **RECORDS.get(what, ({},))[0]})
    lists = {"xsub_train": [record["frame_dir"] for record in records if isinstance(record["frame_dir"], str)]}
    write_pickle(folder / "s.pkl", {"split": lists, "annotations": records})
    words = ["--raw.videos", folder / "videos", "--raw.skeletons", folder / "s.pkl", "--out", folder / "out"]
    code = data_main(["build", str(folder / "recipe.yaml"), *map(str, words), "--workers", "0"])
    lines = (folder / "out" / "problems.jsonl").read_text().splitlines()
    return {"code": code, "names": names, "problems": [json.loads(line) for line in lines], "folder": folder}
