"""The cost of a network: parameters and multiply-adds of each part, activation memory and clips per second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from epam_model.networks.fold import fold_batch_norms
from epam_model.networks.heads import Logits
from epam_model.networks.two_streams import HasParts

Variant = Literal["fp32", "bf16", "fp32-folded", "fp32-compiled", "bf16-compiled"]
"""`folded`: batch norms are folded into convolutions, only for evaluation."""

_SECONDS = 1.0  # shortest time for which a row is measured


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """Size of a part of a network."""

    name: str
    parameters: int
    macs: int  # multiply-adds of one clip


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One row of timings; a row that was left out has a reason instead of numbers."""

    variant: str
    mode: str  # evaluation or training
    batch_size: int
    clips_per_second: float | None = None
    activation_mb: float | None = None  # training: what autograd keeps; evaluation on a GPU: the peak
    left_out: str = ""


def part_costs(model: nn.Module, rgb: Tensor, pose: Tensor) -> list[PartCost]:
    """Parameters and multiply-adds of each part, then in total; rgb and pose are a batch of one clip."""
    macs = multiply_adds(model.eval(), rgb, pose)
    return [
        PartCost(name=name, parameters=sum(weight.numel() for weight in part.parameters()), macs=macs.get(name, 0))
        for name, part in (*_parts(model), ("total", model))
    ]


def multiply_adds(model: nn.Module, rgb: Tensor, pose: Tensor) -> dict[str, int]:
    """Multiply-adds of one forward pass, of each part and in `total`: half the FLOPs that torch counts.

    Only convolutions and matrix products are counted, as usual.
    """
    with torch.no_grad(), FlopCounterMode(display=False, depth=4) as counter:
        model(rgb, pose)
    counts = {name: sum(by_operator.values()) // 2 for name, by_operator in counter.get_flop_counts().items()}
    root = type(model).__name__
    return {"total": counts["Global"]} | {name: _inside(counts, f"{root}.{name}") for name, _ in _parts(model)}


def _inside(counts: Mapping[str, int], module: str) -> int:
    """The count of a module; if it is not called itself, the sum over the outermost counted modules inside it."""
    if module in counts:
        return counts[module]
    inside = [name for name in counts if name.startswith(f"{module}.")]
    return sum(counts[name] for name in inside if name.rpartition(".")[0] not in counts)


def measure_speed(
    model: nn.Module, rgb: Tensor, pose: Tensor, *, variant: str, training: bool, budget_seconds: float
) -> Speed:
    """Time one variant in one mode.

    Args:
        model: maps (rgb, pose) to `Logits`; on the device of the clips.
        rgb: (B, 3, T, H, W).
        pose: (B, V, T', h, w).
        variant: a `Variant`.
        training: True: a forward and a backward pass; False: a forward pass in evaluation mode.
        budget_seconds: a pass that takes longer is not repeated.
    """
    row: dict[str, Any] = {
        "variant": variant,
        "mode": "training" if training else "evaluation",
        "batch_size": len(rgb),
    }
    if training and variant == "fp32-folded":
        return Speed(**row, left_out="cannot train")
    prepared = fold_batch_norms(model) if variant == "fp32-folded" else model.train(training)
    called = torch.compile(prepared) if variant.endswith("compiled") else prepared
    run = _pass(called, rgb, pose, training=training, precision=variant[:4])
    try:
        run()  # the first run chooses kernels, or compiles
        kept = activation_bytes(run, rgb.device, training=training)
        seconds = _seconds_per_run(run, rgb.device, budget_seconds)
    except (torch.OutOfMemoryError, MemoryError):
        return Speed(**row, left_out="out of memory")
    finally:
        model.zero_grad(set_to_none=True)
    mb = None if kept is None else round(kept / 1e6, 1)
    return Speed(**row, clips_per_second=len(rgb) / seconds, activation_mb=mb)


def activation_bytes(run: Callable[[], object], device: torch.device, *, training: bool) -> int | None:
    """Bytes of activations of one pass: in training what autograd keeps for the backward pass, each storage once.

    In evaluation, the peak on a GPU minus what was allocated before; None on the CPU, where torch does not count.
    """
    if training:
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            run()
        return sum(kept.values())
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def format_costs(costs: Sequence[PartCost]) -> str:
    """The table of parts."""
    lines = [f"{'part':<28} {'parameters':>12} {'MACs per clip':>16}"]
    lines += [f"{cost.name:<28} {cost.parameters:>12,} {cost.macs:>16,}" for cost in costs]
    return "\n".join(lines)


def speeds_header(device: torch.device) -> str:
    """The header of the table of timings."""
    return f"{'on ' + device.type:<14} {'mode':<11} {'batch':>5} {'clips/s':>9} {'activations':>12}"


def format_speed(row: Speed) -> str:
    """A line of the table of timings."""
    memory = "-" if row.activation_mb is None else f"{row.activation_mb:,.0f} MB"
    cost = f"{row.left_out:>22}" if row.clips_per_second is None else f"{row.clips_per_second:>9.2f} {memory:>12}"
    return f"{row.variant:<14} {row.mode:<11} {row.batch_size:>5} {cost}"


def as_json(costs: Sequence[PartCost], rows: Sequence[Speed], device: torch.device) -> dict[str, Any]:
    """The content of both tables, for a JSON file."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return {
        "device": name,
        "torch": torch.__version__,
        "parts": [asdict(cost) for cost in costs],
        "speed": [asdict(row) for row in rows],
    }


def _pass(
    model: Callable[..., Any], rgb: Tensor, pose: Tensor, *, training: bool, precision: str
) -> Callable[[], None]:
    def autocast() -> AbstractContextManager[Any]:
        return torch.autocast(rgb.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()

    def evaluate() -> None:
        with torch.inference_mode(), autocast():
            model(rgb, pose)

    def train() -> None:
        with autocast():
            logits: Logits = model(rgb, pose)
        outputs = [*logits.streams.values(), *logits.coarse_streams.values(), *logits.embeddings.values()]
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()  # type: ignore[no-untyped-call]

    return train if training else evaluate


def _seconds_per_run(run: Callable[[], None], device: torch.device, budget_seconds: float) -> float:
    """Mean time per run over `_SECONDS`, or the time of a single run if that is longer."""
    wait_for(device)  # for earlier work, which is not part of the time
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < min(_SECONDS, budget_seconds):
        run()
        wait_for(device)
        count += 1
    return (time.perf_counter() - start) / count


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all work that it was given; a clock that is read before measures the giving."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts of a network that have weights, by name."""
    assert isinstance(model, HasParts)
    parts = [(name, model.get_submodule(name)) for name in model.module_parts]
    return [(name, part) for name, part in parts if any(True for _ in part.parameters())]
