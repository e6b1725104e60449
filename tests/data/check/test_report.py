import dataclasses
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from epam_data.check import report as module
from epam_data.check.check import CheckReport, CheckSettings, check
from epam_data.check.report import ClipPicture, write_report
from epam_data.check.rules.finding import Finding
from epam_data.readers import find_reader
from epam_data.shards.codec import HEATMAP_TOLERANCE
from epam_data.shards.manifest import ShardEntry
from epam_data.system.executors import ExecutorSettings
from tests.data.check.rules.test_splits import index, manifest
from tests.data.check.test_plots import measured, report_of
from tests.data.damage import rewrite_first, with_json


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


@pytest.fixture(scope="module")
def clean(ma52_shards: Path) -> CheckReport:
    return check(ma52_shards, CheckSettings(sample="all", rgb=True), ExecutorSettings())


def test_one_self_contained_page_with_verdict_and_pictures(clean: CheckReport, tmp_path: Path):
    text = write_report(clean, tmp_path / "report", num_clips=3).read_text()
    assert "No problem found" in text
    assert "8 clips checked, 8 of them in depth, 8 with every frame decoded." in " ".join(text.split())
    tags = _Tags(text)
    pictures = tags.of("img")
    assert sum(image["src"].startswith("data:image/svg+xml") for image in pictures) >= 7
    assert sum(image["src"].startswith("data:image/jpeg") for image in pictures) >= 4  # random ones and a mirrored one
    assert all(image["alt"] for image in pictures)
    assert any("mirrored frame" in image["alt"] for image in pictures)
    for tag, attributes in tags.found:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in text and "url(" not in text
    assert 'id="problems"' not in text


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take most of a page's time, and test_plots.py looks at them."""
    monkeypatch.setattr(module, "plots", lambda report: [])


def test_every_link_leads_somewhere_and_ids_are_unique(no_plots: None, clean: CheckReport, tmp_path: Path):
    tags = _Tags(write_report(clean, tmp_path).read_text())
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {link["href"][1:] for link in tags.of("a")}
    assert links and links <= set(ids)


def test_findings_are_shown_and_escaped(no_plots: None, clean: CheckReport, tmp_path: Path):
    finding = Finding(check="tar", shard="train-000000", key="clip", what="<b>odd</b>")
    text = write_report(dataclasses.replace(clean, findings=(finding,)), tmp_path).read_text()
    assert "1 problem found" in text and "&lt;b&gt;odd&lt;/b&gt;" in text and "<b>odd" not in text


def test_a_problem_links_to_the_picture_of_its_clip(no_plots: None, ma52_shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(ma52_shards, tmp_path / "shards"))
    key = rewrite_first(root, lambda members: with_json(members, box=[0, 0, 30, 30]))
    broken = rewrite_first(root, lambda members: {**members, "rgb.mjpeg": b"x" * 100}, "val-000000")
    report = check(root, CheckSettings(sample="all"), ExecutorSettings())
    text = write_report(report, tmp_path / "report").read_text()
    assert re.search(rf'<td data-name="clip"><a href="#clip-{key}">{key}</a></td>', text)
    assert re.search(rf'id="clip-{key}">\s*<img', text)
    assert re.search(rf'id="clip-{broken}">\s*<p>No picture: {broken}: rgb.mjpeg: 100 bytes cannot be', text)


def test_many_findings_are_cut_and_said(no_plots: None, clean: CheckReport, tmp_path: Path):
    findings = tuple(Finding(check="tar", what=f"number {number}") for number in range(1001))
    text = write_report(dataclasses.replace(clean, findings=findings), tmp_path).read_text()
    assert "1,001 problems found" in text and "The first 1000 of 1001" in text
    assert text.count("<tr data-kind=") == 1000
    text = write_report(dataclasses.replace(clean, findings=findings[:1000]), tmp_path).read_text()
    assert text.count("<tr data-kind=") == 1000 and "The first 1000" not in text


