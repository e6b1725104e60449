"""What test_distributed runs in each of two processes: `python -m tests.model.two_ranks SHARDS OUT` under torchrun."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from epam_model.evaluate.predict import collect, evaluate
from epam_model.networks.recogniser import build_epam
from epam_model.ranks.agreement import check_ranks_agree
from epam_model.ranks.distributed import Ranks, average_buffers, distributed, gather, on_main, sum_over_ranks
from epam_model.train import trainer as train
from tests.model.tiny import CLASSES, STREAM, FrozenNorms, TinyRecogniser, tiny_trainer, write_shards


class Interruption(Exception):
    pass


def epam() -> FrozenNorms:
    """EPAM-Net without what depends on the ranks' share of the batch: no dropout, fixed batch norms."""
    torch.manual_seed(2)
    return FrozenNorms(build_epam(6, dropout=0.0))


def epam_pcan() -> FrozenNorms:
    """The same with PCAN's head, biased so that the first class is always predicted, and moves its prototypes."""
    torch.manual_seed(2)
    model = build_epam(6, dropout=0.0, num_coarse_classes=len(CLASSES.groups))
    for head in (model.head.rgb, model.head.pose):
        head.fc.bias.data[0] = head.fc_coarse.bias.data[CLASSES.coarse_of[0]] = 3.0
    return FrozenNorms(model)


def refusal(action: Callable[[], object]) -> str:
    try:
        action()
    except ValueError as error:
        return str(error)
    return "none"


def fail() -> None:
    raise ValueError("the folder is taken")


def other_shards(out: Path, shards: Path, ranks: Ranks) -> Path:
    """The same shards on the first rank, others of the same length on the second."""
    return shards if ranks.is_main else write_shards(out / "other", val=8)


def main(shards: Path, out: Path) -> None:
    torch.set_num_threads(1)
    with distributed("cpu") as ranks:
        value = {"rank": ranks.rank, "list": list(range(ranks.rank))}
        buffers = torch.nn.BatchNorm1d(2)
        buffers.running_mean.fill_(ranks.rank + 1.0)
        average_buffers(buffers)
        own_shards = other_shards(out, shards, ranks)
        report = {
            "world": ranks.world,
            "is_main": gather(ranks.is_main),
            "gathered": gather(value),
            "sum": sum_over_ranks(torch.tensor([ranks.rank + 1.0])).tolist(),
            "mean": buffers.running_mean.tolist(),
            "disagreement": gather(refusal(lambda: check_ranks_agree({"seed": ranks.rank}))),
            "failure of the main rank": gather(refusal(lambda: on_main(fail, ranks))),
            "other shards": gather(refusal(lambda: tiny_trainer(own_shards, out / "x", ranks=ranks))),
        }
        tiny_trainer(shards, out / "epam", epam(), epochs=1, ranks=ranks, lr=0.02).fit()
        tiny_trainer(shards, out / "pcan", epam_pcan(), epochs=1, ranks=ranks, lr=0.02).fit()

        evaluated = []  # the statistics that each rank evaluates with, at the end of each epoch

        def spy(model, *arguments):
            evaluated.append(gather(model.parts["rgb"].norm.running_mean.tolist()))
            return evaluate(model, *arguments)

        train.evaluate = spy
        whole = tiny_trainer(shards, out / "whole", TinyRecogniser(), ranks=ranks, checkpoint_steps=2)
        whole.fit()
        train.evaluate = evaluate
        report["evaluated"] = evaluated
        states = gather({name: value.clone() for name, value in whole.model.state_dict().items()})
        report["differ"] = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
        seen = collect(whole.model, whole._val_stream, whole._finisher, ranks.device)
        report["keys"] = seen.keys

        cut = tiny_trainer(shards, out / "cut", TinyRecogniser(), ranks=ranks, checkpoint_steps=2)
        take_step = cut._take_step

        def taken(batch, *, stop):
            if cut.step == 5:
                raise Interruption
            return take_step(batch, stop=stop)

        cut._take_step = taken
        try:
            cut.fit()
        except Interruption:
            tiny_trainer(shards, out / "cut", TinyRecogniser(), ranks=ranks, checkpoint_steps=2).fit(resume=True)

        damaged = Path(shutil.copytree(shards, out / f"damaged-{ranks.rank}"))
        for name in ("train-000001", "val-000001"):
            (damaged / f"{name}.tar").unlink()
        tiny_trainer(
            damaged, out / "skip", TinyRecogniser(), ranks=ranks, epochs=1, stream=replace(STREAM, on_damage="skip")
        ).fit()
        if ranks.is_main:
            (out / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
