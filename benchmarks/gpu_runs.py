"""Checks of `benchmarks.gpu` on ranks, resumes and whole runs. The last three need the package's dependencies.

`python -m benchmarks.gpu_runs FOLDER DEVICE RANK` is a rank of `two_ranks`.
"""

from __future__ import annotations

import copy
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules._functions import SyncBatchNorm

from benchmarks.gpu_checks import EPAM_SHAPES, LABELS, Clips, deterministic, draw, epam_with_pcan, pcan_loss
from benchmarks.gpu_results import SkippedError, at_most, distance
from epam_model.networks.recogniser import TwoStreamRecogniser
from epam_model.ranks.distributed import Ranks, any_rank, average_buffers, data_parallel, gather, sum_over_ranks
from epam_model.ranks.sync_batch_norm import synchronise_batch_norms

ROOT = Path(__file__).resolve().parents[1]
EXACT = 1e-9
RANK_SECONDS = 90
STEPS, STOP = 4, 2


def _network() -> TwoStreamRecogniser:
    """EPAM-Net with PCAN's head and dropout, in float64."""
    model = epam_with_pcan()
    model.head.rgb.dropout.p = model.head.pose.dropout.p = 0.5
    return model.double()


def _backward(called: nn.Module, model: nn.Module, clips: Clips, labels: Tensor) -> list[Tensor]:
    """Gradients and statistics after one forward and backward pass."""
    torch.manual_seed(5)
    pcan_loss(model, called(*clips), labels).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return [*gradients, *(buffer for buffer in model.buffers() if buffer.is_floating_point())]


def _on(device: torch.device) -> tuple[Clips, Tensor]:
    rgb, pose = draw(EPAM_SHAPES, device)
    return (rgb.to(device), pose.to(device)), torch.tensor(LABELS[: len(rgb)], device=device)


def one_rank(device: torch.device) -> str:
    """DDP and the collective operations, by NCCL on a GPU: with one rank they change nothing."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    if backend == "nccl" and not dist.is_nccl_available():
        raise SkippedError("this torch has no NCCL")
    clips, labels = _on(device)
    alone = _network().to(device)
    expected = _backward(alone, alone, clips, labels)
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group(backend, init_method=f"file://{folder}/store", rank=0, world_size=1)
        try:
            model = _network().to(device)
            called = data_parallel(model, Ranks(world=2, device=device))  # of one it would not make a DDP
            found = _backward(called, model, clips, labels)
            del called
            average_buffers(model)
            assert sum_over_ranks(torch.full((3,), 2.0, device=device)).tolist() == [2.0] * 3
            assert gather({"value": 1}) == [{"value": 1}]
            assert any_rank([False, torch.ones((), device=device)], device) == [False, True]
            synchronised = _synchronised(device) if backend == "nccl" else "SyncBatchNorm needs a GPU"
        finally:
            dist.destroy_process_group()
    return f"{backend}: {at_most('gradients and statistics', distance(found, expected), EXACT)}, {synchronised}"


def _synchronised(device: torch.device) -> str:
    """A batch norm by the kernels and the exchange of `SyncBatchNorm`, whose module skips both on one rank."""
    norm = nn.BatchNorm3d(8, momentum=0.3, dtype=torch.float64, device=device)
    own = copy.deepcopy(norm)
    x = torch.randn(4, 8, 3, 5, 5, dtype=torch.float64, device=device) * 3 + 10
    statistics = own.running_mean, own.running_var
    y, expected = SyncBatchNorm.apply(x, own.weight, own.bias, *statistics, own.eps, 0.3, dist.group.WORLD, 1), norm(x)
    (y.sum() + y.square().sum()).backward()
    (expected.sum() + expected.square().sum()).backward()
    mine = [y, *statistics, own.weight.grad, own.bias.grad]
    theirs = [expected, norm.running_mean, norm.running_var, norm.weight.grad, norm.bias.grad]
    return at_most("SyncBatchNorm", distance(mine, theirs), EXACT)


def two_ranks(device: torch.device) -> str:
    """Two ranks with half of a batch each, by gloo on one device, against one rank with all of it."""
    clips, labels = _on(device)
    alone = _network().to(device)
    expected = _backward(alone, alone, clips, labels)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.gpu_runs", folder, str(device)]
        ranks = [
            subprocess.Popen([*command, str(rank)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for rank in range(2)
        ]
        try:
            errors = [rank.communicate(timeout=RANK_SECONDS)[1] for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        for number, (rank, error) in enumerate(zip(ranks, errors, strict=True)):
            assert rank.returncode == 0, f"rank {number} ended with {rank.returncode}: {error.strip()[-200:]}"
        found = torch.load(f"{folder}/found.pt", weights_only=True)
    kind = "SyncBatchNorm" if device.type == "cuda" else "RanksBatchNorm"
    return f"{kind}: {at_most('gradients and statistics', distance(found, expected), EXACT)}"


def _rank(folder: str, device: torch.device, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    ranks = Ranks(rank=rank, world=2, device=device)
    (rgb, pose), labels = _on(device)
    model = synchronise_batch_norms(_network(), ranks).to(device)
    called = data_parallel(model, ranks)
    found = _backward(called, model, (rgb[rank::2], pose[rank::2]), labels[rank::2])
    if ranks.is_main:
        torch.save([tensor.cpu() for tensor in found], f"{folder}/found.pt")
    del called
    dist.barrier()
    dist.destroy_process_group()


class _Run:
    """A training without the package's trainer: weights, prototypes, momenta, loss scale and dropout."""

    def __init__(self, device: torch.device) -> None:
        self.model = _network().float().to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**10)
        (rgb, pose), self.labels = _on(device)
        self.clips = rgb.float(), pose.float()

    def steps(self, first: int, last: int) -> None:
        for number in range(first, last):
            torch.manual_seed(number)
            self.optimizer.zero_grad()
            self.scaler.scale(pcan_loss(self.model, self.model(*self.clips), self.labels)).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "scaler")}

    def load(self, state: dict[str, Any]) -> None:
        for name, values in state.items():
            getattr(self, name).load_state_dict(values)


