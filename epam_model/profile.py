"""What a network costs: parameters and multiply-adds of each part, and clips per second on this device."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_SECONDS = 1.0  # how long each batch size is timed, at least


def profile(
    model: nn.Module,
    *,
    rgb_shape: tuple[int, ...],
    pose_shape: tuple[int, ...],
    batch_sizes: Sequence[int],
    device: torch.device,
) -> str:
    """Two plain tables: cost of each part, and speed of a forward pass in evaluation mode.

    Args:
        model: maps (rgb, pose) to `Logits`.
        rgb_shape: (3, T, H, W) of one clip.
        pose_shape: (V, T', h, w) of one clip.
        batch_sizes: clips at a time.
        device: where to run.
    """
    model = model.to(device).eval()
    clip = torch.zeros(1, *rgb_shape, device=device), torch.zeros(1, *pose_shape, device=device)
    lines = [f"{'part':<24} {'parameters':>12} {'MACs per clip':>16}"]
    macs = multiply_adds(model, *clip)
    for name, part in (*_parts(model), ("total", model)):
        num_parameters = sum(weight.numel() for weight in part.parameters())
        lines.append(f"{name:<24} {num_parameters:>12,} {macs.get(name, 0):>16,}")
    lines += ["", f"{'batch on ' + device.type:<24} {'clips/s':>12} {'ms per batch':>16}"]
    for size in batch_sizes:
        seconds = _seconds_per_batch(model, *(tensor.expand(size, -1, -1, -1, -1).contiguous() for tensor in clip))
        lines.append(f"{size:<24} {size / seconds:>12.2f} {1000 * seconds:>16.1f}")
    return "\n".join(lines)


def multiply_adds(model: nn.Module, rgb: Tensor, pose: Tensor) -> dict[str, int]:
    """Multiply-adds of one forward pass, of each part and in `total`: half the FLOPs that torch counts.

    Only convolutions and matrix products count, as is usual.
    """
    with torch.no_grad(), FlopCounterMode(display=False, depth=4) as counter:
        model(rgb, pose)
    counts = {name: sum(by_operator.values()) // 2 for name, by_operator in counter.get_flop_counts().items()}
    root = type(model).__name__
    return {"total": counts["Global"]} | {name: counts.get(f"{root}.{name}", 0) for name, _ in _parts(model)}


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children of the model; of a two-stream backbone, its own children."""
    parts = []
    for name, child in model.named_children():
        inside = list(child.named_children()) if hasattr(child, "rgb_backbone") else []
        parts += [(f"{name}.{part}", module) for part, module in inside] or [(name, child)]
    return [(name, part) for name, part in parts if any(True for _ in part.parameters())]


def _seconds_per_batch(model: nn.Module, rgb: Tensor, pose: Tensor) -> float:
    def run() -> None:
        model(rgb, pose)
        if rgb.is_cuda:
            torch.cuda.synchronize()

    with torch.inference_mode():
        run()  # the first pass chooses kernels and fills caches
        start, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - start < _SECONDS:
            run()
            count += 1
    return (time.perf_counter() - start) / count
