"""A checkpoint of a network with random weights, and a recipe for its clips."""

from dataclasses import asdict
from pathlib import Path

from epam_data.shards.manifest import load_manifest
from epam_model.build import build_for
from epam_model.networks.settings import ModelSettings
from epam_model.train.settings import TrainSettings
from epam_model.weights.checkpoint import Checkpoint, save_checkpoint, shards_identity
from tests.model.tiny import STREAM

RECIPE = """
stream: {batch_size: 4, rgb_frames: 2, pose_frames: 4, workers: 0}
"""


def save_untrained(path: Path, shards: Path) -> Path:
    """A checkpoint of EPAM-Net with random weights."""
    settings, manifest = ModelSettings(), load_manifest(shards)
    recipe = {"stream": asdict(STREAM), "model": asdict(settings), "train": asdict(TrainSettings())}
    checkpoint = Checkpoint(
        weights=build_for(settings, manifest).state_dict(),
        optimizer={},
        epoch=1,
        consumed=0,
        shards=shards_identity(manifest),
        recipe=recipe,
    )
    save_checkpoint(path, checkpoint)
    return path
