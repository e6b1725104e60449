"""Evaluation: each sample exactly once, with several clips per sample; softmax is averaged over streams and clips."""

from dataclasses import replace

import torch
from small_data import CLIPS, small_shards

from epam_data.stream import BatchFinisher, Stream
from epam_model import build_epam

stream = Stream(small_shards(), split="val", settings=replace(CLIPS, num_clips=2), training=False)
finish = BatchFinisher.for_shards(stream.manifest)
model = build_epam(len(stream.manifest.classes)).eval()  # for real use: model.load_state_dict(...)

keys, labels, scores = [], [], []
with torch.inference_mode():
    for batch in stream.epoch():  # the last batch may be shorter: nothing is padded or left out
        logits = model(*finish(batch))
        streams = torch.stack([table.softmax(dim=1) for table in logits.streams.values()])  # (2, B * C, K)
        clips = streams.mean(dim=0).unflatten(0, (-1, batch.num_clips))  # the C clips of a sample are adjacent
        keys += batch.keys
        labels.append(batch.label)
        scores.append(clips.mean(dim=1))

label, score = torch.cat(labels), torch.cat(scores)
print(f"{len(keys)} clips, each once: {len(set(keys)) == len(keys) == stream.num_samples}")
print(f"top-1 {(score.argmax(dim=1) == label).float().mean():.1%} (untrained: chance is 1/6)")
