"""The commands of `epam-model` that look at a model rather than train it: profile, convert, features, export."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from epam_data.readers import find_reader
from epam_data.samples.settings import PrepareSettings
from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_data.system.files import file_sha256
from epam_model.build import build_model
from epam_model.evaluate.restore import restore
from epam_model.networks.settings import ModelSettings
from epam_model.networks.table import NETWORKS
from epam_model.ranks.distributed import Ranks, choose_device
from epam_model.reports.overlay import KINDS as OVERLAY_KINDS
from epam_model.reports.overlay import write_overlay
from epam_model.tools import profile
from epam_model.tools.export import export_model
from epam_model.tools.features import KINDS, extract, model_outputs
from epam_model.weights.checkpoint import check_same_model, load_checkpoint, load_weights
from epam_model.weights.convert import convert, model_formats, to_published
from epam_model.weights.weight_file import read_state_dict

FORMATS = ("ours", "published")


@dataclass(frozen=True, kw_only=True)
class ProfileCommand:
    """Count parameters and multiply-adds of a recipe's network, and time it on this device."""

    dataset: str = "ntu60"
    """Data set: its classes and joints size the network."""
    batch_sizes: list[int] = field(default_factory=lambda: [1, 4, 8, 16, 64, 256])
    """Clips at a time."""
    variants: list[str] = field(default_factory=lambda: ["fp32", "bf16", "fp32-folded"])
    """Of fp32, bf16, fp32-folded (batch norms folded), fp32-compiled, bf16-compiled."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    budget_seconds: float = 20.0
    """A row whose single pass would take longer is left out, judged by the smaller batch before."""
    json: Path | None = None
    """File for all figures."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    def __post_init__(self) -> None:
        if unknown := [variant for variant in self.variants if variant not in profile.VARIANTS]:
            raise ValueError(f"variants must be of {', '.join(profile.VARIANTS)}, got {', '.join(unknown)}")
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError(f"batch_sizes must be >= 1, got {self.batch_sizes}")


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Bring a checkpoint under other names, strictly, and account for every tensor."""

    source: Path
    """Checkpoint to read: ours or foreign; the format is recognised."""
    out: Path
    """File to write: {"state_dict": ...}."""
    partial: bool = False
    """Convert a file that holds a part of the network: a backbone without its head, or one stream of two."""
    to: str = "ours"
    """`ours`, or `published`: EPAM-Net's own names, or MMAction2's for RGBPoseConv3D and PCAN."""
    dataset: str = "ntu60"
    """Data set: its classes and joints size the network."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise ValueError(f"to must be one of {', '.join(FORMATS)}, got {self.to!r}")


