"""Gloo ranks that are forks of one process, so that torch is imported once for all of them.

`python -m tests.model.gloo_ranks SHARDS OUT KIND ...` runs what test_sync_batch_norm and the soak tests look at, in a
process of its own without threads.
"""

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # optimisers import it late: once here, not in each fork
from torch import nn

from epam_model.build import build_model
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.distributed import Ranks, distributed, gather
from epam_model.ranks.sync_batch_norm import RanksBatchNorm, synchronise_batch_norms
from tests.model.tiny import CLASSES, TinyRecogniser, tiny_trainer


def start_ranks(world: int, function: Callable[..., Any], *arguments: Any) -> list[int]:
    """Fork `world` ranks that call function(ranks, *arguments); returns their process ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child:
            children.append(child)
            continue
        code = 1
        try:
            names = {"WORLD_SIZE": world, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
            torch.set_num_threads(1)
            with distributed("cpu", timeout_seconds=60) as ranks:
                function(ranks, *arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return children


def run_ranks(world: int, function: Callable[..., Any], *arguments: Any) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in start_ranks(world, function, *arguments)]
    assert codes == [0] * world, codes


class Interruption(Exception):
    pass


def network(kind: str) -> nn.Module:
    """Dropout and live batch norms included."""
    if kind == "tiny":
        return TinyRecogniser()
    head = "pcan" if kind == "pcan" else "linear"
    return build_model(
        ModelSettings(head=head), num_classes=6, num_joints=17, num_coarse_classes=len(CLASSES.groups), seed=3
    )


def train(ranks: Ranks, shards: Path, out: Path, kind: str, stop_at: int, **changes: Any) -> None:
    """A run; with `stop_at` it is interrupted there once."""
    settings = {"epochs": 2, "lr": 0.02, "warmup_epochs": 0, "checkpoint_steps": 1, **changes}
    trainer = tiny_trainer(shards, out, network(kind), ranks=ranks, **settings)
    take_step = trainer._take_step

    def taken(batch, *, stop):
        if trainer.step == stop_at:
            raise Interruption
        return take_step(batch, stop=stop)

    trainer._take_step = taken
    try:
        trainer.fit(resume=bool(list(out.glob("step_*.pt"))))
    except Interruption:
        return


def norms(ranks: Ranks, out: Path) -> None:
    """A batch norm over the ranks' rows of one batch: output, gradients and statistics of the whole."""
    torch.manual_seed(1)
    for shape in ((8, 3), (4, 3, 2, 5, 4)):
        x, weights = torch.randn(shape) * 3 + 10, torch.randn(shape)
        own = x[ranks.rank :: ranks.world].clone().requires_grad_()
        norm = nn.BatchNorm3d(3, momentum=0.3) if x.ndim == 5 else nn.BatchNorm1d(3, momentum=None)
        nn.init.normal_(norm.weight)
        model = synchronise_batch_norms(nn.Sequential(norm), ranks)
        assert isinstance(model[0], RanksBatchNorm) == (ranks.world > 1)
        y = model(own)
        (y * weights[ranks.rank :: ranks.world]).sum().backward()
        found = {"y": y.detach(), "x": own.grad, **{name: value.grad for name, value in model[0].named_parameters()}}
        found |= dict(model[0].named_buffers())
        parts = gather({name: value.tolist() for name, value in found.items()})
        if ranks.is_main:
            (out / f"norm_{x.ndim}_{ranks.world}.json").write_text(json.dumps(parts))


def main(shards: Path, out: Path, kinds: list[str]) -> None:
    for world in (1, 2, 4):
        run_ranks(world, norms, out)
        for kind in kinds:
            run_ranks(world, train, shards, out / f"{kind}_{world}", kind, -1)
    run_ranks(2, train, shards, out / "moved", kinds[0], 4)  # two ranks, of which one goes on
    run_ranks(1, train, shards, out / "moved", kinds[0], -1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
