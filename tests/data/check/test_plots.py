import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from epam_data.check import plots as plots_module
from epam_data.check.check import CheckReport, CheckSettings
from epam_data.check.check_shard import ClipMeasures
from epam_data.check.plots import plots
from epam_data.check.rules.motion import MAX_LAG
from epam_data.shards.codec import HEATMAP_TOLERANCE
from epam_data.shards.manifest import ShardEntry
from epam_data.show.page import BLUE, GREEN, ORANGE, Plot
from tests.data.check.rules.test_splits import index, manifest
from tests.data.check.test_ranking import clip, lagging

LEVEL = 1 / 255
SCORES = np.linspace(0.9, 0.5, 28)  # of each joint: the last is the lowest


def measured(number: int, **changes: Any) -> ClipMeasures:
    """A clip of 10 + `number` frames, of 2 kB each, in a box of 50 + `number` pixels."""
    values = {
        "num_frames": 10 + number,
        "jpeg_bytes": 2000 * (10 + number),
        "crop_px": (50 + number, 20),
        "joint_scores": tuple((SCORES - 0.01 * number).tolist()),
        "heatmap_error": 0.1 * LEVEL * (1 + number),
        "decoded": True,
    }
    return clip(f"k{number}", **{**values, **changes})


def report_of(*measures: ClipMeasures, labels: tuple[int, ...] = (0, 0, 1, 3), shards: tuple[int, ...] = (0, 1, 2, 3)):
    """A report of these clips; the index has clips of their own: of train, train, val and test."""
    test = ShardEntry(name="test-000000", split="test", num_samples=0, num_bytes=0, sha256="")
    plain = manifest("ma52", None)
    return CheckReport(
        root=Path(),
        manifest=replace(plain, shards=(*plain.shards, test)),
        index=index([f"k{number}" for number in range(len(labels))], list(shards), list(labels)),
        reader=None,
        settings=CheckSettings(),
        findings=(),
        notes=(),
        measures=measures,
    )


