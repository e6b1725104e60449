"""Checks of `benchmarks.gpu` that compute in one process: published numbers, the CPU's numbers, and repeatability."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.gpu_results import SkippedError, at_most, distance
from epam_model.losses.prototype import CoarsePrototypeLoss, FinePrototypeLoss
from epam_model.losses.tree import TreeLoss
from epam_model.networks.epam import EPAMBackbone
from epam_model.networks.fold import fold_batch_norms
from epam_model.networks.heads import Logits, TwoStreamHead, prototype_banks
from epam_model.networks.recogniser import TwoStreamRecogniser, build_epam
from epam_model.networks.rgbpose_conv3d import RGBPoseConv3D
from epam_model.weights.convert import to_published
from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import inverse
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D
from tests.model import golden

Clips = tuple[Tensor, Tensor]
Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
MOST_SKIPPED = 40
COARSE_OF = (0, 0, 1, 1, 2, 2)
LABELS = (0, 3, 3, 5)
EPAM_SHAPES = {"cuda": ((4, 3, 4, 64, 64), (4, 17, 12, 16, 16)), "cpu": ((2, 3, 2, 32, 32), (2, 17, 6, 8, 8))}
RGBPOSE_SHAPES = {"cuda": ((4, 3, 2, 64, 64), (4, 17, 8, 16, 16)), "cpu": ((3, 3, 1, 64, 64), (3, 17, 4, 16, 16))}
EXACT = 1e-9
"""Largest distance between two computations in float64."""

SINGLE = {"logits": 1e-3, "loss": 1e-3, "gradients": 1e-1, "statistics": 1e-3}
"""The same from float32 to float64; some gradients jump where two values are almost equal, as in a maximum."""


@lru_cache
def _epam_outputs(attention: str, shapes: tuple[tuple[int, ...], ...], device: torch.device) -> dict[str, Tensor]:
    recogniser = build_epam(60, attention_type=attention)
    golden.fill(recogniser)
    recogniser.eval().to(device)
    rgb, pose = golden.draw_clips(shapes, torch.float32)
    with torch.no_grad(), golden.recorded_stages(recogniser) as outputs:
        logits = recogniser(rgb.to(device), pose.to(device))
    return {**outputs, "rgb_logits": logits.rgb, "pose_logits": logits.pose, "fused_logits": logits.fused}


def _largest(output: Tensor, positions: object, values: object) -> float:
    flat = output.contiguous().cpu().numpy().reshape(-1)
    return float(np.abs(flat[positions] - np.asarray(values)).max())


def sampled_goldens(device: torch.device) -> str:
    worst = 0.0
    for attention, published in golden.read_fixture()["outputs"].items():
        outputs = _epam_outputs(attention, golden.SMALL_SHAPES, device)
        for name, expected in published.items():
            assert list(outputs[name].shape) == expected["shape"], name
            worst = max(worst, _largest(outputs[name], expected["positions"], expected["values"]))
    return at_most("largest difference", worst, golden.TOLERANCE[torch.float32])


def complete_goldens(device: torch.device) -> str:
    if not golden.GOLDENS.is_dir():
        raise SkippedError("the published models' full outputs (shared/goldens) are not beside the repository")
    runs = [(file, attention, golden.SMALL_SHAPES) for attention, file in golden.ATTENTION_FILES.items()]
    sizes = [("pcan_backbone_kp17_small", 17, 2, 64)]
    if device.type != "cpu":  # there the tests run them
        runs.append(("epam_cbam_std", next(iter(golden.ATTENTION_FILES)), golden.STANDARD_SHAPES))
        sizes.append(("pcan_backbone_kp28_small", 28, 2, 64))
    epam = max(_furthest(file, _epam_outputs(attention, shapes, device)) for file, attention, shapes in runs)
    pcan = max(_furthest(file, _rgbpose_outputs(*size, device)) for file, *size in sizes)
    single = golden.TOLERANCE[torch.float32]
    return f"{at_most('EPAM-Net', epam, single)}, {at_most('RGBPoseConv3D', pcan, 5e-4)}"


def _furthest(file: str, outputs: dict[str, Tensor]) -> float:
    published = golden.published_outputs(file, torch.float32)
    return max(
        _largest(output, golden.sample_positions(output.numel()), published[name]["sample"])
        for name, output in outputs.items()
    )


def _rgbpose_outputs(joints: int, batch: int, size: int, device: torch.device) -> dict[str, Tensor]:
    model = RGBPoseConv3D(num_joints=joints, interaction=True)
    names = inverse(RGBPOSE_CONV3D.backbone)
    drawn = {name: golden.draw_tensor(names[name], tuple(t.shape)) for name, t in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(values) for name, values in drawn.items()})
    clips = golden.draw_clips(((batch, 3, 8, size, size), (batch, joints, 32, size // 4, size // 4)), torch.float32)
    with torch.no_grad():
        rgb, pose = model.eval().to(device)(*(clip.to(device) for clip in clips))
    return {"x_rgb": rgb, "x_pose": pose}


def golden_step(device: torch.device) -> str:
    """Losses, gradients and statistics of a published training step."""
    if device.type == "cpu":
        raise SkippedError("the tests run it on the CPU")
    recogniser = build_epam(60, dropout=0.0)
    golden.fill(recogniser)
    recogniser.double().train().to(device)
    logits = recogniser(*(clip.to(device) for clip in golden.draw_clips(golden.SMALL_SHAPES, torch.float64)))
    expected = golden.read_fixture()["training_step"]
    labels = torch.tensor(expected["labels"], device=device)
    losses = [functional.cross_entropy(scores, labels) for scores in (logits.rgb, logits.pose)]
    torch.stack(losses).sum().backward()
    gradients = to_published({name: weight.grad for name, weight in recogniser.named_parameters()}, EPAM, "both")
    buffers = to_published(dict(recogniser.named_buffers()), EPAM, "both")
    pairs = [(losses[0], expected["loss_rgb"]), (losses[1], expected["loss_pose"])]
    pairs += [(gradients[name].norm(), norm) for name, norm in expected["grad_norm"].items()]
    pairs += [(buffers[name].sum(), total) for name, total in expected["buffer_sum"].items()]
    worst = max(abs(found.item() - value) / max(abs(value), 1.0) for found, value in pairs)
    return at_most("largest difference", worst, EXACT)


def pcan_head(network: nn.Module) -> TwoStreamRecogniser:
    """The network with PCAN's head, in training, without dropout, with weights that make no path zero."""
    torch.manual_seed(1)
    head = TwoStreamHead(6, network.rgb_channels, network.pose_channels, 0.0, num_coarse_classes=3)
    model = TwoStreamRecogniser(network, head)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()


