"""GPU or CPU: the same code and the same numbers; batches are copied as uint8 and finished on the model's device."""

import torch
from small_data import CLIPS, small_shards

from epam_data.stream import BatchFinisher, Stream
from epam_model import build_epam

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Batches in pinned memory are copied to a GPU while it works on the previous batch.
stream = Stream(small_shards(), split="val", settings=CLIPS, training=False, pin_memory=device.type == "cuda")
finish = BatchFinisher.for_shards(stream.manifest).to(device)
model = build_epam(len(stream.manifest.classes)).to(device).eval()

with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
    for batch in stream.epoch():
        megabytes = (batch.rgb.nbytes + batch.heatmap.nbytes) / 1e6
        rgb, pose = finish(batch.to(device))
        logits = model(rgb, pose)
        print(f"{megabytes:.1f} MB of uint8 -> {(rgb.nbytes + pose.nbytes) / 1e6:.1f} MB of float on {rgb.device.type}")
print("predicted", [stream.manifest.classes[label] for label in logits.fused.argmax(dim=1).tolist()])
