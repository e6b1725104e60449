"""Weights and inputs that anyone can make again, and the published models' numbers for them.

The numbers come from the published code, run on weights drawn by a rule from the published parameter names,
so no checkpoint has to be shared. `golden_epam.json` holds a sample of them, for a bare clone; the full set
is looked for in the folder `shared/goldens` beside the repository. Without pytest: `benchmarks.gpu` needs it, too.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from epam_model.weights.convert import rename, to_published
from epam_model.weights.epam_names import EPAM
from tests.paths import SHARED

GOLDENS = SHARED / "goldens"
FIXTURE = Path(__file__).with_name("golden_epam.json")

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-9}
SMALL_SHAPES = (2, 3, 16, 64, 64), (2, 17, 48, 16, 16)
STANDARD_SHAPES = (1, 3, 16, 224, 224), (1, 17, 48, 56, 56)
ATTENTION_FILES = {"CBAM_spatial_efficient_temporal": "epam_cbam_small", "spatial_temporal": "epam_st_small"}


def draw_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a published parameter or buffer: a frozen generator seeded by the name's checksum."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    random = np.random.RandomState(zlib.crc32(name.encode()))
    is_vector = len(shape) == 1
    if name.endswith("running_var") or (is_vector and name.endswith(".weight")):
        values = random.random_sample(shape) + 0.5  # variances and batch-norm scales, away from zero
    elif name.endswith("running_mean") or is_vector:
        values = random.standard_normal(shape) * 0.1
    else:
        fan_in = 1 if name.endswith("avg_f") else int(np.prod(shape[1:]))  # avg_f: prototypes, not a layer
        values = random.standard_normal(shape) / np.sqrt(fan_in)
    return np.asarray(values, np.float32)


def fill(recogniser: nn.Module) -> None:
    """Gives an EPAM-Net recogniser the drawn weights, strictly."""
    published = to_published(recogniser.state_dict(), EPAM, "both")
    drawn = {name: torch.from_numpy(draw_tensor(name, tuple(t.shape))) for name, t in published.items()}
    recogniser.load_state_dict(rename(drawn, EPAM.releases["published EPAM-Net"], "it"), strict=True)


def draw_clips(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """An RGB clip of normal numbers and a pose clip in [0, 1), mostly near 0; rounded to float32 first."""
    rgb = np.random.RandomState(1234).standard_normal(shapes[0]).astype(np.float32)
    pose = (np.random.RandomState(5678).random_sample(shapes[1]) ** 4).astype(np.float32)
    return torch.from_numpy(rgb).to(dtype), torch.from_numpy(pose).to(dtype)


def draw_features(shape: tuple[int, ...], seed: int) -> Tensor:
    """Features as after a ReLU, with a strong gain per clip and channel."""
    random = np.random.RandomState(seed)
    values = random.standard_normal(shape).clip(min=0)
    gains = random.random_sample(shape[:2]).reshape(*shape[:2], *(1 for _ in shape[2:])) ** 4
    return torch.from_numpy((values * (5 * gains)).astype(np.float32))


def sample_positions(size: int) -> np.ndarray:
    """The flat positions, at most 256, at which the published outputs were kept."""
    return np.sort(np.random.RandomState(99).choice(size, min(size, 256), replace=False))


def _keeper(outputs: dict[str, Tensor], name: str) -> Callable[..., None]:
    return lambda module, inputs, output: outputs.update({name: output.detach()})


@contextmanager
def recorded_stages(recogniser: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collects the outputs of all stages, under the published names, while the recogniser runs."""
    outputs: dict[str, Tensor] = {}
    backbone = recogniser.backbone
    hooks = [
        backbone.register_forward_hook(lambda _, __, out: outputs.update(attended=out[0].detach())),
        backbone.attention.register_forward_hook(_keeper(outputs, "attention_module")),
    ]
    for name, stream in (("rgb_backbone", backbone.rgb_backbone), ("pose_backbone", backbone.pose_backbone)):
        # The published stem ends with its ReLU, ours applies it outside: take what enters the first stage.
        keep_stem = _keeper(outputs, f"{name}.conv1_s")
        hooks.append(
            stream.stages[0][0].register_forward_pre_hook(
                lambda module, inputs, keep=keep_stem: keep(module, inputs, inputs[0])
            )
        )
        hooks += [
            stage[-1].register_forward_hook(_keeper(outputs, f"{name}.layer{i + 1}"))
            for i, stage in enumerate(stream.stages)
        ]
        hooks.append(stream.register_forward_hook(_keeper(outputs, name)))
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def published_outputs(file: str, dtype: torch.dtype) -> dict[str, dict[str, np.ndarray]]:
    """{tensor name: {shape, sum, abssum, sample, pooled or full}} of one file of the full set."""
    tag = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    outputs: dict[str, dict[str, np.ndarray]] = {}
    with np.load(GOLDENS / f"{file}.npz") as archive:
        for entry in archive.files:
            entry_tag, name, field = entry.split("/")
            if entry_tag == tag:
                outputs.setdefault(name, {})[field] = archive[entry]
    return outputs


def read_fixture() -> dict:
    """The sampled numbers that the repository carries."""
    return json.loads(FIXTURE.read_text())
