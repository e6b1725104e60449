"""Tests inside MMAction2's own environment: `make test-mmaction`. Without MMAction2, nothing here is collected."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("mmaction") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch
    from mmengine.registry import DefaultScope

    import epam_model.mmaction  # noqa: F401  # registers
    from tests.mmaction.small import write_raw_ma52, write_raw_ntu60, write_small_shards

    @pytest.fixture(scope="session", autouse=True)
    def settings() -> None:
        torch.set_num_threads(2)
        DefaultScope.get_instance("tests", scope_name="mmaction")  # as a runner does

    @pytest.fixture(scope="session")
    def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """What the configs expect below the folder that they run in: `data/`, `shards/`. Read only."""
        root = tmp_path_factory.mktemp("data")
        write_raw_ntu60(root / "data")
        write_raw_ma52(root / "data" / "ma52")
        write_small_shards(root / "shards")
        return root

    @pytest.fixture
    def workplace(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """The current directory of one test, with the data in it."""
        for name in ("data", "shards"):
            (tmp_path / name).symlink_to(data / name)
        monkeypatch.chdir(tmp_path)
        yield tmp_path
