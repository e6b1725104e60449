"""Two-stream action recognition: networks, losses and training on batches of `epam_data.stream`.

`EPAMBackbone()(rgb, pose)` returns the features of both streams; the recogniser of `build_epam(num_classes)`
adds a classifier and returns `Logits`.

The names below are imported on first use: reading a recipe does not need torch, and `EPAMBackbone` needs only torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epam_model.networks.epam import EPAMBackbone
    from epam_model.networks.heads import Logits, TwoStreamHead
    from epam_model.networks.recogniser import TwoStreamRecogniser, build_epam

__all__ = ["EPAMBackbone", "Logits", "TwoStreamHead", "TwoStreamRecogniser", "build_epam"]

_MODULES = {
    "EPAMBackbone": "epam",
    "Logits": "heads",
    "TwoStreamHead": "heads",
    "TwoStreamRecogniser": "recogniser",
    "build_epam": "recogniser",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.networks.{_MODULES[name]}"), name)
