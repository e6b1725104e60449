"""`epam-model export`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from epam_data.samples.settings import PrepareSettings
from epam_data.stream import StreamSettings
from epam_model.commands.by_dataset import build_for_dataset, clip_shapes
from epam_model.networks.settings import ModelSettings
from epam_model.tools.export import export_model
from epam_model.weights.checkpoint import check_same_model, load_checkpoint, load_weights


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Export a network in evaluation mode as one graph, for torch.export or ONNX."""

    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    out: Path
    """File to write: `.pt2` or `.onnx`."""
    dataset: str = "ntu60"
    """Data set: its classes and joints set the size of the network."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


def export_command(command: ExportCommand) -> int:
    """Export the weights of a checkpoint."""
    checkpoint = load_checkpoint(command.checkpoint)
    check_same_model(checkpoint, str(command.checkpoint), asdict(command.model))
    model = build_for_dataset(command.dataset, command.prepare, replace(command.model, init_from=[]))
    load_weights(model, checkpoint.evaluated, str(command.checkpoint))  # strictly: no weight may stay random
    shapes = clip_shapes(command.dataset, command.prepare, command.stream)
    rgb, pose = (torch.rand(2, *shape) for shape in shapes)
    export_model(model, command.out, rgb=rgb, pose=pose)
    print(f"{command.out}: rgb {tuple(rgb.shape[1:])} and pose {tuple(pose.shape[1:])}, any number of clips")
    return 0
