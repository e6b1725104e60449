"""The settings of the section prepare: what a build takes unless told otherwise, and what it refuses."""

import math
import re
from dataclasses import asdict
from typing import Any

import pytest

from epam_data.samples.settings import PrepareSettings


def test_the_defaults_are_those_of_the_documents() -> None:
    """They are the published ones, and shards whose manifest lacks a setting were built with them."""
    assert asdict(PrepareSettings()) == {
        "rgb_size_px": 224,
        "box_padding": 0.25,
        "box_threshold_px": 10,
        "pad_image": False,
        "heatmap_size_px": 56,
        "heatmap_kind": "joints",
        "sigma_px": 0.6,
        "use_scores": True,
        "max_frame_difference": 8,
        "min_overlap": 0.5,
        "decoder": "pyav",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rgb_size_px": 7}, "prepare.rgb_size_px must be in 8..4096, got 7"),
        ({"heatmap_size_px": 7}, "prepare.heatmap_size_px must be in 8..4096, got 7"),
        ({"sigma_px": 0}, "prepare.sigma_px must be in 0.001..1000000, got 0"),
        ({"sigma_px": math.nan}, "prepare.sigma_px must be in 0.001..1000000, got nan"),
        ({"box_padding": -0.01}, "prepare.box_padding must be in 0..100, got -0.01"),
        ({"box_padding": math.nan}, "prepare.box_padding must be in 0..100, got nan"),
        ({"sigma_px": math.inf}, "prepare.sigma_px must be in 0.001..1000000, got inf"),
        ({"box_padding": math.inf}, "prepare.box_padding must be in 0..100, got inf"),
        ({"box_padding": 1e308}, "prepare.box_padding must be in 0..100, got 1e+308"),
        ({"box_threshold_px": -1}, "prepare.box_threshold_px must be in 0..1000000, got -1"),
        ({"max_frame_difference": -1}, "prepare.max_frame_difference must be in 0..1000000000, got -1"),
        ({"min_overlap": 1.5}, "prepare.min_overlap must be in 0..1, got 1.5"),
        ({"min_overlap": -0.5}, "prepare.min_overlap must be in 0..1, got -0.5"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PrepareSettings(**settings)


@pytest.mark.parametrize(
    ("name", "value", "allowed"), [("heatmap_kind", "bones", "joints.*limbs"), ("decoder", "opencv", "pyav.*decord")]
)
def test_unknown_choices_are_refused(name: str, value: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"^prepare\.{name} must be .*{allowed}, got '{value}'$"):
        PrepareSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rgb_size_px", (8,)),
        ("heatmap_size_px", (8,)),
        ("heatmap_kind", ("joints", "limbs")),
        ("decoder", ("pyav", "decord")),
        ("sigma_px", (0.01, 1e6)),
        ("box_padding", (0, 100)),
        ("box_threshold_px", (0,)),
        ("max_frame_difference", (0,)),
        ("min_overlap", (0, 1)),
    ],
)
def test_the_bounds_themselves_are_allowed(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        assert getattr(PrepareSettings(**{name: value}), name) == value
