"""Where the tests find things outside themselves."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = ROOT / "pipelines"
SHARED = ROOT.parent / "shared"
"""Reference data beside the checkout; tests that need it skip with a message where it is absent."""
