"""What the documents say of the code is true: recipe keys and names that they mention exist."""

import re
from pathlib import Path

import pytest
import yaml

import epam_data
from epam_data.build_commands import BuildCommand
from epam_data.check_commands import CheckCommand
from epam_data.config import RECIPE_SECTIONS, _leaf_types
from epam_data.stream import StreamSettings
from epam_model.cli import TrainCommand
from epam_model.config import TrainSettings
from epam_model.objective import Objective

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
KEYS = {key for command in (BuildCommand, CheckCommand, TrainCommand) for key, _ in _leaf_types(command)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_recipe_keys_that_a_document_names_exist(path: Path) -> None:
    sections = "|".join(RECIPE_SECTIONS)
    spans = re.findall(rf"`(?:--)?((?:{sections})\.[a-z_.]+[a-z_])(?:: [^`]*)?`", path.read_text(encoding="utf-8"))
    unknown = [key for key in spans if key not in KEYS and not any(known.startswith(f"{key}.") for known in KEYS)]
    assert not unknown, f"{path.name} names keys that no command has: {unknown}"


def test_the_switches_of_the_deviations_do_what_they_say() -> None:
    text = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
    for key, value in re.findall(r"`stream\.([a-z_]+): ([a-z_]+)`", text):
        changes = {key: value} | ({"heatmap": "drawn"} if key.endswith("crop") else {})
        StreamSettings(**changes)  # refuses what is not allowed
    assert "published_behaviour=True" in text
    objective = Objective(TrainSettings().loss, [0, 1], published_behaviour=True)
    assert not objective.fine_prototype.across_ranks and not objective.fine_prototype.train_diversity


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", epam_data.__version__)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for paper in citation["references"]:
        assert paper["identifiers"][0]["value"] in readme
        assert all(author["family-names"] in readme for author in paper["authors"])


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name
)
def test_an_issue_form_is_one(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"] and form["description"]
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea") and part["attributes"]
    text = " ".join(str(part["attributes"]) for part in form["body"])
    for place in re.findall(r"\b(?:docs|examples)/[\w./-]+\w", text):
        assert (ROOT / place).exists(), f"{path.name} names {place}"