FOUR = tuple(measured(number) for number in range(4))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Draws a report; gives the words and the axes of each plot by its title."""
    made: dict[str, Any] = {}

    def finish_plot(title: str, words: str, axes: Any) -> Plot:
        made[title] = words, axes
        return Plot(title=title, words=words, url="")

    monkeypatch.setattr(plots_module, "finish_plot", finish_plot)

    def draw(report: CheckReport) -> dict[str, Any]:
        made.clear()
        assert [plot.title for plot in plots(report)] == list(made)
        return dict(made)

    return draw


def bars(axes: Any) -> list[tuple[float, float, float]]:
    """(left, right, height) of each bar that has a height."""
    found = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axes.patches]
    return [bar for bar in found if bar[2]]


def whole_ticks(axis: Any) -> bool:
    return all(float(place).is_integer() for place in axis.get_majorticklocs())


def test_each_plot_is_an_svg_without_anything_from_outside():
    report = report_of(*(replace(one, motion=lagging(0)) for one in FOUR))
    made = plots(report)
    assert [plot.title for plot in made] == [
        "Frames per clip",
        "Clips per class",
        "Score of each joint",
        "Persons per clip",
        "Person box, longer side",
        "JPEG size per frame",
        "Heatmap error of each clip",
        "RGB against pose",
    ]
    for plot in made:
        kind, _, data = plot.url.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ET.fromstring(base64.b64decode(data)).tag.endswith("svg")
        assert not re.search(rb'href="(?!#)', base64.b64decode(data))  # nothing from outside
    assert plots(report) == made  # repeatable


def test_what_was_not_measured_has_no_plot():
    shallow = plots(report_of(*(replace(one, heatmap_error=None) for one in FOUR)))
    assert not {plot.title for plot in shallow} & {"Heatmap error of each clip", "RGB against pose"}
    assert plots(report_of()) == []


def test_histograms_count_every_clip_from_the_least_to_the_most(drawn: Callable[..., dict[str, Any]]):
    made = drawn(report_of(*FOUR, measured(0, jpeg_bytes=10 * 4600, crop_px=(40, 61))))
    words, axes = made["Frames per clip"]
    assert words == "10 to 13, median 11"
    assert bars(axes) == [(10, 10.75, 2), (10.75, 11.5, 1), (11.5, 12.25, 1), (12.25, 13, 1)]
    assert made["Person box, longer side"][0] == "50 to 61, median 52"
    assert made["JPEG size per frame"][0] == "2.0 to 4.6, median 2.0"
    for title in ("Frames per clip", "Person box, longer side", "JPEG size per frame"):
        axes = made[title][1]
        assert axes.get_ylabel() == "clips" and axes.lines[:] == [] and whole_ticks(axes.yaxis)
        assert sum(height for *_, height in bars(axes)) == 5
        assert len(axes.get_xticks()) <= 8  # 6 intervals and the two beside the view
        assert {round(bar.get_linewidth(), 2) for bar in axes.patches} == {0.4}


def test_a_histogram_has_a_bar_for_each_value_and_at_most_30(drawn: Callable[..., dict[str, Any]]):
    same = drawn(report_of(*(measured(2) for _ in range(3))))["Frames per clip"]
    assert same[0] == "12 to 12, median 12" and len(same[1].patches) == 1
    many = drawn(report_of(*(measured(number) for number in range(60))))["Frames per clip"]
    assert many[0] == "10 to 69, median 40" and len(many[1].patches) == 30  # 39.5 in even digits


def test_heatmap_errors_are_levels_beside_the_bound(drawn: Callable[..., dict[str, Any]]):
    words, axes = drawn(report_of(*FOUR))["Heatmap error of each clip"]
    assert words == "0.100 to 0.400, median 0.250"
    (line,) = axes.lines
    bound = HEATMAP_TOLERANCE * 255
    assert list(line.get_xdata()) == [bound, bound] and line.get_linewidth() == 1.5
    assert to_hex(line.get_color()) == ORANGE
    assert len(axes.patches) == 30 and axes.patches[0].get_x() == 0
    assert axes.patches[-1].get_x() + axes.patches[-1].get_width() == pytest.approx(1.1 * bound)
    far = drawn(report_of(*FOUR, measured(0, heatmap_error=10 * LEVEL)))["Heatmap error of each clip"][1]
    assert far.patches[-1].get_x() + far.patches[-1].get_width() == pytest.approx(11)


def test_what_is_not_finite_is_left_out_and_counted(drawn: Callable[..., dict[str, Any]]):
    for bad in (float("nan"), float("inf")):
        words, _ = drawn(report_of(*FOUR, measured(0, heatmap_error=bad)))["Heatmap error of each clip"]
        assert words == "0.100 to 0.400, median 0.250; 1 not finite"
    none = report_of(*(replace(one, heatmap_error=float("nan")) for one in FOUR))
    assert drawn(none)["Heatmap error of each clip"][0] == "no value; 4 not finite"


def test_classes_are_stacked_split_by_split(drawn: Callable[..., dict[str, Any]]):
    labels, shards = (0, 0, 0, 1, 0, 1, 51, 0, -1, 52), (0, 1, 0, 1, 2, 2, 2, 3, 3, 3)
    words, axes = drawn(report_of(*FOUR, labels=labels, shards=shards))["Clips per class"]
    assert (
        words == "train 0 to 3 per class; val 0 to 1 per class; test 0 to 1 per class"
    )  # neither hidden nor unknown labels
    train, val, test = axes.containers
    for bars_of_split, name, colour in zip(
        (train, val, test), ("train", "val", "test"), (BLUE, ORANGE, GREEN), strict=True
    ):
        assert bars_of_split.get_label() == name and to_hex(bars_of_split[0].get_facecolor()) == colour
        assert len(bars_of_split) == 52
        assert [bar.get_x() + bar.get_width() / 2 for bar in bars_of_split] == pytest.approx(range(52))
        assert {round(bar.get_width(), 6) for bar in bars_of_split} == {0.85}  # a gap between the classes
    assert [(bar.get_y(), bar.get_height()) for bar in train[:2]] == [(0, 3), (0, 1)]
    assert [(bar.get_y(), bar.get_height()) for bar in val[:2]] == [(3, 1), (1, 1)]
    assert [(bar.get_y(), bar.get_height()) for bar in test[:2]] == [(4, 1), (2, 0)]
    assert val[51].get_height() == 1
    axes.figure.draw_without_rendering()
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["train", "val", "test"] and not legend.get_frame_on()
    beside, above = legend.get_window_extent().p0 - axes.get_window_extent().corners()[1]
    assert 0 <= above < 20 and 0 <= beside < 20  # pixels: over the top left corner
    assert legend._ncols == 3 and whole_ticks(axes.yaxis)


def test_a_split_without_labels_has_no_bars(drawn: Callable[..., dict[str, Any]]):
    words, axes = drawn(report_of(*FOUR, labels=(5, 5, -1, -1)))["Clips per class"]
    assert words == "train 0 to 2 per class" and len(axes.containers) == 1 and whole_ticks(axes.yaxis)
    words, axes = drawn(report_of(*FOUR, labels=(-1,) * 4))["Clips per class"]
    assert words == "every label is hidden" and not axes.containers and axes.get_legend() is None
    even = drawn(report_of(*FOUR, labels=tuple(range(52)), shards=(0,) * 52))["Clips per class"]
    assert even[0] == "train 1 per class"


def test_scores_are_the_spread_of_each_joint(drawn: Callable[..., dict[str, Any]]):
    clips = [measured(number, joint_scores=(0.5 + 0.005 * number, *SCORES[1:].tolist())) for number in range(101)]
    words, axes = drawn(report_of(*clips))["Score of each joint"]
    joints = manifest("ma52").joints
    last = joints[-1].replace("_", " ")
    assert words == f"lowest median: {last} 0.50"
    (spreads,), (points,) = axes.collections, axes.lines
    assert spreads.get_segments()[0].tolist() == pytest.approx(np.array([[0.525, 0], [0.975, 0]]))
    assert points.get_xdata()[0] == pytest.approx(0.75) and list(points.get_ydata()) == list(range(28))
    assert points.get_linestyle() == "None" and points.get_markersize() == 4
    assert spreads.get_alpha() == 0.35 and list(spreads.get_linewidth()) == [5]
    assert [text.get_text() for text in axes.get_yticklabels()] == [name.replace("_", " ") for name in joints]
    assert {text.get_fontsize() for text in axes.get_yticklabels()} == {8}
    assert axes.get_ylim() == (27.5, -0.5) and axes.get_xlim() == (0, 1)  # the first joint on top
    assert axes.figure.get_size_inches()[1] == pytest.approx(0.9 + 0.17 * 28)  # room for each name


def test_scores_may_be_over_1_and_joints_nowhere(drawn: Callable[..., dict[str, Any]]):
    clips = [measured(number, joint_scores=(1.6, float("nan"), *SCORES[2:].tolist())) for number in range(3)]
    words, axes = drawn(report_of(*clips))["Score of each joint"]
    assert axes.get_xlim() == (0, 1.6)
    assert words == f"lowest median: {manifest('ma52').joints[1].replace('_', ' ')} 0.00"
    assert axes.collections[0].get_segments()[1].tolist() == [[0, 1], [0, 1]]


def test_persons_are_counted(drawn: Callable[..., dict[str, Any]]):
    words, axes = drawn(report_of(*FOUR, measured(4, num_persons=2), measured(5, num_persons=0)))["Persons per clip"]
    assert words == "1 clips with 0 persons, 4 clips with 1 person, 1 clips with 2 persons"
    assert [height for *_, height in bars(axes)] == [1, 4, 1]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in axes.texts] == ["1", "4", "1"]
    assert {text.get_position()[1] for text in axes.texts} == {2}  # points above the bar
    assert [right - left for left, right, _ in bars(axes)] == pytest.approx([0.6] * 3)
    assert axes.margins() == (0.3, 0.15)  # room for the numbers


def test_lags_count_the_clips_that_move(drawn: Callable[..., dict[str, Any]]):
    lags = (0, 0, 1, -1, 2, -2, MAX_LAG, -MAX_LAG)
    moving = [measured(number, motion=lagging(lag)) for number, lag in enumerate(lags)]
    still = replace(lagging(3), curve=(0.1,) * (2 * MAX_LAG + 1))
    words, axes = drawn(report_of(*moving, measured(9, motion=still), measured(10)))["RGB against pose"]
    assert words == "8 of 9 clips move enough to judge; 4 of them match best within one frame"
    assert len(axes.patches) == 2 * MAX_LAG + 1 and whole_ticks(axes.yaxis)
    counts = {round((left + right) / 2): height for left, right, height in bars(axes)}
    assert counts == {-MAX_LAG: 1, -2: 1, -1: 1, 0: 2, 1: 1, 2: 1, MAX_LAG: 1}
    words, axes = drawn(report_of(measured(0, motion=still)))["RGB against pose"]
    assert words == "0 of 1 clips move enough to judge; 0 of them match best within one frame"
