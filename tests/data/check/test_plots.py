import base64
import dataclasses
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from epam_data.check.check import CheckReport, CheckSettings, check
from epam_data.check.plots import plots
from epam_data.system.executors import ExecutorSettings


@pytest.fixture(scope="module")
def report(ma52_shards: Path) -> CheckReport:
    return check(ma52_shards, CheckSettings(sample="all", rgb=True), ExecutorSettings())


def test_each_plot_is_an_svg_with_its_figures_in_words(report: CheckReport):
    made = {plot.title: plot for plot in plots(report)}
    assert {"Frames per clip", "Clips per class", "Score of each joint", "Persons per clip", "Person box, longer side",
            "JPEG size per frame", "Heatmap error of each clip"} <= made.keys()  # fmt: skip
    for plot in made.values():
        kind, _, data = plot.url.partition(",")
        assert kind == "data:image/svg+xml;base64"
        root = ET.fromstring(base64.b64decode(data))
        assert root.tag.endswith("svg")
        assert not re.search(rb'href="(?!#)', base64.b64decode(data))  # nothing from outside
    frames = [clip.num_frames for clip in report.measures]
    assert made["Frames per clip"].words.startswith(f"{min(frames)} to {max(frames)}, median")
    assert made["Persons per clip"].words == "8 clips with 1 person"
    assert made["Clips per class"].words == "train 0 to 1 per class; val 0 to 1 per class"


def test_plots_are_repeatable(report: CheckReport):
    assert plots(report) == plots(report)


def test_what_was_not_measured_has_no_plot(report: CheckReport):
    shallow = tuple(dataclasses.replace(clip, heatmap_error=None, motion=None) for clip in report.measures)
    titles = {plot.title for plot in plots(dataclasses.replace(report, measures=shallow))}
    assert not titles & {"Heatmap error of each clip", "RGB against pose"}
    assert plots(dataclasses.replace(report, measures=())) == []


def test_what_is_not_finite_is_left_out_and_counted(report: CheckReport):
    first, *rest = report.measures
    for bad in (float("nan"), float("inf")):
        measures = (dataclasses.replace(first, heatmap_error=bad), *rest)
        made = {plot.title: plot.words for plot in plots(dataclasses.replace(report, measures=measures))}
        assert made["Heatmap error of each clip"].endswith("; 1 not finite")
    measures = tuple(dataclasses.replace(clip, heatmap_error=float("nan")) for clip in report.measures)
    made = {plot.title: plot.words for plot in plots(dataclasses.replace(report, measures=measures))}
    assert made["Heatmap error of each clip"] == "no value; 8 not finite"
