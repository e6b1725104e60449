"""Batches by hand: what a stream delivers, that an epoch is exact, and how to resume in the middle of one."""

from dataclasses import replace

import torch
from small_data import CLIPS, small_shards

from epam_data.stream import BatchFinisher, Stream

shards = small_shards()
stream = Stream(shards, split="train", settings=replace(CLIPS, workers=2), training=True, seed=0)
finish = BatchFinisher.for_shards(stream.manifest)

seen = []
for batch in stream.epoch(0):
    rgb, pose = finish(batch)  # (B, 3, T, S, S) and (B, V, T', h, w), float: normalised and flipped
    seen += batch.keys
print("rgb", tuple(rgb.shape), "pose", tuple(pose.shape), "labels", batch.label.tolist())
print(f"{len(seen)} clips, {len(set(seen))} different, of {stream.num_samples}")

# The order, the frames and the flips of an epoch are a function of (seed, epoch): they are the same for any number of
# workers and ranks, and after a resume. `consumed` is the number of clips that all ranks together have consumed.
rest = [key for batch in stream.epoch(0, consumed=4) for key in batch.keys]
print("resumes where it was:", rest == seen[4:])
stream.close()

halves = [Stream(shards, split="train", settings=CLIPS, training=True, seed=0, rank=rank, world=2) for rank in (0, 1)]
first = [half.read_step(epoch=0, step=0) for half in halves]
print("two ranks share the same global batch:", {key for part in first for key in part.keys} == set(seen[:4]))
print("flips", torch.cat([part.flip for part in first]).tolist())
