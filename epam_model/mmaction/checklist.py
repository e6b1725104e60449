"""Checks before a training in MMAction2: the lines of `epam-model doctor --mmaction`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from mmaction.registry import DATASETS, MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor

from epam_model import mmaction as plugin
from epam_model.networks.heads import prototype_banks
from epam_model.networks.table import NETWORKS
from epam_model.tools.diagnosis import Tick, tick
from epam_model.tools.profile import activation_bytes

_NETWORKS = {"EPAMBackbone": "epam", "PCANRGBPoseConv3D": "rgbpose_conv3d", "RGBPoseConv3D": "rgbpose_conv3d"}
CLIP_LENGTHS = {backbone: NETWORKS[network].clip_frames for backbone, network in _NETWORKS.items()}
"""Frames of the published clips, RGB and pose, by backbone."""
RGB_PX, HEATMAP_PX = 224, 56
_STATES = 3
"""Copies of the weights in memory during a step of SGD: weights, gradients, momentum."""


def checklist(path: Path | None) -> list[Tick]:
    """The lines for a configuration; without one, for EPAM-Net with PCAN's head on NTU60."""
    DefaultScope.get_instance("epam-model doctor", scope_name="mmaction")
    ticks = [tick("registered", _registered), tick("decord", _one_decord)]
    if path is None:
        config = Config({"model": EXAMPLE})
    else:
        ticks.append(tick("config", lambda: f"{path}: {len(_read(path))} entries"))
        if not ticks[-1].ok:
            return ticks
        config = _read(path)
        ticks.append(tick("plug-in", lambda: _custom_imports(config)))
    ticks += [
        tick("in_channels", lambda: _in_channels(config)),
        tick("clip_len", lambda: _clip_lengths(config)),
        tick("forward", lambda: _forward(config)),
    ]
    if path is not None:
        ticks += [tick("data paths", lambda: _data_paths(config)), tick("first sample", lambda: _first_sample(config))]
    return [*ticks, tick("memory", lambda: _memory(config))]


EXAMPLE = {
    "type": "EPAMRecognizer",
    "backbone": {"type": "EPAMBackbone"},
    "cls_head": {"type": "PCANRGBPoseHead", "num_classes": 60, "num_coarse_classes": 8, "in_channels": [432, 216]},
}


def _read(path: Path) -> Config:
    return Config.fromfile(path, import_custom_modules=False)  # `_custom_imports` checks the imports


def _registered() -> str:
    absent = [name for name in plugin.__all__ if MODELS.get(name) is None and DATASETS.get(name) is None]
    if absent:
        raise KeyError(f"{', '.join(absent)} is not in the registry")
    head = MODELS.get("RGBPoseHead")
    return f"{', '.join(plugin.__all__)}; RGBPoseHead is {head.__module__}.{head.__name__}"


def _one_decord() -> str:
    installed = sorted(set(packages_distributions().get("decord", ())))
    if len(installed) > 1:
        raise ImportError(f"{' and '.join(installed)} are installed, both in the folder decord")
    return f"{installed[0]} {version(installed[0])}" if installed else "not installed: PyAV decodes"


