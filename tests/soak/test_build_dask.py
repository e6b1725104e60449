"""A real Dask cluster of two processes; one is killed in the middle. The shards equal those of a local build."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from epam_data.build.build import BuildOptions, build
from epam_data.shards.settings import ShardSettings
from epam_data.system.executors import ExecutorSettings
from tests.data.raw_data import folder_bytes, ntu60_plan, write_ntu60

pytestmark = pytest.mark.soak


def test_a_worker_is_killed(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    raw = write_ntu60(tmp_path / "raw", num_train=24, num_val=8)
    small = {"shard": ShardSettings(samples_per_shard=2)}
    build(ntu60_plan(raw, tmp_path / "local", **small))
    out = tmp_path / "dask"
    killed = []

    def kill_one_when_some_shards_are_done() -> None:
        while len(list(out.glob("*.tar"))) < 3:
            time.sleep(0.02)
        victim = next(iter(cluster.workers.values())).process.pid
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        thread = threading.Thread(target=kill_one_when_some_shards_are_done)
        thread.start()
        report = build(
            ntu60_plan(raw, out, **small),
            BuildOptions(where=ExecutorSettings(executor="dask", dask_address=cluster.scheduler_address)),
        )
        thread.join()
    assert killed
    assert report.num_samples == 32 and not report.problems
    assert folder_bytes(out) == folder_bytes(tmp_path / "local")


def test_nobody_answers(tmp_path: Path):
    raw = write_ntu60(tmp_path / "raw", num_train=2, num_val=1)
    with pytest.raises(ValueError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers"):
        build(
            ntu60_plan(raw, tmp_path / "out"),
            BuildOptions(where=ExecutorSettings(executor="dask", dask_address="tcp://127.0.0.1:9")),
        )
