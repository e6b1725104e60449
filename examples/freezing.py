"""Freezing: the RGB stream keeps its weights and its batch-norm statistics, the rest is trained."""

import torch
from small_data import CLIPS, small_shards
from torch.nn.functional import cross_entropy

from epam_data.stream import BatchFinisher, Stream
from epam_model import build_epam

stream = Stream(small_shards(), split="train", settings=CLIPS, training=True)
finish = BatchFinisher.for_shards(stream.manifest)
model = build_epam(len(stream.manifest.classes), freeze_rgb=True).train()

before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
optimiser = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.01, momentum=0.9)
for batch in stream.epoch(0):
    logits = model(*finish(batch))
    loss = cross_entropy(logits.rgb, batch.label) + cross_entropy(logits.pose, batch.label)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

for part in ("backbone.rgb_backbone", "backbone.pose_backbone", "backbone.attention", "head"):
    names = [name for name in before if name.startswith(part + ".")]
    changed = sum(not torch.equal(before[name], model.state_dict()[name]) for name in names)
    print(f"{part}: {changed} of {len(names)} tensors changed")
