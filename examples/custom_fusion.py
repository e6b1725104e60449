"""Custom fusion: a learned gate decides, for each clip, how much to trust RGB and how much to trust the pose."""

import torch
from small_data import CLIPS, small_shards
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from epam_data.stream import BatchFinisher, Stream
from epam_model import EPAMBackbone


class GatedFusion(nn.Module):
    """Maps the features of both streams to one set of logits (B, K) and the share of RGB (B, 1)."""

    def __init__(self, rgb_channels: int, pose_channels: int, num_classes: int) -> None:
        super().__init__()
        self.rgb = nn.Linear(rgb_channels, num_classes)
        self.pose = nn.Linear(pose_channels, num_classes)
        self.gate = nn.Linear(rgb_channels + pose_channels, 1)

    def forward(self, rgb_features: Tensor, pose_features: Tensor) -> tuple[Tensor, Tensor]:
        rgb, pose = rgb_features.mean(dim=(2, 3, 4)), pose_features.mean(dim=(2, 3, 4))
        share = torch.sigmoid(self.gate(torch.cat([rgb, pose], dim=1)))
        return share * self.rgb(rgb) + (1 - share) * self.pose(pose), share


torch.manual_seed(0)
stream = Stream(small_shards(), split="train", settings=CLIPS, training=True)
finish = BatchFinisher.for_shards(stream.manifest)
backbone = EPAMBackbone()
fusion = GatedFusion(backbone.rgb_channels, backbone.pose_channels, len(stream.manifest.classes))
optimiser = torch.optim.SGD([*backbone.parameters(), *fusion.parameters()], lr=0.02, momentum=0.9)
for batch in stream.epoch(0):
    logits, share = fusion(*backbone(*finish(batch)))
    loss = cross_entropy(logits, batch.label)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    print(f"loss {loss.item():.3f}, share of RGB {[round(value, 2) for value in share[:, 0].tolist()]}")
