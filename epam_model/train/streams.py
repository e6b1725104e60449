"""The streams of a run: `train` to learn from and `val` to measure on, the same for all ranks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from epam_data.stream import Stream, StreamSettings
from epam_model.ranks.agreement import check_ranks_agree, settings_facts, stream_facts
from epam_model.ranks.distributed import Ranks
from epam_model.train.settings import TrainSettings


def open_streams(
    shards: Path | str,
    stream: StreamSettings,
    settings: TrainSettings,
    model_recipe: dict[str, Any],
    ranks: Ranks,
) -> tuple[Stream, Stream]:
    """The streams of `train` and `val` for this rank; all ranks must call it.

    Args:
        shards: the shard directory, or its URL.
        stream: the section `stream` of the recipe.
        settings: the section `train`.
        model_recipe: the section `model`.
        ranks: this process.

    Raises:
        ValueError: the shards cannot be streamed, the batch cannot be divided, or the ranks do not agree.
    """
    if stream.batch_size % (ranks.world * settings.accumulate):
        raise ValueError(
            f"stream.batch_size must be a multiple of {ranks.world} ranks times train.accumulate "
            f"{settings.accumulate}, got {stream.batch_size}"
        )
    facts = settings_facts("model", model_recipe) | settings_facts("train", asdict(settings))
    opened = []
    for split, seed in (("train", settings.seed), ("val", 0)):
        opened.append(
            Stream(
                shards,
                split=split,
                settings=stream,
                training=split == "train",
                seed=seed,
                rank=ranks.rank,
                world=ranks.world,
                pin_memory=ranks.device.type == "cuda",
            )
        )
        check_ranks_agree(facts | stream_facts(opened[-1]))
    return opened[0], opened[1]
