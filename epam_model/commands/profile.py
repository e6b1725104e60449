"""`epam-model profile`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from epam_data.samples.settings import PrepareSettings
from epam_data.stream import StreamSettings
from epam_data.system.checked_fields import Factor, check_fields
from epam_model.commands.by_dataset import build_for_dataset, clip_shapes
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.device import Device
from epam_model.ranks.distributed import choose_device
from epam_model.tools import profile


@dataclass(frozen=True, kw_only=True)
class ProfileCommand:
    """Count parameters and multiply-adds of a recipe's network, and time it on this device."""

    dataset: str = "ntu60"
    """Data set: its classes and joints set the size of the network."""
    batch_sizes: list[Annotated[int, Ge(1)]] = field(default_factory=lambda: [1, 4, 8, 16, 64, 256])
    """Batch sizes to time."""
    variants: list[profile.Variant] = field(default_factory=lambda: ["fp32", "bf16", "fp32-folded"])
    """Variants to time; fp32-folded: batch norms folded."""
    device: Device = "auto"
    """Device; `auto`: a GPU if there is one."""
    budget_seconds: Factor = 20.0
    """Skip rows of which one pass would take longer, estimated from the smaller batch before."""
    json: Path | None = None
    """JSON file to write all figures to."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.batch_sizes:
            raise ValueError("batch_sizes must name at least one size")


def profile_command(command: ProfileCommand) -> int:
    """Print the tables, row by row of the second, and write the JSON file."""
    device = choose_device(command.device, 0)
    model = build_for_dataset(command.dataset, command.prepare, command.model).to(device)
    shapes = clip_shapes(command.dataset, command.prepare, command.stream)
    rgb, pose = (torch.zeros(1, *shape, device=device) for shape in shapes)
    costs = profile.part_costs(model, rgb, pose)
    print(f"{profile.format_costs(costs)}\n\n{profile.speeds_header(device)}", flush=True)
    rows: list[profile.Speed] = []
    for variant in command.variants:
        for training in (False, True):
            per_clip = 0.0  # seconds, of the batch before
            for size in sorted(command.batch_sizes):
                rows.append(_speed(command, model, (rgb, pose), variant, training, size, per_clip))
                print(profile.format_speed(rows[-1]), flush=True)
                speed = rows[-1].clips_per_second
                per_clip = 1 / speed if speed else per_clip
    if command.json is not None:
        content = profile.as_json(costs, rows, device)
        command.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


def _speed(
    command: ProfileCommand,
    model: nn.Module,
    clip: tuple[Tensor, Tensor],
    variant: str,
    training: bool,
    size: int,
    per_clip: float,
) -> profile.Speed:
    if per_clip * size > command.budget_seconds:
        mode = "training" if training else "evaluation"
        reason = f"over {command.budget_seconds:g} s"
        return profile.Speed(variant=variant, mode=mode, batch_size=size, left_out=reason)
    rgb, pose = (tensor.expand(size, -1, -1, -1, -1).contiguous() for tensor in clip)
    budget = command.budget_seconds
    return profile.measure_speed(model, rgb, pose, variant=variant, training=training, budget_seconds=budget)
