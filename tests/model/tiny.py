"""What the trainer tests train: tiny shards and tiny networks. Also imported by the processes of test_distributed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from epam_data.samples.settings import PrepareSettings
from epam_data.schema import Sample, SampleInfo
from epam_data.shards.index import index_bytes
from epam_data.shards.layout import INDEX, MANIFEST
from epam_data.shards.manifest import Manifest, ShardEntry
from epam_data.shards.settings import ShardSettings
from epam_data.shards.writer import ShardWriter
from epam_data.skeleton import LAYOUTS, SkeletonLayout
from epam_data.stream import StreamSettings
from epam_data.taxonomy import TAXONOMIES, Taxonomy
from epam_model.networks.heads import Logits, prototype_banks
from epam_model.ranks.distributed import Ranks
from epam_model.ranks.dropout import RanksDropout
from epam_model.train.trainer import Trainer, TrainSettings

CLASSES = TAXONOMIES["synthetic"]
RGB_PX, HEATMAP_PX = 32, 8
STREAM = StreamSettings(batch_size=4, rgb_frames=2, pose_frames=4, window_shards=2, workers=0)


def tiny_sample(
    key: str, split: str, label: int | None, rng: np.random.Generator, classes: Taxonomy, layout: SkeletonLayout
) -> Sample:
    """Noise, plus a bright joint channel and a tint that tell the label."""
    num_frames = int(rng.integers(6, 10))
    num_joints = len(layout.joints)
    heatmap = rng.integers(0, 40, (num_frames, num_joints, HEATMAP_PX, HEATMAP_PX)).astype(np.uint8)
    frames = rng.integers(0, 120, (num_frames, RGB_PX, RGB_PX, 3)).astype(np.uint8)
    if label is not None:
        heatmap[:, label % num_joints] += 200
        frames[..., label % 3] += 60 + 60 * (label // 3 % 2)
    info = SampleInfo(
        key=key,
        name=key,
        split=split,
        label=label,
        coarse_label=classes.coarse_label(label),
        num_frames=num_frames,
        video_frames=num_frames,
        skeleton_frames=num_frames,
        image_size=(RGB_PX, RGB_PX),
        video_size=(RGB_PX, RGB_PX),
        box=(0, 0, RGB_PX, RGB_PX),
        rgb_size_px=RGB_PX,
        heatmap_size_px=HEATMAP_PX,
        heatmap_kind="joints",
        sigma_px=0.6,
        heatmap_scale=1.0,
        skeleton=layout.name,
    )
    keypoints = np.zeros((1, num_frames, num_joints, 3), np.float16)
    return Sample(info=info, keypoints=keypoints, heatmap=heatmap, frames=frames)


def write_shards(
    root: Path,
    *,
    train: int = 14,
    val: int = 7,
    test: int = 5,
    hide_val: bool = False,
    taxonomy: str | Taxonomy = "synthetic",
    skeleton: str = "coco17",
) -> Path:
    """Shards of the first six classes of a taxonomy; labels of the test split are hidden."""
    classes, layout = TAXONOMIES[taxonomy] if isinstance(taxonomy, str) else taxonomy, LAYOUTS[skeleton]
    root.mkdir(parents=True, exist_ok=True)
    settings, summaries = ShardSettings(), []
    for split, count in (("train", train), ("val", val), ("test", test)):
        for start in range(0, count, 5):
            rng = np.random.default_rng((start, len(split)))
            name = f"{split}-{start // 5:06d}"
            with ShardWriter(root, name, split, settings) as writer:
                for number in range(start, min(start + 5, count)):
                    hidden = split == "test" or (hide_val and split == "val")
                    writer.write(
                        tiny_sample(f"{split}-{number}", split, None if hidden else number % 6, rng, classes, layout)
                    )
                summaries.append(writer.finish())
    index = index_bytes(summaries)
    (root / INDEX).write_bytes(index)
    manifest = Manifest(
        dataset=classes.name,
        protocol=None,
        skeleton=layout.name,
        joints=layout.joints,
        taxonomy=classes.name,
        classes=classes.classes,
        groups=classes.groups,
        coarse_of=classes.coarse_of,
        prepare=PrepareSettings(rgb_size_px=RGB_PX, heatmap_size_px=HEATMAP_PX),
        shard=settings,
        sources={},
        versions={},
        problems={},
        index_sha256=hashlib.sha256(index).hexdigest(),
        shards=tuple(map(ShardEntry.of, summaries)),
    )
    (root / MANIFEST).write_bytes(manifest.to_json())
    return root


class TinyStream(nn.Module):
    """Mean over time and space, batch norm (optional), dropout, linear."""

    def __init__(self, channels: int, num_classes: int, *, norm: bool, dropout: float) -> None:
        super().__init__()
        self.mix = nn.Linear(channels, 8)
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.dropout = RanksDropout(dropout)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, clip: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.norm(torch.relu(self.mix(clip.mean(dim=(2, 3, 4)))))))
        return logits


class TinyRecogniser(nn.Module):
    """A network of some hundred weights that trains in no time."""

    def __init__(
        self, *, num_classes: int = 6, streams: str = "both", norm: bool = True, dropout: float = 0.3, joints: int = 17
    ) -> None:
        super().__init__()
        torch.manual_seed(5)
        kinds = {"rgb": 3, "pose": joints}
        self.parts = nn.ModuleDict(
            {
                name: TinyStream(channels, num_classes, norm=norm, dropout=dropout)
                for name, channels in kinds.items()
                if streams in ("both", name)
            }
        )

    @property
    def module_parts(self) -> dict[str, str]:
        return {f"parts.{name}": name for name in self.parts}

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        clips = {"rgb": rgb, "pose": pose}
        return Logits(**{name: part(clips[name]) for name, part in self.parts.items()})


class FrozenNorms(nn.Module):
    """A recogniser whose batch norms keep their statistics, so that a batch is the sum of its clips."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def train(self, mode: bool = True) -> FrozenNorms:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eval()
        return self

    @property
    def module_parts(self) -> dict[str, str]:
        return {f"inner.{name}": part for name, part in self.inner.module_parts.items()}

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        logits: Logits = self.inner(rgb, pose)
        return logits


def tiny_settings(**changes: object) -> TrainSettings:
    values: dict[str, object] = {"epochs": 2, "lr": 0.1, "warmup_epochs": 0.5, "log_steps": 1, "device": "cpu"}
    return TrainSettings(**{**values, **changes})  # type: ignore[arg-type]


def tiny_trainer(
    shards: Path,
    out: Path,
    model: nn.Module | None = None,
    *,
    stream: StreamSettings = STREAM,
    ranks: Ranks | None = None,
    streams: str = "both",
    **changes: object,
) -> Trainer:
    model = model or TinyRecogniser(streams=streams)
    head = "pcan" if prototype_banks(model) else "linear"
    return Trainer(
        model,
        shards=shards,
        out=out,
        stream=stream,
        settings=tiny_settings(**changes),
        model_recipe={"streams": streams, "attention_type": "none", "head": head},
        ranks=ranks or Ranks(),
    )
