"""Distillation: a pose network learns from the predictions of a two-stream teacher, and from the labels."""

import torch
from small_data import CLIPS, small_shards
from torch.nn.functional import cross_entropy, kl_div

from epam_data.stream import BatchFinisher, Stream
from epam_model import build_epam
from epam_model.build import build_for
from epam_model.networks.settings import ModelSettings

TEMPERATURE = 2.0

torch.manual_seed(0)
stream = Stream(small_shards(), split="train", settings=CLIPS, training=True)
finish = BatchFinisher.for_shards(stream.manifest)
teacher = build_epam(len(stream.manifest.classes)).eval()  # for real use: teacher.load_state_dict(...)
student = build_for(ModelSettings(streams="pose"), stream.manifest).train()
optimiser = torch.optim.SGD(student.parameters(), lr=0.02, momentum=0.9)

for batch in stream.epoch(0):
    rgb, pose = finish(batch)
    with torch.no_grad():
        target = (teacher(rgb, pose).fused / TEMPERATURE).softmax(dim=1)
    logits = student(rgb, pose).pose
    soft = kl_div((logits / TEMPERATURE).log_softmax(dim=1), target, reduction="batchmean") * TEMPERATURE**2
    hard = cross_entropy(logits, batch.label)
    optimiser.zero_grad()
    (soft + hard).backward()
    optimiser.step()
    print(f"teacher {soft.item():.3f} labels {hard.item():.3f}")
sizes = [sum(weight.numel() for weight in network.parameters()) for network in (teacher, student)]
print(f"parameters: teacher {sizes[0]}, student {sizes[1]}")
