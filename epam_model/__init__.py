"""Two-stream action recognition: networks, losses and training on batches of `epam_data.stream`.

`EPAMBackbone()(rgb, pose)` returns the features of both streams; the recogniser of `build_epam(num_classes)`
adds a classifier and returns `Logits`.
"""

from epam_model.networks.epam import EPAMBackbone
from epam_model.networks.heads import Logits, TwoStreamHead
from epam_model.networks.recogniser import TwoStreamRecogniser, build_epam

__all__ = ["EPAMBackbone", "Logits", "TwoStreamHead", "TwoStreamRecogniser", "build_epam"]
