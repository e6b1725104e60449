"""Shared parts of the report pages: templates, plot style, embedded pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import jinja2
from matplotlib.figure import Figure
from PIL import Image

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#6b7280"  # safe for colour-blind readers

STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "text.parse_math": False,  # a class may be called `$x^{`
    "svg.fonttype": "none",  # keep text as text: sharp and small
    "svg.hashsalt": "epam",  # the same report gives the same bytes
}
"""matplotlib settings of every plot: `with matplotlib.rc_context(STYLE)`."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One plot."""

    title: str
    words: str  # its main numbers: the text alternative
    url: str  # the SVG as a data URL


def environment(*packages: str) -> jinja2.Environment:
    """Templates of these packages; the first package that has a name is used. All pages use our `report.css`."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def new_axes(x: str, y: str, height: float = 2.6, width: float = 4.2) -> Any:
    """Axes of a new figure with these labels; sizes in inches."""
    axes = Figure(figsize=(width, height), layout="constrained").subplots()  # needs no display, unlike pyplot
    axes.set(xlabel=x, ylabel=y)
    return axes


def finish_plot(title: str, words: str, axes: Any) -> Plot:
    """The figure of these axes as a `Plot`."""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="svg", metadata={"Date": None})
    url = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Plot(title=title, words=words, url=url)


def image_url(image: Image.Image) -> str:
    """A picture as a data URL (JPEG)."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
