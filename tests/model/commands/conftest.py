from pathlib import Path

import pytest

from tests.model.commands.untrained import RECIPE, save_untrained


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def checkpoint(recipe: Path, shards: Path) -> Path:
    return save_untrained(recipe.parent / "best.pt", shards)


@pytest.fixture(scope="module")
def given(recipe: Path, shards: Path, checkpoint: Path) -> list[str]:
    """What every call gives."""
    return [str(recipe), "--shards", str(shards), "--checkpoint", str(checkpoint), "--device", "cpu"]