def _custom_imports(config: Config) -> str:
    imports = config.get("custom_imports", {}).get("imports", [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    if "epam_backbone" in imports:
        raise ModuleNotFoundError("No module named 'epam_backbone'")
    if not any(name.startswith("epam_model.mmaction") for name in imports):
        raise KeyError(f"custom_imports is {imports}, so {config.model.backbone.type} is not in the registry")
    for name in imports:
        import_module(name)  # as in training: the registry depends on it
    return f"custom_imports: {', '.join(imports)}"


def _in_channels(config: Config) -> str:
    backbone, given = _build(config.model.backbone), list(config.model.cls_head.get("in_channels", (432, 216)))
    channels = getattr(backbone, "rgb_channels", 2048), getattr(backbone, "pose_channels", 512)
    if given != list(channels):
        raise ValueError(f"in_channels of the head is {given}, the features have {list(channels)}")
    return f"{given}, as {config.model.backbone.type} returns them"


def _clip_lengths(config: Config) -> str:
    expected = CLIP_LENGTHS.get(config.model.backbone.type)
    got = list(_given_lengths(config))
    for where, lengths in got:
        if expected is not None and lengths != expected:
            first = lengths[0] == expected[0]
            raise ValueError(f"{where}: expected {expected[first]} frames, got {lengths[first]}")
    if not got:
        return f"no data given; published: {expected}"
    return ", ".join(f"{where}: RGB {lengths[0]}, Pose {lengths[1]}" for where, lengths in got)


def _given_lengths(config: Config) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, dataset in _datasets(config):
        if dataset.type == "ShardDataset":
            stream = dataset.get("stream") or {}
            yield name, (stream.get("rgb_frames", 16), stream.get("pose_frames", 48))
        for step in dataset.get("pipeline", ()):
            if isinstance(step.get("clip_len"), dict):
                yield name, (step.clip_len.get("RGB"), step.clip_len.get("Pose"))


def _forward(config: Config) -> str:
    model = _build(config.model).eval()
    inputs = _clip(model, config)
    sample = ActionDataSample()
    with torch.inference_mode():
        features = model({name: clip.clone() for name, clip in inputs.items()}, mode="tensor")
        model(inputs, [sample], mode="predict")
    shapes = " and ".join(str(tuple(each.shape)) for each in features[:2])
    scores = ", ".join(f"{name} {tuple(score.shape)}" for name, score in sample.pred_score.items())
    return f"features {shapes}; scores {scores}; {_sizes(model)}"


def _data_paths(config: Config) -> str:
    found = []
    for name, dataset in _datasets(config):
        for path in _paths(dataset):
            if not Path(path).exists():
                raise FileNotFoundError(f"{name}: {path} does not exist; the current folder is {Path.cwd()}")
            found.append(path)
    return ", ".join(dict.fromkeys(found))


def _paths(dataset: ConfigDict) -> list[str]:
    given = [dataset.get("root"), dataset.get("ann_file"), *(dataset.get("data_prefix") or {}).values()]
    return [str(path) for path in given if path]


def _first_sample(config: Config) -> str:
    dataset = DATASETS.build(config.train_dataloader.dataset)
    sample = dataset[0]
    classes, label = config.model.cls_head.num_classes, int(sample["data_samples"].gt_label)
    if not 0 <= label < classes:
        raise ValueError(f"the label of the first sample is {label}, the head has {classes} classes")
    shapes = ", ".join(f"{name} {tuple(clip.shape)}" for name, clip in sample["inputs"].items())
    return f"1 of {len(dataset)}: {shapes}, label {label}"


def _memory(config: Config) -> str:
    """The memory that a step needs, measured on one clip of the published size, and the free memory."""
    model = _build(config.model).train()
    inputs, sample = _clip(model, config), ActionDataSample().set_gt_label(0)
    batch = config.get("train_dataloader", {}).get("batch_size", 1)
    with torch.random.fork_rng():
        per_clip = activation_bytes(lambda: model(inputs, [sample], mode="loss"), torch.device("cpu"), training=True)
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    needed = (per_clip or 0) * batch + _STATES * weights
    free, where = _free_memory()
    if needed > free:
        raise MemoryError(f"a step of {batch} clips needs {needed / 1e9:.1f} GB, {where} has {free / 1e9:.1f} GB free")
    return f"a step of {batch} clips keeps about {needed / 1e9:.1f} GB, {where} has {free / 1e9:.1f} GB free"


def _free_memory() -> tuple[int, str]:
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0], torch.cuda.get_device_name()
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine (no GPU)"


def _datasets(config: Config) -> Iterator[tuple[str, ConfigDict]]:
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if config.get(name):
            for dataset in _unwrapped(config[name].dataset):
                yield name, dataset


def _unwrapped(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets inside `RepeatDataset`, `ConcatDataset` and their like."""
    inner = dataset.get("datasets") or ([dataset.dataset] if "dataset" in dataset else [])
    if not inner:
        yield dataset
    for each in inner:
        yield from _unwrapped(each)


def _build(settings: ConfigDict) -> Any:
    return MODELS.build(settings.copy())


def _clip(model: Any, config: Config) -> dict[str, Tensor]:
    """One random clip of the published size."""
    rgb, pose = CLIP_LENGTHS.get(config.model.backbone.type, (16, 48))
    joints = getattr(getattr(model.backbone, "pose_backbone", None), "in_channels", 17)
    return {
        "imgs": torch.rand(1, 1, 3, rgb, RGB_PX, RGB_PX),
        "heatmap_imgs": torch.rand(1, 1, joints, pose, HEATMAP_PX, HEATMAP_PX),
    }


def _sizes(model: Any) -> str:
    """Number of parameters of backbone and head; published numbers of the head include the fine prototypes."""
    backbone, head = (sum(weight.numel() for weight in part.parameters()) for part in (model.backbone, model.cls_head))
    fine = sum(bank.prototypes.numel() for name, bank in prototype_banks(model).items() if name.endswith("fine"))
    return f"{backbone:,} parameters, head {head + fine:,} with {fine:,} of fine prototypes"
