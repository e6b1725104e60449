import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

from epam_data.check import CheckSettings, Finding, check
from epam_data.report import write_report


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag == "img":
            self.images.append(dict(attrs))


def test_one_self_contained_page_with_verdict_and_pictures(ma52_shards: Path, tmp_path: Path):
    report = check(ma52_shards, CheckSettings(), num_workers=0)
    text = write_report(report, tmp_path / "report", num_clips=3).read_text()
    assert "No problem found" in text and "8 clips checked, 8 of them in depth" in text
    assert text.count("<svg") == 2
    tags = _Tags()
    tags.feed(text)
    assert len(tags.images) == 3
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in tags.images)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text.split("<svg")[0])


def test_findings_are_shown_and_escaped(ma52_shards: Path, tmp_path: Path):
    report = check(ma52_shards, CheckSettings(sample=0), num_workers=0)
    finding = Finding(shard="train-000000", key="clip", what="<b>odd</b>")
    text = write_report(dataclasses.replace(report, findings=(finding,)), tmp_path).read_text()
    assert "1 problem found" in text and "&lt;b&gt;odd&lt;/b&gt;" in text
