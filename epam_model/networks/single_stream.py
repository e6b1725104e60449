"""One stream of EPAM-Net alone, for pretraining and for controls."""

from __future__ import annotations

from torch import Tensor, nn

from epam_model.heads import Logits
from epam_model.networks.x_shift_net import XShiftNet, pose_stream, rgb_stream

STREAMS = ("rgb", "pose")


class SingleStreamRecogniser(nn.Module):
    """One X-ShiftNet, mean over time and space, dropout and a fully connected layer.

    It is called like a two-stream recogniser, so that training and evaluation need not know; the other stream's
    clips are not looked at.

    Args:
        stream: `rgb` or `pose`.
        num_classes: number of classes K.
        num_joints: channels of the heatmaps; only the pose stream reads them.
        dropout: probability of dropping a pooled channel in training.

    Attributes:
        backbone: the stream, whose state dict `EPAMBackbone` takes as a pretrained one.

    Raises:
        ValueError: for an unknown stream, or if num_classes is not positive.
    """

    def __init__(self, stream: str, num_classes: int, *, num_joints: int = 17, dropout: float = 0.5) -> None:
        super().__init__()
        if stream not in STREAMS:
            raise ValueError(f"stream must be one of {', '.join(STREAMS)}, got {stream!r}")
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.stream = stream
        self.backbone: XShiftNet = rgb_stream() if stream == "rgb" else pose_stream(num_joints)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.backbone.out_channels, num_classes)
        nn.init.normal_(self.fc.weight, std=0.01)  # the published start, as in TwoStreamHead
        nn.init.zeros_(self.fc.bias)

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        """Classifies clips: rgb (B, 3, T, H, W) and pose (B, V, T', h, w), float; one of them is read."""
        features = self.backbone(rgb if self.stream == "rgb" else pose)  # (B, C, T, H, W)
        logits: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3, 4))))
        return Logits(rgb=logits) if self.stream == "rgb" else Logits(pose=logits)
