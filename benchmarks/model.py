"""EPAM-Net against a straightforward 5-D implementation: the same weights, the same numbers, less time.

    python -m benchmarks.model                  # on a GPU if there is one, else on the CPU

Correctness first: features and gradients of both must agree before anything is timed. Then all forms run in turns, so
that other load on the machine slows them equally; the time of a row is its fastest round. On the CPU: evaluation and
training in float32. On a GPU also: bf16 with `torch.compile`, and the ratio to the limit set by memory bandwidth, which
a copy measures in the same run. Nothing needs to be built in advance; the table comes last.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import publish
from benchmarks.reference_epam import ReferenceEPAM
from epam_model import EPAMBackbone
from epam_model.layers.frame_conv import FrameConv
from epam_model.networks.fold import fold_batch_norms
from epam_model.tools.profile import activation_bytes, wait_for

Clips = tuple[Tensor, Tensor]
TOLERANCE = 1e-9  # of features, gradients and statistics in float64, relative to their largest value


def build(device: torch.device) -> tuple[nn.Module, nn.Module]:
    """The reference and ours, with the same weights; the last batch norm of each block does not have weight 0."""
    torch.manual_seed(0)
    ours = EPAMBackbone()
    for name, weight in ours.named_parameters():
        if name.endswith("project.norm.weight"):
            nn.init.constant_(weight, 0.3)
    reference = ReferenceEPAM()
    reference.load_state_dict(ours.state_dict(), strict=True)
    return reference.to(device), ours.to(device)


def draw_clips(batch: int, device: torch.device, size: int = 224) -> Clips:
    generator = torch.Generator().manual_seed(1)
    rgb = torch.randn(batch, 3, 16, size, size, generator=generator)
    pose = torch.rand(batch, 17, 48, size // 4, size // 4, generator=generator) ** 4
    return rgb.to(device), pose.to(device)


def train_step(model: nn.Module, clips: Clips, autocast: bool = False) -> None:
    model.zero_grad(set_to_none=True)
    with torch.autocast(clips[0].device.type, torch.bfloat16) if autocast else nullcontext():
        rgb, pose = model(*clips)
    (rgb.square().mean() + pose.square().mean()).backward()


def evaluate(model: nn.Module, clips: Clips, autocast: bool = False) -> Any:
    with torch.inference_mode(), torch.autocast(clips[0].device.type, torch.bfloat16) if autocast else nullcontext():
        return model(*clips)


def check(reference: nn.Module, ours: nn.Module, device: torch.device) -> None:
    """Fail if the two differ in evaluation, folded evaluation, gradients or statistics."""
    rgb, pose = draw_clips(2, device, size=64)
    clips = rgb.double(), pose.double()
    reference, ours = copy.deepcopy(reference).double(), copy.deepcopy(ours).double()
    expected = evaluate(reference.eval(), clips)
    for form in (ours.eval(), fold_batch_norms(ours)):
        for theirs, mine in zip(expected, evaluate(form, clips), strict=True):
            close("features", mine, theirs)
    for model in (reference.train(), ours.train()):
        train_step(model, clips)
    theirs, mine = dict(reference.named_parameters()), dict(ours.named_parameters())
    for name, weight in theirs.items():
        assert weight.grad is not None and mine[name].grad is not None
        close(f"gradient of {name}", mine[name].grad, weight.grad)
    for (name, theirs_), mine_ in zip(reference.named_buffers(), ours.buffers(), strict=True):
        close(name, mine_.double(), theirs_.double())


def close(name: str, mine: Tensor, theirs: Tensor) -> None:
    worst = (mine - theirs).abs().max().item()
    largest = theirs.abs().max().item()
    if worst > TOLERANCE * max(largest, 1e-3):
        raise AssertionError(f"{name}: ours is off by {worst:g}, the largest value is {largest:g}")


def take_turns(runs: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds of the fastest of `rounds` rounds of each run, after one round that is not counted."""
    fastest = dict.fromkeys(runs, float("inf"))
    for number in range(rounds + 1):
        for name, run in runs.items():
            wait_for(device)
            start = time.perf_counter()
            run()
            wait_for(device)
            if number:
                fastest[name] = min(fastest[name], time.perf_counter() - start)
    return fastest