@dataclass(frozen=True, kw_only=True)
class FeaturesCommand:
    """Write features, logits and attention maps of each clip of a split to HDF5; an interrupted call goes on."""

    shards: str
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    out: Path
    """HDF5 file to write."""
    split: str = "val"
    """`train`, `val` or `test`."""
    kind: str = "pooled"
    """`pooled`: mean over time and space; `full`: (C, T, H, W) of each clip."""
    overlay: int = 0
    """Also show the attention map over the frames of this many clips, in the folder <out>_overlay (EPAM-Net)."""
    overlay_kind: str = "picture"
    """`picture` or `video`."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.overlay < 0:
            raise ValueError(f"overlay must be >= 0, got {self.overlay}")
        if self.overlay_kind not in OVERLAY_KINDS:
            raise ValueError(f"overlay_kind must be one of {', '.join(OVERLAY_KINDS)}, got {self.overlay_kind!r}")
        if self.overlay and self.stream.eval_crop != "none":
            raise ValueError("overlay shows stored frames: it needs stream.eval_crop none")
        if self.stream.num_clips != 1 or self.stream.eval_flip:
            raise ValueError(
                f"features are of one clip per sample: stream.eval_flip must be false, got {self.stream.eval_flip}; "
                f"stream.num_clips must be 1, got {self.stream.num_clips}"
            )
        if self.overlay and not self.model.has_attention_map:
            raise ValueError("overlay needs an attention map: model.network epam with model.streams both")


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write a network in evaluation mode as one graph, for torch.export or ONNX."""

    checkpoint: Path
    """A checkpoint of `epam-model train`."""
    out: Path
    """File to write; `.pt2` or `.onnx`."""
    dataset: str = "ntu60"
    """Data set: its classes and joints size the network."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


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
        command.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
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


def convert_command(command: ConvertCommand) -> int:
    """Convert, print the account, write the file."""
    model = build_for_dataset(command.dataset, command.prepare, command.model)
    published, streams = NETWORKS[command.model.network].published, command.model.streams
    if command.to == "published" and published is None:
        raise ValueError(f"network {command.model.network} has no published names: it is written as ours alone")
    state = read_state_dict(command.source)
    conversion = convert(state, model.state_dict(), model_formats(streams, model.state_dict(), published))
    print(conversion.table())
    if conversion.problems:
        raise ValueError(f"{command.source}: {len(conversion.problems)} names do not fit, see the table above")
    if absent := conversion.absent(model.state_dict()):
        parts = sorted({".".join(name.split(".")[:2]) for name in absent})
        what = f"{len(absent)} tensors of the network are not in the file, of {', '.join(parts)}"
        if not command.partial:
            raise ValueError(f"{command.source}: {what}; --partial converts what is there")
        print(what)
    weights = conversion.weights
    if command.to == "published" and published is not None:
        weights = to_published(weights, published, streams)
    torch.save({"state_dict": weights}, command.out)
    print(f"{len(weights)} tensors in {command.out}")
    return 0


def features_command(command: FeaturesCommand) -> int:
    """Extract, then draw the overlays."""
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
    went_on = f" ({found} from an interrupted call)" if found else ""
    print(f"{stream.num_samples} clips of {command.split} in {command.out}{went_on}")
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


def export_command(command: ExportCommand) -> int:
    """Export the weights of a checkpoint."""
    checkpoint = load_checkpoint(command.checkpoint)
    check_same_model(checkpoint, str(command.checkpoint), asdict(command.model))
    model = build_for_dataset(command.dataset, command.prepare, replace(command.model, init_from=[]))
    load_weights(model, checkpoint.evaluated, str(command.checkpoint))  # all of them: no part may stay at random
    shapes = clip_shapes(command.dataset, command.prepare, command.stream)
    rgb, pose = (torch.rand(2, *shape) for shape in shapes)
    export_model(model, command.out, rgb=rgb, pose=pose)
    print(f"{command.out}: rgb {tuple(rgb.shape[1:])} and pose {tuple(pose.shape[1:])}, any number of clips")
    return 0


def build_for_dataset(dataset: str, prepare: PrepareSettings, settings: ModelSettings) -> nn.Module:
    """The network of a recipe for the classes, groups and heatmaps of a data set, without its shards."""
    taxonomy = find_reader(dataset).taxonomy
    return build_model(
        settings,
        num_classes=len(taxonomy.classes),
        num_joints=_channels(dataset, prepare),
        num_coarse_classes=len(taxonomy.groups),
    )


def clip_shapes(
    dataset: str, prepare: PrepareSettings, stream: StreamSettings
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """(3, T, H, W) of an RGB clip and (V, T', h, w) of a pose clip of a recipe."""
    rgb_px, heatmap_px = stream.sizes(prepare.rgb_size_px, prepare.heatmap_size_px, training=False)
    rgb = (3, stream.rgb_frames, rgb_px, rgb_px)
    pose = (_channels(dataset, prepare), stream.pose_frames, heatmap_px, heatmap_px)
    return rgb, pose


def _channels(dataset: str, prepare: PrepareSettings) -> int:
    return find_reader(dataset).layout.num_channels(prepare.heatmap_kind)