def test_the_same_check_gives_the_same_page(no_plots: None, clean: CheckReport, tmp_path: Path):
    one, other = (write_report(clean, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == other


NUM = 30
KEYS = [f"k{number}" for number in range(NUM)]


@pytest.fixture
def shown(no_plots: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What a page is made from; pictures are named, not drawn."""
    values: dict[str, Any] = {}
    template = SimpleNamespace(render=lambda **given: values.update(given) or "page")

    def draw(report: CheckReport, key: str, *, num_frames: int, flip: bool = False) -> ClipPicture:
        return ClipPicture(key=key, title="", alt=f"{num_frames} moments{', mirrored' if flip else ''}", url="")

    monkeypatch.setattr(module, "environment", lambda _: SimpleNamespace(get_template=lambda _: template))
    monkeypatch.setattr(module, "_picture", draw)

    def show(report: CheckReport, **settings: Any) -> dict[str, Any]:
        values.clear()
        path = write_report(report, tmp_path / "deep" / "report", **settings)
        assert path == tmp_path / "deep" / "report" / "index.html" and path.read_text() == "page"
        return dict(values)

    return show


def thirty(*faulty: str) -> CheckReport:
    """30 clips, of which those keys have findings; k29 has the fewest frames, k28 the most bytes a frame ..."""
    measures = [measured(40 - number) for number in range(NUM)]
    plain = report_of(*measures, labels=(0,) * NUM, shards=(0,) * NUM)
    findings = tuple(Finding(check="tar" if key < "k2" else "json", key=key, what="w") for key in faulty)
    return dataclasses.replace(plain, findings=findings)


def keys(pictures: list[ClipPicture], alt: str) -> list[str]:
    assert all(picture.alt == alt for picture in pictures)
    return [picture.key for picture in pictures]


def test_twelve_clips_with_problems_and_six_random_ones_are_drawn_once_each(shown: Callable[..., dict[str, Any]]):
    values = shown(thirty("unknown", "", *KEYS[:20], *KEYS))
    problems = keys(values["problem_clips"], "1 moments")
    chosen = keys(values["random_clips"], "2 moments")
    extreme = keys(values["extreme_clips"], "1 moments")
    assert problems == KEYS[:12] and len(chosen) == 6
    everything = [*problems, *chosen, *extreme]
    assert len(set(everything)) == len(everything) and set(everything) == values["pictured"]
    assert values["flipped"].key == chosen[0] and values["flipped"].alt == "2 moments, mirrored"
    assert values["kinds"] == ["json", "tar"] and values["tolerance"] == HEATMAP_TOLERANCE
    assert [finding.key for finding in values["findings"]] == ["unknown", "", *KEYS[:20], *KEYS]


def test_random_clips_are_seeded(shown: Callable[..., dict[str, Any]]):
    def chosen(**settings: Any) -> list[str]:
        return [picture.key for picture in shown(thirty(), **settings)["random_clips"]]

    assert chosen() == chosen(seed=0) != chosen(seed=1)
    assert len(chosen(num_clips=9)) == 9 and len(chosen(num_clips=99)) == NUM
    assert chosen(num_clips=0) == [] and shown(thirty(), num_clips=0)["flipped"] is None


def test_the_most_extreme_clip_of_each_ranking_is_drawn(shown: Callable[..., dict[str, Any]]):
    values = shown(thirty(), num_clips=0)
    assert keys(values["extreme_clips"], "1 moments") == list(
        dict.fromkeys(ranking.clips[0][0] for ranking in values["rankings"])
    )


def test_counts_are_those_of_index_and_manifest(shown: Callable[..., dict[str, Any]]):
    entries = [("train-000000", "train", 5), ("train-000001", "train", 2), ("val-000000", "val", 4)]
    shards = tuple(ShardEntry(name=n, split=s, num_samples=c, num_bytes=10**c, sha256="") for n, s, c in entries)
    there = index(["a", "b", "c", "d", "e"], [0, 1, 2, 0, 0], [1, 1, 59, -1, 0])
    report = dataclasses.replace(
        report_of(), manifest=manifest(shards=shards), index=there, reader=find_reader("ntu60")
    )
    values = shown(report)
    assert values["splits"] == [("train", 2, 7, 40_091), ("val", 1, 4, 16_487)]
    assert values["num_bytes"] == 10**5 + 10**2 + 10**4
    table = values["class_table"]
    names, groups = report.manifest.classes, report.manifest.groups
    assert [row[:2] for row in table] == list(enumerate(names)) and len(table) == 60
    assert [row[2] for row in table] == [groups[number] for number in report.manifest.coarse_of]
    assert (table[0][3], table[1][3], table[2][3], table[59][3]) == ([1, 0], [2, 0], [0, 0], [0, 1])


def test_splits_of_nobody_and_classes_without_groups_have_no_row(shown: Callable[..., dict[str, Any]]):
    plain = report_of()
    bare = dataclasses.replace(plain.manifest, groups=(), coarse_of=(), shards=plain.manifest.shards[:2])
    values = shown(dataclasses.replace(plain, manifest=bare))
    assert values["splits"] == [("train", 2, 0, None)]
    assert {row[2] for row in values["class_table"]} == {""} and len(values["class_table"]) == 52


@pytest.mark.parametrize(("label", "name"), [(0, "0 {}"), (51, "51 {}"), (52, "hidden label"), (-1, "hidden label")])
def test_a_picture_says_class_split_and_moments(label: int, name: str, clean: CheckReport):
    labels = clean.index.label.copy()
    labels[5] = label
    report = dataclasses.replace(clean, index=dataclasses.replace(clean.index, label=labels))
    key, name = report.index.row(5).key, name.format(report.manifest.classes[label % 52])
    one = module._picture(report, key, num_frames=1)
    assert (one.key, one.title) == (key, f"{name}, val") and one.why_not == ""
    assert one.alt == f"{key}, {name}: frame, skeleton and heatmap, 1 moments"
    two = module._picture(report, key, num_frames=2, flip=True)
    assert two.alt == f"{key}, {name}: mirrored frame, skeleton and heatmap, 2 moments"
    assert two.url.startswith("data:image/jpeg") and two.height > one.height > 0 and two.width == one.width > 0


def test_a_clip_whose_shard_is_not_there_has_no_picture(clean: CheckReport, tmp_path: Path):
    one = module._picture(dataclasses.replace(clean, root=tmp_path), clean.index.row(0).key, num_frames=1)
    assert (one.url, one.width, one.height, one.alt) == ("", 0, 0, "") and "train-000000" in one.why_not


def test_shards_are_closed_behind_each_picture(clean: CheckReport, monkeypatch: pytest.MonkeyPatch):
    closed, close = [], module.ShardReader.close
    monkeypatch.setattr(module.ShardReader, "close", lambda self: closed.append(self) or close(self))
    module._picture(clean, clean.index.row(0).key, num_frames=1)
    assert len(closed) == 1
