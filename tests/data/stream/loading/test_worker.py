"""The program of a loader's worker starts with little: what it imports, each worker of each rank waits for."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

from epam_data.shards.index import load_index
from epam_data.shards.manifest import load_manifest
from epam_data.stream import StreamSettings
from epam_data.stream.loading.step_reader import StepReader

HEAVY = {"pydantic", "numba", "scipy", "h5py", "torch", "av", "PIL", "matplotlib", "pandas"}
FILL = """
import json, pickle, sys
import epam_data.stream.loading.worker
reader = pickle.loads(sys.stdin.buffer.read())
keys, damage = reader.fill((0, 0), reader.layout.fresh())
print(json.dumps([keys, len(damage), sorted(sys.modules)]))
"""


def test_a_worker_loads_clips_without_the_heavy_packages(ntu60_shards: Path) -> None:
    settings = StreamSettings(batch_size=4, rgb_frames=2, pose_frames=4)
    arguments = {"split": "train", "settings": settings, "training": True, "seed": 0, "rank": 0, "world": 1}
    manifest = load_manifest(ntu60_shards)
    reader = StepReader(ntu60_shards, settings.clips(manifest, load_index(ntu60_shards, manifest)), **arguments)
    command = [sys.executable, "-c", FILL]
    done = subprocess.run(command, input=pickle.dumps(reader), stdout=subprocess.PIPE, check=True, timeout=120)
    keys, num_damaged, modules = json.loads(done.stdout)
    assert keys == reader.fill((0, 0), reader.layout.fresh())[0] and len(keys) == 4 and not num_damaged
    assert "epam_data.shards.codec" in modules and not HEAVY & {name.partition(".")[0] for name in modules}
