"""A single stream of a network, for pretraining and for controls."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from epam_model.networks.heads import Head, Logits, StreamScores
from epam_model.networks.published_weights import PublishedWeights
from epam_model.networks.two_streams import StreamBackbone
from epam_model.weights.published_names import Names, PublishedNames


class SingleStreamRecogniser(PublishedWeights):
    """One stream's backbone and its head.

    It is called like a two-stream recogniser, so that training and evaluation need no special case; it ignores the
    other stream's clips.

    Args:
        backbone: maps a clip of the stream to features (B, C, T, H, W); its weights can start a two-stream network.
        head: the classifier; its `streams` names this stream.
    """

    def __init__(self, backbone: StreamBackbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def module_parts(self) -> Mapping[str, str]:
        """Submodule -> part of the network, for `train.lr_factors`."""
        return {"backbone": self.head.streams[0], "head": "head"}

    def published_names(self) -> Names:
        """The names of MMAction2 and of PCAN's head; none for a network without published weights."""
        published = getattr(self.backbone, "published", None)
        return published.recogniser(self.head.streams[0]) if isinstance(published, PublishedNames) else {}

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        """Classifies clips: rgb (B, 3, T, H, W) and pose (B, V, T', h, w), float; only one of them is used."""
        is_rgb = self.head.streams == ("rgb",)
        scores: StreamScores = self.head(self.backbone(rgb if is_rgb else pose))
        if is_rgb:
            return Logits(rgb=scores.fine, rgb_coarse=scores.coarse, embeddings=scores.embeddings)
        return Logits(pose=scores.fine, pose_coarse=scores.coarse, embeddings=scores.embeddings)
