import csv
import json
from pathlib import Path

import pytest

from epam_model.cli import main
from epam_model.commands.test import metric_lines
from tests.model.tiny import CLASSES

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_test_can_leave_a_page(given: list[str], tmp_path: Path, capsys):
    assert main(["test", *given, "--report", str(tmp_path / "page")]) == 0
    page = tmp_path / "page" / "report.html"
    assert f"report: {page}" in capsys.readouterr().out
    assert "7 clips of synthetic" in page.read_text()
    for scores in ("fused", "rgb", "pose", "fused_2_1", "fused_1_2", "logit_sum"):
        header, *rows = csv.reader((tmp_path / "page" / f"confusion_{scores}.csv").open())
        assert header[1:] == [row[0] for row in rows] == list(CLASSES.classes)
        assert [sum(map(int, row[1:])) for row in rows] == [2, 1, 1, 1, 1, 1]


def test_test_prints_a_line_for_each_stream_and_fusion(given: list[str], tmp_path: Path, capsys):
    assert main(["test", *given, "--json", str(tmp_path / "m.json")]) == 0
    metrics = json.loads((tmp_path / "m.json").read_text())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and sum(line.count(": ") for line in lines) == len(metrics) == 48
    for name, value in metrics.items():
        assert any(f"{name}: {value:.4f}" in line.split("  ") for line in lines)


def test_metrics_are_put_on_lines_by_their_scores():
    metrics = {"top1_fused": 0.5, "top1_fused_2_1": 0.25, "f1_mean_fused": 1.0}
    assert metric_lines(metrics) == "top1_fused: 0.5000  f1_mean_fused: 1.0000\ntop1_fused_2_1: 0.2500"
