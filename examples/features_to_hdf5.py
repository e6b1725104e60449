"""Features to HDF5: a row per clip with its key, label, logits, pooled features and attention map."""

from pathlib import Path

import h5py
import torch
from small_data import CLIPS, small_shards

from epam_data.stream import BatchFinisher, Stream
from epam_model import build_epam
from epam_model.tools.features import extract

stream = Stream(small_shards(), split="val", settings=CLIPS, training=False)
finish = BatchFinisher.for_shards(stream.manifest)
model = build_epam(len(stream.manifest.classes))

out = Path("examples_out/features.h5")
out.unlink(missing_ok=True)  # an existing file is never overwritten
# `identity` says what was computed; an interrupted call resumes only from parts with the same identity.
extract(model, stream, finish, torch.device("cpu"), out, identity={"weights": "untrained"})

with h5py.File(out) as file:
    for name, column in file.items():
        print(name, column.shape, column.dtype)
