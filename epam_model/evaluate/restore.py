"""Restores the model of a checkpoint, with a stream of the split to evaluate."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_model.build import build_for
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.agreement import check_ranks_agree, file_facts, settings_facts, stream_facts
from epam_model.ranks.distributed import Ranks
from epam_model.weights.checkpoint import Checkpoint, check_same, check_same_clips, load_checkpoint, load_weights

_log = logging.getLogger(__name__)


def restore(
    checkpoint_path: Path,
    shards: Path | str,
    split: str,
    stream_settings: StreamSettings,
    model_settings: ModelSettings,
    ranks: Ranks,
) -> tuple[nn.Module, Stream, BatchFinisher]:
    """The model, the evaluation stream of this rank, and the finisher that turns its batches into the model's input.

    Raises:
        ValueError: the checkpoint cannot be read, or does not fit the shards or the recipe; or the ranks do not agree.
    """
    stream = Stream(
        shards,
        split=split,
        settings=stream_settings,
        training=False,
        rank=ranks.rank,
        world=ranks.world,
        pin_memory=ranks.device.type == "cuda",
    )
    model_facts = settings_facts("model", asdict(model_settings))
    check_ranks_agree(stream_facts(stream) | file_facts(checkpoint_path) | model_facts)
    checkpoint, manifest = load_checkpoint(checkpoint_path), stream.manifest
    check_same(checkpoint, str(checkpoint_path), manifest, asdict(model_settings))
    warn_of_another_view(checkpoint, str(checkpoint_path), stream)
    check_same_clips(checkpoint, str(checkpoint_path), asdict(stream_settings))
    model = build_for(replace(model_settings, init_from=[]), manifest)  # the checkpoint has all weights
    load_weights(model, checkpoint.evaluated, str(checkpoint_path))
    return model.to(ranks.device), stream, BatchFinisher.for_shards(manifest).to(ranks.device)


def warn_of_another_view(checkpoint: Checkpoint, what: str, stream: Stream) -> None:
    """Tell the user if clips of the training may be among those of the evaluation."""
    if checkpoint.shards.get("view_sha256", "") != stream.view_sha256:
        _log.warning(
            "%s was trained on another view of the shards: clips of its training may be in %s", what, stream.split
        )
