from pathlib import Path

import pytest

from tests.data.raw_data import write_shard


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write_shard(tmp_path)
    return tmp_path / "train-000000.tar"
