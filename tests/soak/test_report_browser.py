"""The report pages in a headless Chromium: no error, all pictures load, the table sorts and filters, axe is content."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from epam_data.check.check import CheckSettings, check
from epam_data.check.report import write_report
from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_data.system.executors import ExecutorSettings
from epam_model.commands.report import best_checkpoint
from epam_model.evaluate.predict import collect
from epam_model.reports.page import REPORT, Evaluation
from epam_model.reports.page import write_report as write_training_report
from epam_model.weights.checkpoint import load_checkpoint
from tests.data.damage import change_bytes, rewrite_first, with_json
from tests.data.raw_data import ntu60_plan, write_ntu60

pytestmark = pytest.mark.soak

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium here: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of good shards, and that of the same shards with several kinds of damage."""
    from epam_data.build.build import build

    folder = tmp_path_factory.mktemp("report")
    good, bad = folder / "good", folder / "bad"
    build(ntu60_plan(write_ntu60(folder / "raw"), good))
    shutil.copytree(good, bad)
    rewrite_first(bad, lambda members: with_json(members, box=[0, 0, 30, 30]))
    rewrite_first(bad, lambda members: with_json(members, label=60), "train-000001")
    change_bytes(bad / "train-000002.tar", lambda data: data.__setitem__(3, data[3] ^ 1))
    (bad / "val-000001.tar").unlink()
    settings = CheckSettings(sample="all", rgb=True)
    return {
        root.name: write_report(check(root, settings, ExecutorSettings()), folder / f"report_{root.name}")
        for root in (good, bad)
    }


@pytest.fixture(scope="module")
def training_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a training run, with curves, confusions and mistakes."""
    from tests.model.tiny import TinyRecogniser, tiny_trainer, write_shards

    folder = tmp_path_factory.mktemp("training")
    shards, run = write_shards(folder / "shards", train=14, val=21), folder / "run"
    tiny_trainer(shards, run, TinyRecogniser(dropout=0.9), epochs=2, lr=0.01).fit()
    checkpoint = load_checkpoint(best_checkpoint(run))
    stream = Stream(shards, split="val", settings=StreamSettings(**checkpoint.recipe["stream"]), training=False)
    finisher = BatchFinisher.for_shards(stream.manifest)
    evaluation = Evaluation(
        checkpoint_path=best_checkpoint(run),
        checkpoint=checkpoint,
        shards=shards,
        manifest=stream.manifest,
        split="val",
        predictions=collect(TinyRecogniser(), stream, finisher, torch.device("cpu")),
    )
    return write_training_report(evaluation, run / REPORT)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_training_report_opens_whole_and_accessible(browser: Any, training_page: Path, width: int):
    page, said = opened(browser, training_page, width)
    for summary in page.locator("summary").all():
        summary.click()
    broken = page.eval_on_selector_all("img", "all => all.filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)")
    assert page.locator("img").count() > 15 and broken == []
    assert page.locator("figcaption b").count() > 5, "some clips are wrong, and seen"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing may stick out to the right"
    violations = axe.Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations] == []
    assert said == []
    for link in page.locator("nav a").all():
        assert page.locator(str(link.get_attribute("href"))).count() == 1


def opened(browser: Any, path: Path, width: int) -> tuple[Any, list[str]]:
    """The page, and what it wrote to the console or asked the network for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not is_own(request.url, path) else None)
    page.goto(path.as_uri())
    return page, said


def is_own(url: str, path: Path) -> bool:
    return url.startswith("data:") or url == path.as_uri()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["good", "bad"])
def test_it_opens_whole_and_accessible(browser: Any, pages: dict[str, Path], name: str, width: int):
    page, said = opened(browser, pages[name], width)
    broken = page.eval_on_selector_all("img", "all => all.filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)")
    assert page.locator("img").count() > 10 and broken == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing may stick out to the right"
    violations = axe.Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations] == []
    assert said == []
    verdict = page.locator(".verdict").inner_text()
    assert ("No problem found" in verdict) == (name == "good")


def column(page: Any, number: int) -> list[str]:
    return page.eval_on_selector_all(
        f"#problems tbody tr:not([hidden]) td:nth-child({number})", "all => all.map(c => c.textContent)"
    )


def test_the_table_sorts_both_ways_and_by_number(browser: Any, pages: dict[str, Path]):
    page, _ = opened(browser, pages["bad"], 1280)
    for number, name in ((1, "Kind"), (2, "Shard"), (5, "Byte")):
        before = column(page, number)
        heading = page.get_by_role("button", name=name)
        heading.click()
        up = column(page, number)
        numeric = [int(text) if text.isdigit() else -1 for text in up]
        assert sorted(before) == sorted(up)
        assert numeric == sorted(numeric) if name == "Byte" else up == sorted(up)
        assert page.locator("th[aria-sort=ascending]").inner_text().strip() == name
        heading.click()
        assert column(page, number) == up[::-1] != up
        assert page.locator("th[aria-sort=descending]").count() == page.locator("th[aria-sort]").count() == 1


def test_the_table_filters_by_words_and_by_kind(browser: Any, pages: dict[str, Path]):
    page, _ = opened(browser, pages["bad"], 1280)
    total = len(column(page, 1))
    assert page.locator("#shown").inner_text() == f"{total} of {total} shown"
    page.get_by_label("Kind", exact=True).select_option("json")
    kinds = column(page, 1)
    assert set(kinds) == {"json"} and len(kinds) < total
    assert page.locator("#shown").inner_text() == f"{len(kinds)} of {total} shown"
    page.get_by_label("Kind", exact=True).select_option("all")
    page.get_by_label("Filter by words").fill("MISSING val-000001")
    assert column(page, 6) == ["the shard is missing"]
    page.get_by_label("Filter by words").fill("nothing of the kind")
    assert column(page, 1) == []
    page.get_by_label("Filter by words").fill("")
    assert len(column(page, 1)) == total


def test_a_problem_leads_to_the_picture_of_its_clip(browser: Any, pages: dict[str, Path]):
    page, _ = opened(browser, pages["bad"], 390)
    link = page.locator("#problems a").first
    key = link.inner_text()
    link.click()
    figure = page.locator(f"#clip-{key}")
    assert re.search(rf"#clip-{key}$", page.url) and figure.is_visible()
    assert figure.evaluate("f => f.getBoundingClientRect().top >= 0 && f.getBoundingClientRect().top < innerHeight")


def test_without_scripts_all_problems_are_there(browser: Any, pages: dict[str, Path]):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["bad"].as_uri())
    assert page.locator("#problems tbody tr").count() > 3 and not page.locator("#tools").is_visible()


def test_it_prints(browser: Any, pages: dict[str, Path], tmp_path: Path):
    page, _ = opened(browser, pages["bad"], 1280)
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator("#tools").is_visible() and page.locator("#problems").is_visible()
