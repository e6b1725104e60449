"""For tests that need the published models' full outputs."""

import pytest

from tests.model.golden import GOLDENS

needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(),
    reason="the published models' full outputs (shared/goldens) are not beside the repository",
)
