"""One stream: a pose network, whose weights then initialise the pose stream of a two-stream network."""

from dataclasses import replace

import torch
from small_data import CLIPS, small_shards

from epam_data.stream import BatchFinisher, Stream
from epam_model.build import build_for
from epam_model.networks.settings import ModelSettings

stream = Stream(small_shards(), split="val", settings=CLIPS, training=False)
finish = BatchFinisher.for_shards(stream.manifest)
pose_only = ModelSettings(streams="pose")  # in a recipe: `model: {streams: pose}`
model = build_for(pose_only, stream.manifest).eval()

with torch.inference_mode():
    batch = next(stream.epoch())
    logits = model(*finish(batch))  # called like a two-stream network; it uses only the heatmaps
print("streams", list(logits.streams), "pose logits", tuple(logits.pose.shape))

torch.save(model.state_dict(), "examples_out/pose.pt")
both = replace(pose_only, streams="both", init_from=["examples_out/pose.pt"])
two_streams = build_for(both, stream.manifest, tell=print)  # prints what was loaded from the file
print("parameters", *(sum(weight.numel() for weight in network.parameters()) for network in (model, two_streams)))
