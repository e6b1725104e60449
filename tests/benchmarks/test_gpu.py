"""The GPU check, run dry on the CPU, and what it says of checks that fail or cannot run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from benchmarks import gpu, gpu_checks, gpu_runs, gpu_slots
from benchmarks.gpu_results import SkippedError, at_most, distance
from tests.model.golden import GOLDENS
from tests.paths import ROOT

CPU = torch.device("cpu")
MORE = ["stream and finisher", "training run in fp16", "training run resumed, bit for bit"]
"""Checks that need more than torch and NumPy."""

WITHOUT_DEPENDENCIES = """
import sys, tomllib
import numpy, torch, torch._dynamo  # with what they take along
names = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]
names = {name.split(">=")[0].replace("-", "_") for name in names} - {"numpy", "torch"}
names = names - sys.modules.keys() | {"yaml", "PIL", "decord", "pytest"}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
from benchmarks.gpu import main
sys.exit(main(sys.argv[1:]))
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As in a dry run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fine(device: torch.device) -> str:
    return f"off by 0 on {device}"


def absent(name: str) -> gpu.Check:
    def check(device: torch.device) -> str:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    return check


def failing(error: Exception) -> gpu.Check:
    def check(device: torch.device) -> str:
        raise error

    return check


@pytest.mark.parametrize(
    ("check", "result", "figure"),
    [
        (fine, "ok", "off by 0 on cpu"),
        (failing(SkippedError("there is none")), "skipped", "there is none"),
        (absent("msgspec"), "skipped", "needs msgspec"),
        (absent("epam_model.networks.x"), "failed", "No module named 'epam_model.networks.x'"),
        (failing(AssertionError("logits are off")), "failed", "AssertionError: logits are off"),
        (
            failing(RuntimeError("CUDA error:\n  no kernel " + "x" * 999)),
            "failed",
            "RuntimeError: CUDA error: no kernel",
        ),
    ],
)
def test_a_check_is_one_line(check: gpu.Check, result: str, figure: str, capsys: pytest.CaptureFixture[str]):
    (row,) = gpu.run_checks(CPU, {"a check": check})
    assert (row["name"], row["result"]) == ("a check", result)
    assert row["figure"].startswith(figure) and len(row["figure"]) <= 300
    line = capsys.readouterr().out
    assert re.fullmatch(rf"a check +{result} +{re.escape(figure)}.*  \(\d+\.\d s\)\n", line)


@pytest.mark.parametrize(("checks", "code"), [((fine, absent("av")), 0), ((fine, failing(ValueError("no"))), 1)])
def test_the_exit_code_says_whether_a_check_failed(checks, code, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "CHECKS", {f"check {number}": check for number, check in enumerate(checks)})
    monkeypatch.setattr(gpu.run_checks, "__defaults__", (gpu.CHECKS,))
    path = tmp_path / "gpu.json"
    assert gpu.main(["--check", "--device", "cpu", "--json", str(path)]) == code
    content = json.loads(path.read_text())
    assert (content["device"], content["torch"]) == ("cpu", torch.__version__)
    assert [row["result"] for row in content["checks"]] == ["ok", "failed" if code else "skipped"]
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"device cpu, torch {torch.__version__}, cuda ")
    assert last == f"1 ok, {code} failed, {1 - code} skipped"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_missing_is_said(capsys):
    with pytest.raises(SystemExit) as end:
        gpu.main(["--check", "--device", "cuda"])
    assert end.value.code == 2 and "--device cuda: torch finds no GPU here" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "the following arguments are required: --check" in capsys.readouterr().err


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads pyproject.toml with tomllib")
def test_torch_and_numpy_are_enough_for_a_dry_run(tmp_path):
    path = tmp_path / "gpu.json"
    command = [sys.executable, "-c", WITHOUT_DEPENDENCIES, "--check", "--device", "cpu", "--json", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads(path.read_text())["checks"]}
    assert list(rows) == list(gpu.CHECKS)
    skipped = {name: row["figure"] for name, row in rows.items() if row["result"] == "skipped"}
    assert set(skipped) - {"goldens in f32, complete"} == {"golden training step in f64", *MORE}
    assert ("goldens in f32, complete" in skipped) == (not GOLDENS.is_dir())
    assert all(re.fullmatch(r"needs \w+", skipped[name]) for name in MORE)
    assert len(done.stdout.splitlines()) == len(rows) + 2


@pytest.mark.parametrize("name", MORE)
def test_the_checks_that_need_the_package(name: str, capsys):
    assert re.search(r"equal|loss \d|24 clips, difference 0\.0e\+00", gpu.CHECKS[name](CPU))
    assert capsys.readouterr().out == ""


def test_what_is_wrong_is_found(monkeypatch):
    """Each of these is a fault that a GPU could have."""
    real = gpu_checks.step

    def off(model, clips, device, dtype):
        found = real(model, clips, device, dtype)
        off.calls += 1
        found["gradients"] = [gradient * (1 + 1e-6 * (off.calls > 1)) for gradient in found["gradients"]]
        return found

    off.calls = 0
    monkeypatch.setattr(gpu_checks, "step", off)
    with pytest.raises(AssertionError, match=r"^float64 gradients is off by .*, at most 1e-09 is expected$"):
        gpu_checks.epam_against_cpu(CPU)
    monkeypatch.setattr(gpu_slots.Pattern, "fill", lambda self, task, arrays: task)
    monkeypatch.setattr(gpu_slots, "SlotLoader", Late)
    with pytest.raises(AssertionError, match=r"of 40 batches changed before they were copied$"):
        gpu_slots.pinned_slots(CPU)


class Late(gpu_slots.SlotLoader):
    """Gives batches that were filled for the task before."""

    def run(self, tasks):
        for value, arrays in super().run(tasks):
            arrays["places"][:] = value - 1
            yield value, arrays


def test_distances():
    one, two = torch.ones(3), torch.full((3,), 2.0)
    assert distance([one, one], [one, one]) == 0
    assert distance([two, one], [one, one]) == pytest.approx(0.5**0.5)
    assert at_most("x", 0.5, 1) == "x 5.0e-01"
    for value in (2.0, float("nan")):
        with pytest.raises(AssertionError, match=r"^x is off by (2|nan), at most 1 is expected$"):
            at_most("x", value, 1)


def test_a_rank_that_dies_is_named(monkeypatch):
    monkeypatch.setattr(gpu_runs, "ROOT", "/")  # where there is no benchmarks folder
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(AssertionError, match=r"^rank 0 ended with 1: .*No module named"):
        gpu_runs.two_ranks(CPU)
