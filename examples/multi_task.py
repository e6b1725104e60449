"""Multi-task heads on one backbone: the action and its coarse group, from the same features."""

import torch
from small_data import CLIPS, small_shards
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from epam_data.stream import BatchFinisher, Stream
from epam_model import EPAMBackbone, Logits, TwoStreamHead


class MultiTask(nn.Module):
    """One backbone, one head per task."""

    def __init__(self, **num_classes: int) -> None:
        super().__init__()
        self.backbone = EPAMBackbone()
        channels = (self.backbone.rgb_channels, self.backbone.pose_channels)
        self.heads = nn.ModuleDict({task: TwoStreamHead(count, *channels) for task, count in num_classes.items()})

    def forward(self, rgb: Tensor, pose: Tensor) -> dict[str, Logits]:
        features = self.backbone(rgb, pose)
        return {task: head(*features) for task, head in self.heads.items()}


torch.manual_seed(0)
stream = Stream(small_shards(), split="train", settings=CLIPS, training=True)
finish = BatchFinisher.for_shards(stream.manifest)
model = MultiTask(action=len(stream.manifest.classes), group=len(stream.manifest.groups))
optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for batch in stream.epoch(0):
    outputs = model(*finish(batch))
    labels = {"action": batch.label, "group": batch.coarse_label}  # the shards have both
    losses = {
        task: sum(cross_entropy(logits, labels[task]) for logits in outputs[task].streams.values()) for task in outputs
    }
    optimiser.zero_grad()
    sum(losses.values()).backward()
    optimiser.step()
    print({task: round(loss.item(), 3) for task, loss in losses.items()})
