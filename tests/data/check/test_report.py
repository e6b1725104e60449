import dataclasses
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from epam_data.check.check import CheckReport, CheckSettings, check
from epam_data.check.report import write_report
from epam_data.check.rules.finding import Finding
from epam_data.system.executors import ExecutorSettings
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


def test_every_link_leads_somewhere_and_ids_are_unique(clean: CheckReport, tmp_path: Path):
    tags = _Tags(write_report(clean, tmp_path).read_text())
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {link["href"][1:] for link in tags.of("a")}
    assert links and links <= set(ids)


def test_findings_are_shown_and_escaped(clean: CheckReport, tmp_path: Path):
    finding = Finding(check="tar", shard="train-000000", key="clip", what="<b>odd</b>")
    text = write_report(dataclasses.replace(clean, findings=(finding,)), tmp_path).read_text()
    assert "1 problem found" in text and "&lt;b&gt;odd&lt;/b&gt;" in text and "<b>odd" not in text


def test_a_problem_links_to_the_picture_of_its_clip(ma52_shards: Path, tmp_path: Path):
    root = Path(shutil.copytree(ma52_shards, tmp_path / "shards"))
    key = rewrite_first(root, lambda members: with_json(members, box=[0, 0, 30, 30]))
    broken = rewrite_first(root, lambda members: {**members, "rgb.mjpeg": b"x" * 100}, "val-000000")
    report = check(root, CheckSettings(sample="all"), ExecutorSettings())
    text = write_report(report, tmp_path / "report").read_text()
    assert re.search(rf'<td data-name="clip"><a href="#clip-{key}">{key}</a></td>', text)
    assert re.search(rf'id="clip-{key}">\s*<img', text)
    assert re.search(rf'id="clip-{broken}">\s*<p>No picture: {broken}: rgb.mjpeg: frame 0', text)


def test_many_findings_are_cut_and_counted(clean: CheckReport, tmp_path: Path):
    findings = tuple(Finding(check="tar", what=f"number {number}") for number in range(1001))
    text = write_report(dataclasses.replace(clean, findings=findings), tmp_path).read_text()
    assert "1,001 problems found" in text and "The first 1000 of 1001" in text
    assert text.count("<tr data-kind=") == 1000


def test_the_same_check_gives_the_same_page(clean: CheckReport, tmp_path: Path):
    one, other = (write_report(clean, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == other
