"""`epam-model convert`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from epam_data.samples.settings import PrepareSettings
from epam_data.system.checked_fields import check_fields
from epam_data.system.printable import printable_lines
from epam_model.commands.by_dataset import build_for_dataset
from epam_model.networks.settings import ModelSettings
from epam_model.networks.table import NETWORKS
from epam_model.weights.convert import convert, model_formats, to_published
from epam_model.weights.weight_file import read_state_dict


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Convert the names of a checkpoint, strictly, and report every tensor."""

    source: Path
    """Checkpoint to read, ours or foreign; the format is detected."""
    out: Path
    """File to write: {"state_dict": ...}."""
    partial: bool = False
    """Also convert a file with only part of the network: a backbone without its head, or one stream of two."""
    to: Literal["ours", "published"] = "ours"
    """Names to write; `published`: EPAM-Net's own, or MMAction2's for RGBPoseConv3D and PCAN."""
    dataset: str = "ntu60"
    """Data set: its classes and joints set the size of the network."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    def __post_init__(self) -> None:
        check_fields(self)


def convert_command(command: ConvertCommand) -> int:
    """Convert, print the account, write the file."""
    model = build_for_dataset(command.dataset, command.prepare, command.model)
    published, streams = NETWORKS[command.model.network].published, command.model.streams
    if command.to == "published" and published is None:
        raise ValueError(f"network {command.model.network} has no published names: it can only be written as ours")
    state = read_state_dict(command.source)
    conversion = convert(state, model.state_dict(), model_formats(streams, model.state_dict(), published))
    print(printable_lines(conversion.table()))
    if conversion.problems:
        raise ValueError(f"{command.source}: {len(conversion.problems)} names do not fit, see the table above")
    if absent := conversion.absent(model.state_dict()):
        parts = sorted({".".join(name.split(".")[:2]) for name in absent})
        what = f"{len(absent)} tensors of the network are not in the file, of {', '.join(parts)}"
        if not command.partial:
            raise ValueError(f"{command.source}: {what}; --partial converts what is there")
        print(printable_lines(what))
    weights = conversion.weights
    if command.to == "published" and published is not None:
        weights = to_published(weights, published, streams)
    torch.save({"state_dict": weights}, command.out)
    print(f"{len(weights)} tensors in {command.out}")
    return 0
