from pathlib import Path

import pytest

from tests.data.test_cli import RECIPE, raw_arguments


@pytest.fixture
def arguments(ntu60_raw: Path, tmp_path: Path) -> list[str]:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    return [str(recipe), *raw_arguments(ntu60_raw), "--workers", "0"]
