"""Whether this package computes on a GPU what it computes on the CPU, in less than three minutes.

    python -m benchmarks.gpu --check
    python -m benchmarks.gpu --check --json gpu.json
    python -m benchmarks.gpu --check --device cpu          # a dry run, with gloo in place of NCCL

Needs torch, NumPy and a clone of the repository. Checks that need more of the package's dependencies are skipped where
these are missing, and so is a comparison with the published models' full outputs where `shared/goldens` is not beside
the clone. One line per check; the exit code is 1 if a check failed. Run it before anything else on a new GPU, driver or
torch, then `python -m benchmarks.model` for speed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic products; read when CUDA starts

import torch

from benchmarks import gpu_checks, gpu_runs, gpu_slots
from benchmarks.gpu_results import SkippedError

Check = Callable[[torch.device], str]

CHECKS: dict[str, Check] = {
    "goldens in f32, sampled": gpu_checks.sampled_goldens,
    "goldens in f32, complete": gpu_checks.complete_goldens,
    "golden training step in f64": gpu_checks.golden_step,
    "EPAM-Net, forward and backward": gpu_checks.epam_against_cpu,
    "RGBPoseConv3D, forward and backward": gpu_checks.rgbpose_against_cpu,
    "batch norms": gpu_checks.batch_norms,
    "gradients twice, bit for bit": gpu_checks.gradients_twice,
    "GradScaler in fp16": gpu_checks.grad_scaler,
    "pinned slots under load": gpu_slots.pinned_slots,
    "DDP on one rank": gpu_runs.one_rank,
    "SyncBN and DDP on two ranks": gpu_runs.two_ranks,
    "resume, bit for bit": gpu_runs.resume,
    "stream and finisher": gpu_runs.stream,
    "training run in fp16": gpu_runs.run_in_fp16,
    "training run resumed, bit for bit": gpu_runs.resumed_run,
}
"""Name -> check; it returns a figure, raises `Skipped` with a reason, or fails by any other error."""

_MAX_LENGTH = 300


def run_check(name: str, check: Check, device: torch.device) -> dict[str, Any]:
    """The result of a check: `ok`, `failed` or `skipped`, with its figure or reason, and its seconds."""
    begun = time.perf_counter()
    try:
        result, figure = "ok", check(device)
    except SkippedError as reason:
        result, figure = "skipped", str(reason)
    except ModuleNotFoundError as error:
        result, figure = ("failed", str(error)) if _is_ours(error) else ("skipped", f"needs {error.name}")
    except Exception as error:  # the boundary: whatever goes wrong on a GPU, the other checks still say something
        text = " ".join(str(error).split())
        result, figure = "failed", f"{type(error).__name__}: {text}"[:_MAX_LENGTH]
    return {"name": name, "result": result, "figure": figure, "seconds": round(time.perf_counter() - begun, 1)}


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "").split(".")[0] in ("epam_data", "epam_model", "benchmarks", "tests", "")


def run_checks(device: torch.device, checks: Mapping[str, Check] = CHECKS) -> list[dict[str, Any]]:
    """Run all checks and print their lines."""
    rows = []
    # Convolutions take 10 bits of a float32 (TF32) by default, which no comparison with the CPU would survive.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for name, check in checks.items():
            row = run_check(name, check, device)
            rows.append(row)
            print(f"{row['name']:<36} {row['result']:<8} {row['figure']}  ({row['seconds']:.1f} s)", flush=True)
    return rows


def describe(device: torch.device) -> dict[str, str]:
    """The device and the versions that the results are of."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "torch": torch.__version__, "cuda": str(torch.version.cuda)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", required=True, help="run the checks")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="auto: a GPU, else the CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args(argv)
    has_gpu = torch.cuda.is_available()
    if arguments.device == "cuda" and not has_gpu:
        parser.error("--device cuda: torch finds no GPU here")
    device = torch.device("cuda", 0) if has_gpu and arguments.device != "cpu" else torch.device("cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)  # the clips of a dry run are small
    about = describe(device)
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    rows = run_checks(device)
    counts = {result: sum(row["result"] == result for row in rows) for result in ("ok", "failed", "skipped")}
    print(f"{', '.join(f'{count} {result}' for result, count in counts.items())}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({**about, "checks": rows}, indent=1) + "\n", encoding="utf-8")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