def epam_with_pcan() -> TwoStreamRecogniser:
    torch.manual_seed(0)
    return pcan_head(EPAMBackbone())


def rgbpose_with_pcan() -> TwoStreamRecogniser:
    torch.manual_seed(0)
    return pcan_head(RGBPoseConv3D(interaction=True))


def draw(shapes: Shapes, device: torch.device) -> Clips:
    """An RGB and a pose clip for a check on this device, float64 on the CPU."""
    generator = torch.Generator().manual_seed(2)
    rgb, pose = shapes[device.type]
    return (
        torch.randn(rgb, generator=generator, dtype=torch.float64),
        torch.rand(pose, generator=generator, dtype=torch.float64) ** 4,
    )


def pcan_loss(model: nn.Module, logits: Logits, labels: Tensor) -> Tensor:
    """The terms of PCAN's objective with factors of 1 (`losses.pcan` needs the package's settings)."""
    coarse_of = torch.tensor(COARSE_OF, device=labels.device)
    fine_loss, coarse_loss, tree = FinePrototypeLoss(COARSE_OF), CoarsePrototypeLoss(), TreeLoss(COARSE_OF)
    banks, terms = prototype_banks(model), list[Tensor]()
    for stream, fine in logits.streams.items():
        coarse = logits.coarse_streams[stream]
        embeddings = [logits.embeddings[f"{stream}_{kind}"] for kind in ("fine", "coarse")]
        prototypes = [banks[f"{stream}_{kind}"].prototypes for kind in ("fine", "coarse")]
        of_classes = fine_loss.to(labels.device)(embeddings[0], fine, coarse, labels, prototypes[0])
        of_groups = coarse_loss(embeddings[1], coarse, coarse_of[labels], prototypes[1])
        terms += [functional.cross_entropy(fine, labels), functional.cross_entropy(coarse, coarse_of[labels])]
        terms += [of_classes.loss, of_classes.diversity, of_groups.loss, tree.to(labels.device)(fine, coarse, labels)]
    return torch.stack(terms).sum()


def step(model: nn.Module, clips: Clips, device: torch.device, dtype: torch.dtype) -> dict[str, list[Tensor]]:
    """Logits, loss, gradients and statistics of a forward and backward pass of a copy of the model."""
    model = copy.deepcopy(model).to(device, dtype)
    logits = model(*(clip.to(device, dtype) for clip in clips))
    loss = pcan_loss(model, logits, torch.tensor(LABELS[: len(clips[0])], device=device))
    loss.backward()
    return {
        "logits": [*logits.streams.values(), *logits.embeddings.values()],
        "loss": [loss],
        "gradients": [weight.grad for weight in model.parameters() if weight.grad is not None],
        "statistics": [buffer for buffer in model.buffers() if buffer.is_floating_point()],
    }


