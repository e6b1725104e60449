"""Your own data set: builds shards of a folder of videos and a pickle, with the reader in gestures.py."""

import pickle
import shutil
from pathlib import Path

import numpy as np
from small_data import CLIPS, small_shards

from epam_data.build.build import build
from epam_data.build.plan import BuildPlan
from epam_data.readers import RawSettings
from epam_data.readers.pickles import load_pickle
from epam_data.samples.settings import PrepareSettings
from epam_data.shards.settings import ShardSettings
from epam_data.stream import Stream

# In place of your recordings: synthetic videos under other names, and a pickle in another layout.
small_shards()
raw = Path("examples_out/gestures")
(raw / "videos").mkdir(parents=True, exist_ok=True)
published = load_pickle(Path("examples_out/raw/synthetic.pkl"))["annotations"]
records = {}
for who, gesture, label in (("anna", "wave", 1), ("ben", "bow", 2), ("cleo", "raise", 0), ("ben", "yawn", 3)):
    theirs = next(one for one in published if one["label"] == label)
    joints = np.concatenate([theirs["keypoint"][0], theirs["keypoint_score"][0][..., None]], axis=-1)
    records[f"{who}_{gesture}"] = {"joints": joints, "size": theirs["img_shape"], "gesture": gesture, "by": who}
    shutil.copy(f"examples_out/raw/videos/{theirs['frame_dir']}_rgb.avi", raw / "videos" / f"{who}_{gesture}.avi")
(raw / "records.pkl").write_bytes(pickle.dumps(records))

# The same on the command line, run in the folder of gestures.py:
#   epam-data build --allow-code-here --dataset gestures:GESTURES --raw.videos VIDEOS --raw.skeletons R.pkl --out SHARDS
#   epam-data check SHARDS --check.dataset gestures:GESTURES --allow-code-here
plan = BuildPlan(
    dataset="gestures:GESTURES",
    raw=RawSettings(videos=raw / "videos", skeletons=raw / "records.pkl"),
    prepare=PrepareSettings(rgb_size_px=128, heatmap_size_px=32),
    shard=ShardSettings(samples_per_shard=2),
    out="examples_out/gestures/shards",
)
report = build(plan)
print(f"{report.num_samples} clips; skipped: {[problem.reason for problem in report.problems]}")

stream = Stream("examples_out/gestures/shards", split="val", settings=CLIPS, training=False)
batch = next(stream.epoch())
print(batch.keys, [stream.manifest.classes[label] for label in batch.label.tolist()])