def resume(device: torch.device) -> str:
    """Weights after steps with a checkpoint between, against those without."""
    with deterministic():
        whole, first, second = _Run(device), _Run(device), _Run(device)
        whole.steps(0, STEPS)
        first.steps(0, STOP)
        file = io.BytesIO()
        torch.save(first.state(), file)
        file.seek(0)
        second.load(torch.load(file, map_location=device, weights_only=True))
        second.steps(STOP, STEPS)
    pairs = list(zip(whole.model.state_dict().items(), second.model.state_dict().values(), strict=True))
    different = [name for (name, theirs), mine in pairs if not torch.equal(mine, theirs)]
    assert not different, f"{len(different)} of {len(pairs)} tensors differ, first {different[0]}"
    return f"{len(pairs)} tensors equal after {STEPS} steps"


def stream(device: torch.device) -> str:
    """Batches of a page-locked stream, finished on the device, against those of the CPU."""
    from epam_data.stream import BatchFinisher, Stream
    from tests.model.tiny import STREAM, write_shards

    crops = {"train_crop": "random_resized", "brightness": 0.4, "contrast": 0.4, "heatmap": "drawn"}
    worst, count = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        shards = write_shards(Path(folder) / "shards")
        for settings in (STREAM, replace(STREAM, **crops)):
            plain = Stream(shards, split="train", settings=settings, training=True)
            finisher = BatchFinisher.for_shards(plain.manifest)
            on_device = BatchFinisher.for_shards(plain.manifest).to(device)
            fast = replace(settings, workers=2)
            with Stream(shards, split="train", settings=fast, training=True, pin_memory=device.type == "cuda") as mine:
                for expected, batch in zip(plain.epoch(0), mine.epoch(0), strict=True):
                    assert batch.keys == expected.keys
                    moved = batch.to(device)
                    worst = max(worst, distance(on_device(moved), finisher(expected)))
                    count += len(batch)
            plain.close()
    return f"{count} clips, {at_most('difference', worst, 1e-5)}"


def run_in_fp16(device: torch.device) -> str:
    """The trainer's step in 16 bits with its loss scale: the loss falls."""
    from tests.model.tiny import tiny_trainer, write_shards

    with tempfile.TemporaryDirectory() as folder:
        shards = write_shards(Path(folder) / "shards")
        trainer = tiny_trainer(shards, Path(folder) / "run", ranks=Ranks(device=device), precision="fp16", epochs=4)
        losses, take_step = [], trainer._take_step

        def taken(batch: Any, *, stop: bool) -> Any:
            result = take_step(batch, stop=stop)
            losses.append(float(result.values["loss"]))
            return result

        trainer._take_step = taken
        with _quiet():
            trainer.fit()
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert last < first, f"the loss went from {first:.3g} to {last:.3g}"
    return f"loss {first:.2f} to {last:.2f} in {len(losses)} steps"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines of a run."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


class _InterruptionError(Exception):
    pass


def resumed_run(device: torch.device) -> str:
    """A run of the trainer that was interrupted between two checkpoints, against one that was not."""
    from epam_model.build import build_model
    from epam_model.networks.settings import ModelSettings
    from epam_model.weights.checkpoint import load_checkpoint
    from tests.model.tiny import CLASSES, STREAM, tiny_trainer, write_shards

    def train(out: Path, stop_at: int, *, again: bool = False) -> None:
        settings, groups = ModelSettings(head="pcan"), len(CLASSES.groups)
        model = build_model(settings, num_classes=6, num_joints=17, num_coarse_classes=groups, seed=3)
        trainer = tiny_trainer(
            shards,
            out,
            model,
            stream=replace(STREAM, workers=2),
            ranks=Ranks(device=device),
            lr=0.02,
            checkpoint_steps=1,
            epochs=1,
        )
        take_step = trainer._take_step

        def taken(batch: Any, *, stop: bool) -> Any:
            if trainer.step == stop_at and not again:
                raise _InterruptionError
            return take_step(batch, stop=stop)

        trainer._take_step = taken
        with _quiet():
            trainer.fit(resume=again)

    with tempfile.TemporaryDirectory() as folder, deterministic():
        shards = write_shards(Path(folder) / "shards")
        whole, parts = Path(folder) / "whole", Path(folder) / "parts"
        train(whole, -1)
        try:
            train(parts, STOP)
        except _InterruptionError:
            train(parts, STOP, again=True)
        mine, theirs = (load_checkpoint(run / "last.pt").weights for run in (parts, whole))
    different = [name for name, value in theirs.items() if not torch.equal(mine[name], value)]
    assert not different, f"{len(different)} of {len(theirs)} tensors differ, first {different[0]}"
    return f"{len(theirs)} tensors equal"


if __name__ == "__main__":
    _rank(sys.argv[1], torch.device(sys.argv[2]), int(sys.argv[3]))
