"""A control: training on labels that were permuted over the training set.

Clips and labels are then unrelated, so accuracy on the unchanged evaluation split must stay near chance (the share of
the most frequent class). Higher accuracy means that labels leak into the input or the evaluation.

The permutation gives each true class every label in equal shares. A plain permutation does so only on average: a class
may get one label more often by chance, the network learns that label for the class, and the accuracy jumps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from epam_data.randomness import Purpose, generator
from epam_data.shards.index import Index
from epam_data.stream import Batch, Stream
from epam_model.train.settings import TrainSettings


def shuffled_labels(index: Index, rows: NDArray[np.int64], seed: int) -> dict[str, int]:
    """A label for each key of these rows: their labels, permuted with the seed, evenly over each true class."""
    rng = generator(Purpose.LABEL_SHUFFLE, seed)
    rows = rng.permutation(rows)
    rows = rows[np.argsort(index.label[rows], kind="stable")]  # sorted by class, in random order inside a class
    # Spread the occurrences of each label evenly over this list: the i-th of n is at about (i + 1/2) / n of its length.
    labels = index.label[rows]
    _, first, counts = np.unique(labels, return_index=True, return_counts=True)
    position = (np.arange(len(labels)) - np.repeat(first, counts) + rng.random(len(labels))) / np.repeat(counts, counts)
    return {key.decode(): int(label) for key, label in zip(index.keys[rows], labels[np.argsort(position)], strict=True)}


def relabel(batch: Batch, labels: Mapping[str, int], coarse_of: tuple[int, ...]) -> Batch:
    """The batch with the labels of `labels`, by key, and the matching coarse labels, if any."""
    label = torch.tensor([labels[key] for key in batch.keys])
    coarse_label = torch.tensor(coarse_of)[label] if coarse_of else torch.full_like(label, -1)
    return replace(batch, label=label, coarse_label=coarse_label)


def training_labels(stream: Stream, settings: TrainSettings) -> dict[str, int]:
    """Labels to use instead of the true ones, by key: empty unless `shuffle_labels` is set.

    Raises:
        ValueError: a training clip has no label, or no evaluation clip has one.
    """
    shards, manifest, index = stream.root, stream.manifest, stream.index
    clips = stream.view.rows
    train, val = clips["train"], clips.get("val", clips["train"][:0])
    hidden = index.keys[train[index.label[train] < 0]]
    if len(hidden):
        raise ValueError(f"{shards}: training needs labels, but that of {hidden[0].decode()} is hidden")
    if (index.label[val] < 0).all():
        raise ValueError(f"{shards}: every label of val is hidden, so the best checkpoint cannot be found")
    if index.label.max() >= len(manifest.classes):
        raise ValueError(f"{shards}: a label is {index.label.max()}, the shards have {len(manifest.classes)} classes")
    return shuffled_labels(index, train, settings.seed) if settings.shuffle_labels else {}
