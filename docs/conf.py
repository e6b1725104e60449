"""Sphinx: `make docs` writes docs/_build/html; a warning, as of a broken link, is an error."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from epam_data import __version__  # noqa: E402

project, author, release = "epam", "The epam developers", __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"epam {release}"
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
default_role = "code"
napoleon_google_docstring, napoleon_numpy_docstring = True, False

LATER = ("streaming", "training", "clusters", "mmaction2")  # index.md has their places; each appears once it is written


def leave_out_what_is_not_written(app: Sphinx, name: str, source: list[str]) -> None:
    """Drop the lines of the index that name a document of `LATER` which is not there."""
    absent = {later for later in LATER if not (Path(app.srcdir) / f"{later}.md").exists()}
    if name == "index":
        source[0] = "".join(line for line in source[0].splitlines(keepends=True) if line.strip() not in absent)


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", leave_out_what_is_not_written)
