"""Settings of the whole suite."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, so that a red run is red again; HYPOTHESIS_PROFILE=random looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make soak-all` gives; options must be declared here, at the root of the tests."""
    group = parser.getgroup("soak", "long tests")
    group.addoption("--soak-all", action="store_true", help="soak tests with their full counts and several seeds")
    group.addoption("--soak-results", type=Path, metavar="FILE", help="write outcome and time of each test as JSON")
