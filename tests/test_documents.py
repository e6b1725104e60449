"""What the documents say of the code is true: recipe keys and names that they mention exist."""

import re
from pathlib import Path

import pytest

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
