import base64
import io

import jinja2
import matplotlib
import pytest
from PIL import Image

from epam_data.show.page import STYLE, environment, finish_plot, image_url, new_axes


def test_plots_are_svg_with_real_text_and_the_same_each_time():
    def drawn() -> str:
        with matplotlib.rc_context(STYLE):
            axes = new_axes("frames", "clips", height=2, width=3)
            axes.plot([1, 2], [3, 4])
            return finish_plot("Title", "3 to 4", axes).url

    svg = base64.b64decode(drawn().removeprefix("data:image/svg+xml;base64,")).decode()
    assert ">frames</text>" in svg and ">clips</text>" in svg
    assert drawn() == drawn()


def test_pictures_become_data_urls():
    url = image_url(Image.new("RGB", (20, 10), (200, 30, 30)))
    image = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))))
    assert image.size == (20, 10) and image.getpixel((5, 5))[0] > 150


def test_templates_escape_what_they_show_and_refuse_unknown_names():
    page = environment("epam_data")
    assert ".tiles" in page.get_template("report.css").render()
    assert page.from_string("{{ name }}").render(name="<b>") == "&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError):
        page.from_string("{{ name }}").render()
