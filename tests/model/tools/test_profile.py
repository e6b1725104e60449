import json
import re
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import nn

from epam_model.build import build_model
from epam_model.cli import main
from epam_model.networks.heads import Logits
from epam_model.networks.settings import ModelSettings
from epam_model.tools import profile
from epam_model.tools.profile import activation_bytes, measure_speed, multiply_adds, part_costs
from tests.paths import PIPELINES

RECIPE = str(PIPELINES / "ntu60_epam_pcan.yaml")
SMALL = ["--prepare.rgb_size_px", "32", "--prepare.heatmap_size_px", "8", "--device", "cpu"]
pytestmark = pytest.mark.usefixtures("one_thread")


class Layers(nn.Module):
    """1x1x1 convolutions with known sums."""

    module_parts: ClassVar = {"first": "rgb", "second": "head"}

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(3, 8, 1, bias=False), nn.Conv3d(8, 2, 1, bias=False)

    def forward(self, rgb: torch.Tensor, pose: torch.Tensor) -> Logits:
        return Logits(rgb=self.second(torch.sigmoid(self.first(rgb))).mean(dim=(2, 3, 4)))


CLIPS = torch.rand(1, 3, 4, 5, 5), torch.rand(1, 17, 4, 5, 5)


def test_multiply_adds_and_parameters_of_each_part():
    assert multiply_adds(Layers(), *CLIPS) == {"total": 4000, "first": 2400, "second": 1600}
    costs = part_costs(Layers(), *CLIPS)
    assert [(cost.name, cost.parameters, cost.macs) for cost in costs] == [
        ("first", 24, 2400),
        ("second", 16, 1600),
        ("total", 40, 4000),
    ]


@pytest.mark.parametrize("network", ["epam", "rgbpose_conv3d"])
def test_the_parts_make_the_whole(network):
    model = build_model(ModelSettings(network=network), num_classes=6, num_joints=5)
    clips = torch.zeros(1, 3, 2, 32, 32), torch.zeros(1, 5, 8, 8, 8)
    *parts, total = part_costs(model, *clips)
    assert sum(part.macs for part in parts) == total.macs
    assert sum(part.parameters for part in parts) == total.parameters
    assert all(part.macs > 0 for part in parts)


def test_activation_bytes_are_what_the_backward_pass_needs():
    """The input and the sigmoid, which the second convolution shares: 3 + 8 channels of 100 places, 4 bytes each."""
    model = Layers()

    def run() -> None:
        model(*CLIPS).rgb.sum().backward()

    assert activation_bytes(run, torch.device("cpu"), training=True) == 4 * 100 * (3 + 8)
    assert activation_bytes(run, torch.device("cpu"), training=False) is None


def test_the_clock_of_a_gpu_runs_from_idle_to_idle(monkeypatch: pytest.MonkeyPatch):
    """A GPU that takes 2 s for each run, which begins when the run before is done; giving it work takes no time."""
    now, idle_at, waits = 0.0, 7.0, []  # it has 7 s of other work at first

    def run() -> None:
        nonlocal idle_at
        idle_at = max(idle_at, now) + 2.0

    def synchronize(device: torch.device) -> None:
        nonlocal now
        waits.append(device)
        now = max(now, idle_at)

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(profile, "time", SimpleNamespace(perf_counter=lambda: now))
    gpu = torch.device("cuda", 1)
    for seconds, runs in ((0.5, 1), (9.0, 5)):
        monkeypatch.setattr(profile, "_SECONDS", seconds)
        assert profile._seconds_per_run(run, gpu, budget_seconds=100.0) == 2.0
        assert waits == [gpu] * (runs + 1)
        waits.clear()


def test_folded_norms_are_not_trained():
    row = measure_speed(Layers(), *CLIPS, variant="fp32-folded", training=True, budget_seconds=0.01)
    assert row.clips_per_second is None and row.left_out == "cannot train"


def test_the_command_prints_and_writes_every_row(tmp_path, capsys):
    argv = ["profile", RECIPE, *SMALL, "--batch_sizes", "[1, 4]", "--variants", "[fp32, bf16, fp32-folded]"]
    argv += ["--stream.rgb_frames", "2", "--stream.pose_frames", "6", "--budget_seconds", "0.0001"]
    assert main([*argv, "--json", str(tmp_path / "p.json")]) == 0
    content = json.loads((tmp_path / "p.json").read_text())
    rows = {(row["variant"], row["mode"], row["batch_size"]): row for row in content["speed"]}
    assert len(rows) == 3 * 2 * 2
    assert rows["fp32", "training", 1]["clips_per_second"] > 0
    assert rows["fp32", "training", 1]["activation_mb"] > rows["bf16", "training", 1]["activation_mb"] > 0
    assert rows["fp32", "evaluation", 4]["left_out"] == "over 0.0001 s"  # judged by the row before
    assert {part["name"]: part["parameters"] for part in content["parts"]}["head"] == 293_800
    out = capsys.readouterr().out
    assert re.search(r"^fp32 +evaluation +4 +over 0\.0001 s$", out, re.MULTILINE)
    # Nothing but what was measured here: figures of other cards are of other networks and sizes.
    assert len(out.splitlines()) == len(content["parts"]) + len(rows) + 3
    assert re.findall(r"(?i)gpu|nvidia|geforce|rtx|tesla|a100|h100", out) == []


def test_unknown_variants_and_batches_are_one_line(capsys):
    for option, value, message in (
        ("--variants", "[fp8]", "variants must be one of fp32, bf16, .* got 'fp8'"),
        ("--batch_sizes", "[0]", r"batch_sizes must be >= 1, got 0"),
        ("--batch_sizes", "[]", r"batch_sizes must name at least one size"),
    ):
        assert main(["profile", RECIPE, option, value]) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert re.search(message, error)
