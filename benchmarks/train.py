"""Where the time of a training step goes: batches from the stream compared with the model alone on constant tensors.

    python -m benchmarks.train pipelines/ntu60_xsub.yaml --shards shards/ntu60_xsub
    torchrun --nproc-per-node 8 -m benchmarks.train pipelines/ntu60_xsub.yaml --shards shards/ntu60_xsub

Takes the keys of `epam-model train`. Both ways run the optimiser steps of the trainer; the stream reads copies of the
clips of a shard directory from the page cache. They run in turns, and the best turn of each counts, since other load
only makes them slower. The difference is the cost of loading; `data wait` is the share of time that steps waited for
their batch, `GPU %` is the utilisation that nvidia-smi reports. With several ranks, the first one trains alone before,
on its share of the batch: `scaling` is the clips per second of all ranks, divided by ranks times those of one alone.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.measure import publish
from benchmarks.stream import write_copies
from epam_data.recipe import parse_command
from epam_data.stream import BatchFinisher, Stream
from epam_data.stream.launch import find_launch
from epam_model.build import build_for
from epam_model.commands.train import TrainCommand
from epam_model.losses.objective import OBJECTIVES
from epam_model.ranks.distributed import Ranks, choose_device, distributed, gather
from epam_model.ranks.sync_batch_norm import synchronise_batch_norms
from epam_model.train.gradient_step import GradientStep
from epam_model.train.pace import Pace

TURNS, WARM_UP_STEPS = 3, 3


class Training:
    """Model, step and stream, set up as in a trainer.

    Args:
        command: the settings of `epam-model train`.
        shards: the shard directory.
        ranks: this process.
    """

    def __init__(self, command: TrainCommand, shards: Path, ranks: Ranks) -> None:
        self.ranks = ranks
        share: dict[str, Any] = {"rank": ranks.rank, "world": ranks.world, "pin_memory": ranks.device.type == "cuda"}
        self.stream = Stream(shards, split="train", settings=command.stream, training=True, **share)
        self.finisher = BatchFinisher.for_shards(self.stream.manifest).to(ranks.device)
        model = build_for(replace(command.model, init_from=[]), self.stream.manifest)
        model = synchronise_batch_norms(model, ranks) if command.train.sync_bn else model
        model = model.to(ranks.device).train()
        objective = OBJECTIVES[command.model.head](model, command.train.loss, self.stream.manifest.coarse_of)
        self.step = GradientStep(model, objective, settings=command.train, ranks=ranks)
        self.constant = self.stream.read_step(0, 0).to(ranks.device)
        self.clips = (*self.finisher(self.constant), self.constant.label)

    def turn(self, seconds: float, *, from_stream: bool) -> dict[str, Any]:
        """Take steps for `seconds`, after some warm-up steps that do not count."""
        device, batch_size = self.ranks.device, self.stream.settings.batch_size
        pace = Pace(device, clips_per_step=batch_size, steps_per_epoch=len(self.stream))
        batches = (batch for epoch in itertools.count() for batch in self.stream.epoch(epoch))
        begun = time.perf_counter()
        with gpu_utilisation(device) as utilisation:
            for number, batch in enumerate(
                pace.epoch(batches if from_stream else itertools.repeat(self.constant)), start=1
            ):
                clips = self.clips
                if from_stream:
                    batch = batch.to(device)
                    clips = (*self.finisher(batch), batch.label)
                self.step.take(*clips, rate=1e-6, stop=False)
                pace.step_done()
                if number == WARM_UP_STEPS:
                    pace.values(steps_left=1)
                    begun = time.perf_counter()
                # All ranks end at the same step.
                if number > WARM_UP_STEPS and gather(time.perf_counter() - begun > seconds)[0]:
                    break
            values = pace.values(steps_left=1)
        busy = round(mean(utilisation)) if utilisation else "-"
        return {"clips/s": values["clips_per_second"], "data wait": values["data_wait_share"], "GPU %": busy}


@contextmanager
def gpu_utilisation(device: torch.device) -> Iterator[list[float]]:
    """A list of the percentages that nvidia-smi reports inside, filled at the end; empty without a GPU."""
    found: list[float] = []
    if device.type != "cuda":
        yield found
        return
    query = ["nvidia-smi", f"--id={device.index}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with subprocess.Popen([*query, "--loop-ms=200"], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield found
        finally:
            process.terminate()
        assert process.stdout is not None
        found += [float(line) for line in process.stdout.read().split()]


def measure(command: TrainCommand, shards: Path, ranks: Ranks, seconds: float) -> list[dict[str, Any]]:
    """The rows of both ways."""
    training = Training(command, shards, ranks)
    ways = {
        "model alone, constant tensors": False,
        f"from the stream, {command.stream.workers} workers per rank": True,
    }
    best: dict[str, dict[str, Any]] = {}
    with training.step.together():
        for _ in range(TURNS):
            for way, from_stream in ways.items():
                turn = training.turn(seconds, from_stream=from_stream)
                if way not in best or turn["clips/s"] > best[way]["clips/s"]:
                    best[way] = turn
    training.stream.close()
    alone = next(iter(best.values()))["clips/s"]
    batch_size = command.stream.batch_size
    return [
        {
            "way": way,
            "ranks": ranks.world,
            "batch": batch_size,
            "clips/s": turn["clips/s"],
            "steps/s": turn["clips/s"] / batch_size,
            "of the model alone": turn["clips/s"] / alone,
            "data wait": turn["data wait"],
            "GPU %": turn["GPU %"],
        }
        for way, turn in best.items()
    ]


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each turn")
    arguments, words = parser.parse_known_args()
    command: TrainCommand = parse_command(TrainCommand, "benchmarks.train", words)
    if command.train.num_threads:
        torch.set_num_threads(command.train.num_threads)
    launch, rows = find_launch(), []
    with tempfile.TemporaryDirectory() as temporary:
        if launch.rank == 0:
            write_copies(Path(command.shards), Path(temporary))
        if launch.world > 1 and launch.rank == 0:  # the others wait in `distributed`
            share = replace(command.stream, batch_size=command.stream.batch_size // launch.world)
            first = Ranks(device=choose_device(command.train.device, launch.local_rank))
            rows = measure(replace(command, stream=share), Path(temporary), first, arguments.seconds)
        with distributed(command.train.device) as ranks:
            shards = Path(gather(temporary)[0])  # one machine: all ranks read the first one's copies
            together = measure(command, shards, ranks, arguments.seconds)
    alone = {row["way"]: row["clips/s"] for row in rows or together}
    rows = [{**row, "scaling": row["clips/s"] / alone[row["way"]] / row["ranks"]} for row in rows + together]
    if launch.rank == 0:
        publish("train" if launch.world == 1 else f"train_{launch.world}_ranks", rows)


if __name__ == "__main__":
    main()
