"""The batch scripts, run by bash with the variables that Slurm sets: parts in any order, then the end."""

import os
import subprocess
import sys
from pathlib import Path

from tests.data.raw_data import folder_bytes
from tests.paths import PIPELINES

SCRIPTS = PIPELINES / "slurm"
RECIPE = """\
dataset: ntu60
raw: {{protocol: xsub, videos: {raw}/videos, skeletons: {raw}/skeletons.pkl}}
prepare: {{rgb_size_px: 64, heatmap_size_px: 16}}
shard: {{samples_per_shard: 4}}
"""


def test_the_array_job_builds_what_one_machine_builds(ntu60_raw: Path, ntu60_shards: Path, tmp_path: Path):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "shards"
    recipe.write_text(RECIPE.format(raw=ntu60_raw))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(script: str, **variables: str) -> None:
        command = ["bash", str(SCRIPTS / script), str(recipe), "--out", str(out)]
        subprocess.run(command, env={**os.environ, "PATH": path, **variables}, check=True, capture_output=True)

    for task in (1, 0):
        slurm = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1"}
        run("build.sbatch", **slurm)
    run("finalise.sbatch")
    assert folder_bytes(out) == folder_bytes(ntu60_shards)
