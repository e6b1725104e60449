"""Ctrl-C on a running build: it ends at once, says how to go on, and leaves no process behind."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.data.raw_data import folder_bytes, write_ntu60
from tests.soak.test_build_kills import RECIPE, assert_all_end, descendants, start

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("executor", ["local", "dask"])
def test_ctrl_c(tmp_path: Path, executor: str):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(raw=write_ntu60(tmp_path / "raw", num_train=30, num_val=6)))
    out = tmp_path / "out"
    process = start(recipe, out, "--executor", executor)
    while not list(out.glob("*.tar")):
        time.sleep(0.02)
        assert process.poll() is None
    family = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    text, _ = process.communicate(timeout=60)
    took = time.monotonic() - began
    print(f"ended after {took:.2f} s")
    assert took < 2
    assert process.returncode == 130, text
    assert text.endswith("epam-data build: interrupted; rerun the same command to continue\n")
    assert_all_end(family)
    assert not (out / "manifest.json").exists()

    again = start(recipe, out)
    text, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and "36 clips in 12 shards" in text
    whole = start(recipe, tmp_path / "whole")
    assert whole.wait(timeout=120) == 0
    assert folder_bytes(out) == folder_bytes(tmp_path / "whole")
