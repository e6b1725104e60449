"""The tables, and how a network of one's own with its own head and loss goes through the whole training."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar, Literal, get_args

import pytest
import torch
from torch import Tensor, nn

from epam_data.shards.manifest import load_manifest
from epam_data.system.checked_fields import field_kinds
from epam_model.build import build_for
from epam_model.evaluate.restore import restore
from epam_model.losses.objective import OBJECTIVES, Objective
from epam_model.networks import settings as names
from epam_model.networks.heads import Logits
from epam_model.networks.settings import ModelSettings
from epam_model.networks.table import HEADS, NETWORKS, NetworkSpec
from epam_model.ranks.distributed import Ranks
from epam_model.train.trainer import Trainer
from tests.model.tiny import STREAM, tiny_settings
from tests.model.train.test_trainer import logged


@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_the_entries_of_a_network_agree(network: str):
    """The pair and its streams alone have the same names; every module has a part; attention is where settings say."""
    spec, settings = NETWORKS[network], ModelSettings(network=network)
    pair = spec.both(settings, 5)
    assert pair.module_parts.keys() == {name for name, _ in pair.named_children()}
    assert settings.has_attention_map == hasattr(pair, "attention")
    for stream, channels in (("rgb", pair.rgb_channels), ("pose", pair.pose_channels)):
        alone = spec.alone[stream](5)
        assert alone.out_channels == channels
        assert alone.state_dict().keys() == pair.get_submodule(f"{stream}_backbone").state_dict().keys()
        assert not replace(settings, streams=stream).has_attention_map


@pytest.mark.parametrize("network", NETWORKS)
def test_published_names_are_those_of_the_network(network: str):
    spec = NETWORKS[network]
    kinds = [ModelSettings(network=network, attention_type=kind) for kind in get_args(names.AttentionName)]
    ours = {name for settings in kinds for name in spec.both(settings, 5).state_dict()}
    assert spec.published.network == network
    assert set(spec.published.backbone.values()) == ours
    for stream, alone in spec.alone.items():
        assert set(spec.published.streams[stream].values()) == set(alone(5).state_dict())


class MeanColour(nn.Module):
    """A stream of one layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix, self.out_channels = nn.Conv3d(channels, 4, 1), 4

    def forward(self, clip: Tensor) -> Tensor:
        return self.mix(clip)


class Own(nn.Module):
    """Two streams that share nothing."""

    module_parts: ClassVar = {"rgb_backbone": "rgb", "pose_backbone": "pose"}
    rgb_channels = pose_channels = 4

    def __init__(self, num_joints: int) -> None:
        super().__init__()
        self.rgb_backbone, self.pose_backbone = MeanColour(3), MeanColour(num_joints)

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        return self.rgb_backbone(rgb), self.pose_backbone(pose)


class OwnHead(nn.Module):
    """One classifier over the pooled features of both streams."""

    streams = ("rgb", "pose")

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, num_classes)

    def forward(self, rgb: Tensor, pose: Tensor) -> Logits:
        return Logits(rgb=self.fc(torch.cat((rgb.mean(dim=(2, 3, 4)), pose.mean(dim=(2, 3, 4))), dim=1)))


def squared_margin(logits: Logits, labels: Tensor) -> dict[str, Tensor]:
    wanted = nn.functional.one_hot(labels, logits.fused.shape[1]).to(logits.fused.dtype)
    return {"loss_margin": (logits.fused - wanted).square().mean()}


@pytest.fixture
def own_network(monkeypatch) -> Iterator[ModelSettings]:
    """All that a network with its own head and loss adds: three entries, and their names."""
    spec = NetworkSpec(
        both=lambda settings, num_joints: Own(num_joints),
        alone={"rgb": lambda num_joints: MeanColour(3), "pose": MeanColour},
        clip_frames=(2, 4),
    )
    monkeypatch.setitem(NETWORKS, "own", spec)
    monkeypatch.setitem(
        HEADS,
        "own",
        lambda settings, channels, num_classes, num_groups: OwnHead(sum(channels.values()), num_classes),
    )
    monkeypatch.setitem(OBJECTIVES, "own", lambda model, settings, coarse_of: Objective(terms=squared_margin))
    monkeypatch.setattr(names, "NetworkName", Literal["own", "epam"])
    monkeypatch.setattr(names, "HeadName", Literal["own", "linear"])
    field_kinds.cache_clear()
    yield ModelSettings(network="own", head="own")
    field_kinds.cache_clear()


def test_a_network_of_ones_own_trains_is_restored_and_starts_another(
    own_network, shards: Path, tmp_path: Path, one_thread
):
    trainer = Trainer(
        build_for(own_network, load_manifest(shards)),
        shards=shards,
        out=tmp_path / "run",
        stream=STREAM,
        settings=tiny_settings(epochs=3, lr=0.5),
        model_recipe=asdict(own_network),
        ranks=Ranks(),
    )
    trainer.fit()
    losses = [line["loss_margin"] for line in logged(tmp_path / "run") if line["part"] == "train"]
    assert losses[-1] < losses[0]
    last = tmp_path / "run" / "last.pt"
    model, _, _ = restore(last, shards, "val", STREAM, own_network, Ranks())
    assert all(torch.equal(value, trainer.model.state_dict()[name]) for name, value in model.state_dict().items())
    started = build_for(replace(own_network, init_from=[str(last)]), trainer.manifest, seed=5)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in started.state_dict().items())
