"""`epam-model features`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from torch import nn

from epam_data.schema import Split
from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_data.stream.launch import find_launch
from epam_data.system.checked_fields import check_fields
from epam_data.system.files import file_sha256
from epam_model.evaluate.restore import restore
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.device import Device
from epam_model.ranks.distributed import Ranks, choose_device
from epam_model.reports.overlay import Kind as OverlayKind
from epam_model.reports.overlay import write_overlay
from epam_model.tools.features import Kind, extract, model_outputs


@dataclass(frozen=True, kw_only=True)
class FeaturesCommand:
    """Write features, logits and attention maps of each clip of a split to HDF5.

    After an interruption, rerun the same command to resume.
    """

    shards: str
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    out: Path
    """HDF5 file to write."""
    split: Split = "val"
    """Split to use."""
    kind: Kind = "pooled"
    """`pooled`: mean over time and space; `full`: (C, T, H, W) of each clip."""
    overlay: Annotated[int, Ge(0)] = 0
    """Also draw the attention map over the frames of this many clips, in the folder <out>_overlay (EPAM-Net)."""
    overlay_kind: OverlayKind = "picture"
    """What to draw."""
    device: Device = "auto"
    """Device; `auto`: a GPU if there is one."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.overlay and self.stream.eval_crop != "none":
            raise ValueError("overlay draws on stored frames: it needs stream.eval_crop none")
        if self.stream.num_clips != 1 or self.stream.eval_flip:
            raise ValueError(
                f"features are of one clip per sample: stream.eval_flip must be false, got {self.stream.eval_flip}; "
                f"stream.num_clips must be 1, got {self.stream.num_clips}"
            )
        if self.overlay and not self.model.has_attention_map:
            raise ValueError("overlay needs an attention map: model.network epam with model.streams both")


def features_command(command: FeaturesCommand) -> int:
    """Extract, then draw the overlays."""
    if (world := find_launch().world) > 1:
        raise ValueError(f"features runs in one process, and the launcher started {world}; start it without torchrun")
    device = choose_device(command.device, 0)
    ranks = Ranks(device=device)
    model, stream, finisher = restore(
        command.checkpoint, command.shards, command.split, command.stream, command.model, ranks
    )
    identity = {
        "checkpoint": file_sha256(command.checkpoint),
        "shards": stream.manifest.index_sha256,
        "split": command.split,
        "stream": _without(asdict(command.stream), "workers", "timeout_seconds"),  # they change no number
        "model": _without(asdict(command.model), "init_from"),
    }
    found = extract(model, stream, finisher, device, command.out, kind=command.kind, identity=identity)
    resumed = f" ({found} from an interrupted run)" if found else ""
    print(f"{stream.num_samples} clips of {command.split} in {command.out}{resumed}")
    if command.overlay:
        folder = command.out.with_name(f"{command.out.stem}_overlay")
        folder.mkdir(parents=True, exist_ok=True)
        count = draw_overlays(model, stream, finisher, device, folder, command.overlay, command.overlay_kind)
        print(f"{count} overlays in {folder}")
    return 0


def _without(table: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in names}


def draw_overlays(
    model: nn.Module,
    stream: Stream,
    finisher: BatchFinisher,
    device: torch.device,
    folder: Path,
    count: int,
    kind: str,
) -> int:
    """Show the attention map over the frames of the first clips of a split; returns how many there were."""
    done = 0
    for batch in stream.epoch():
        with torch.inference_mode():
            attention = model_outputs(model.eval(), *finisher(batch.to(device)))["attention"].float().cpu().numpy()
        for key, frames, weights in zip(batch.keys, np.asarray(batch.rgb), attention, strict=True):
            if done == count:
                return done
            write_overlay(folder / key, frames, weights, kind=kind)
            done += 1
    return done
