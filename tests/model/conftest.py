from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from epam_data.taxonomy import Taxonomy
from tests.model.tiny import write_shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 training, 7 evaluation and 5 hidden test clips: RGB 32 pixels, heatmaps 8 pixels, 6 classes. Read only."""
    return write_shards(tmp_path_factory.mktemp("tiny") / "shards")


@pytest.fixture(scope="session")
def plain_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of 13 classes that have no coarse groups. Read only."""
    classes = Taxonomy(name="plain", classes=tuple(f"class {label}" for label in range(13)))
    return write_shards(tmp_path_factory.mktemp("plain") / "shards", taxonomy=classes)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums over several threads differ in the last bit from those of one; and small tensors gain
    nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