def forms(
    reference: nn.Module, ours: nn.Module, clips: Clips, training: bool, gpu: bool
) -> dict[str, Callable[[], object]]:
    step = train_step if training else evaluate
    reference, ours = copy.deepcopy(reference).train(training), copy.deepcopy(ours).train(training)
    runs: dict[str, Callable[[], object]] = {
        "5-D Conv3d, fp32": lambda: step(reference, clips),
        "ours, fp32": lambda: step(ours, clips),
    }
    if training:
        saving = copy.deepcopy(ours)
        for stream in (saving.rgb_backbone, saving.pose_backbone):
            stream.checkpoint_activations = True
        runs["ours, fp32, checkpointed"] = lambda: step(saving, clips)
    else:
        folded = fold_batch_norms(ours)
        runs["ours, fp32, folded"] = lambda: step(folded, clips)
    if gpu:
        base = copy.deepcopy(ours) if training else fold_batch_norms(ours)
        compiled = torch.compile(base)
        runs["ours, bf16"] = lambda: step(base, clips, True)
        runs["ours, bf16, compiled"] = lambda: step(compiled, clips, True)
    return runs


def bytes_moved(model: nn.Module, clips: Clips, training: bool, element: int) -> int:
    """Bytes moved if each convolution reads its input and writes its output once, and everything else is fused.

    A training step also reads the gradient and the input, and writes the gradient of the input: 2.5 times as much.
    """
    count = 0

    def add(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal count
        count += inputs[0].numel() + output.numel()

    hooks = [each.register_forward_hook(add) for each in model.modules() if isinstance(each, FrameConv)]
    evaluate(model.eval(), clips)
    for hook in hooks:
        hook.remove()
    return int(count * element * (2.5 if training else 1))


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second of a large copy, reads and writes counted."""
    source = torch.empty(1 << 28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / take_turns({"copy": lambda: target.copy_(source)}, 10, device)["copy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", help="batch sizes; default: 2 on the CPU, 16 and 32 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    reference, ours = build(device)
    check(reference, ours, device)
    print(f"features, gradients and statistics agree within {TOLERANCE:g} in float64", flush=True)
    bandwidth = copy_bandwidth(device) if gpu else None
    rows = []
    for batch in options.batch or ([16, 32] if gpu else [2]):
        clips = draw_clips(batch, device)
        for training in (False, True):
            rows += measure(reference, ours, clips, training, options.rounds, bandwidth)
    publish("model_gpu" if gpu else "model_cpu", rows)


def measure(
    reference: nn.Module, ours: nn.Module, clips: Clips, training: bool, rounds: int, bandwidth: float | None
) -> list[dict[str, Any]]:
    device = clips[0].device
    runs = forms(reference, ours, clips, training, gpu=device.type == "cuda")
    seconds = take_turns(runs, rounds, device)
    base = seconds["5-D Conv3d, fp32"]
    rows = []
    for name, run in runs.items():
        kept = activation_bytes(run, device, training=training)
        row: dict[str, Any] = {
            "mode": "training" if training else "evaluation",
            "batch": len(clips[0]),
            "form": name,
            "clips_per_second": len(clips[0]) / seconds[name],
            "speedup": base / seconds[name],
            "activations_mb": "-" if kept is None else round(kept / 1e6),
        }
        if bandwidth is not None:
            element = 2 if "bf16" in name else 4
            least = bytes_moved(ours, clips, training, element) / bandwidth
            row["times_bandwidth_limit"] = seconds[name] / least
        rows.append(row)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


if __name__ == "__main__":
    main()
