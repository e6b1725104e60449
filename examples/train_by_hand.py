"""A training loop by hand: only stream, finisher, network, loss and SGD."""

import torch
from small_data import CLIPS, small_shards
from torch.nn.functional import cross_entropy

from epam_data.stream import BatchFinisher, Stream
from epam_model import build_epam

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)
stream = Stream(small_shards(), split="train", settings=CLIPS, training=True, seed=0)
finish = BatchFinisher.for_shards(stream.manifest).to(device)
model = build_epam(len(stream.manifest.classes), dropout=0.0).to(device).train()
optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=3e-4)

for epoch in range(3):
    losses = []
    for batch in stream.epoch(epoch):
        batch = batch.to(device)
        logits = model(*finish(batch))
        loss = cross_entropy(logits.rgb, batch.label) + cross_entropy(logits.pose, batch.label)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 40.0)
        optimiser.step()
        losses.append(loss.item())
    print(f"epoch {epoch} loss {sum(losses) / len(losses):.3f}")
torch.save(model.state_dict(), "examples_out/by_hand.pt")