def _against_cpu(make: Callable[[], nn.Module], shapes: Shapes, device: torch.device) -> str:
    model, clips = make(), draw(shapes, device)
    expected = step(model, clips, torch.device("cpu"), torch.float64)
    figures = {}
    for dtype, limits in ((torch.float64, dict.fromkeys(SINGLE, EXACT)), (torch.float32, SINGLE)):
        found = step(model, clips, device, dtype)
        for name, limit in limits.items():
            what = f"{str(dtype).removeprefix('torch.')} {name}"
            figures[what] = at_most(what, distance(found[name], expected[name]), limit)
    return ", ".join(figures[what] for what in ("float64 gradients", "float32 logits", "float32 gradients"))


def epam_against_cpu(device: torch.device) -> str:
    return _against_cpu(epam_with_pcan, EPAM_SHAPES, device)


def rgbpose_against_cpu(device: torch.device) -> str:
    return _against_cpu(rgbpose_with_pcan, RGBPOSE_SHAPES, device)


def batch_norms(device: torch.device) -> str:
    """In training, evaluation and folded, in both memory formats, far from zero; also under autocast."""
    torch.manual_seed(3)
    x, weights = torch.randn(8, 16, 4, 9, 9, dtype=torch.float64) * 3 + 30, torch.randn(8, 16, 4, 9, 9).double()
    norm = nn.BatchNorm3d(16, momentum=0.3).double()
    nn.init.normal_(norm.weight)
    expected, worst = _normed(copy.deepcopy(norm), x, weights), 0.0
    for memory_format in (torch.contiguous_format, torch.channels_last_3d):
        mine = x.to(device, torch.float32).contiguous(memory_format=memory_format)
        found = _normed(copy.deepcopy(norm).float().to(device), mine, weights.to(device, torch.float32))
        worst = max(worst, *(distance([a], [b]) for a, b in zip(found, expected, strict=True)))
    model = epam_with_pcan().backbone.eval()
    clips = draw(EPAM_SHAPES, device)
    with torch.no_grad():
        plain = model.double()(*clips)
        folded = fold_batch_norms(model.float()).to(device)(*(clip.to(device, torch.float32) for clip in clips))
    return f"{at_most('training', worst, 1e-4)}, {at_most('folded', distance(folded, plain), 1e-4)}"


def _normed(norm: nn.BatchNorm3d, x: Tensor, weights: Tensor) -> list[Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = norm.train()(x)
    (y * weights).sum().backward()
    evaluated = norm.eval()(x)
    return [y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var, evaluated]


@contextmanager
def deterministic() -> Iterator[None]:
    """Inside, an operation that is not deterministic is an error."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def gradients_twice(device: torch.device) -> str:
    """With deterministic algorithms, which must exist; how far off two runs without them are is only told."""
    figures, networks = [], [("EPAM-Net", epam_with_pcan, EPAM_SHAPES)]
    if device.type != "cpu":
        networks.append(("RGBPoseConv3D", rgbpose_with_pcan, RGBPOSE_SHAPES))
    for name, make, shapes in networks:
        model, clips = make(), draw(shapes, device)
        with deterministic():
            first, second = (step(model, clips, device, torch.float32)["gradients"] for _ in range(2))
        assert all(map(torch.equal, first, second)), f"{name}: off by {distance(first, second):.2g}"
        with torch.backends.cudnn.flags(enabled=True, deterministic=False, allow_tf32=False):
            other = step(model, clips, device, torch.float32)["gradients"]
        figures.append(f"{name} equal (by default within {distance(other, first):.1e})")
    return ", ".join(figures)


def grad_scaler(device: torch.device) -> str:
    """A scale that is too high skips steps and halves, until gradients are those of float32."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.Flatten(), nn.Linear(8 * 64, 6))
    model = model.to(device)
    x, labels = torch.randn(4, 3, 4, 4, 4, device=device), torch.tensor(LABELS, device=device)
    functional.cross_entropy(model(x), labels).backward()
    expected = [weight.grad.clone() for weight in model.parameters()]
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler(device.type, 2.0**30)
    before = [weight.detach().clone() for weight in model.parameters()]
    skipped = 0
    while skipped < MOST_SKIPPED:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.float16):
            loss = functional.cross_entropy(model(x), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        gradients, scale = [weight.grad.clone() for weight in model.parameters()], scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if not all(map(torch.equal, before, model.parameters())):
            break
        assert scaler.get_scale() == scale / 2, f"the scale went from {scale:g} to {scaler.get_scale():g}"
        skipped += 1
    assert 0 < skipped < MOST_SKIPPED, f"{skipped} steps were skipped from a scale of 2^30"
    return f"{skipped} steps skipped, {at_most('gradients', distance(gradients, expected), 2e-2)}"
