"""`epam-model train`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from epam_data.shards.manifest import load_manifest
from epam_data.stream import StreamSettings
from epam_model.build import build_for
from epam_model.commands.evaluate import (
    report_run,
)
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.distributed import distributed, gather
from epam_model.train.preemption import REQUEUE_EXIT_CODE, StopRequest, ignore_signals
from epam_model.train.run_folder import RunFolder
from epam_model.train.settings import TrainSettings
from epam_model.train.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train on the split `train`, evaluate on `val` after each epoch, keep the best and the last checkpoint."""

    shards: str
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    out: Path | None = None
    """Folder of the run; work_dirs/<name of the recipe> if not given."""
    resume: bool = False
    """Go on from the last checkpoint in that folder."""
    auto_resume: bool = False
    """Go on if that folder holds a checkpoint, else start: for jobs that a cluster starts again."""
    report: bool = True
    """At the end, test the best checkpoint once more and write report.html into that folder."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


def train_command(command: TrainCommand, argv: Sequence[str]) -> int:
    """Train; Ctrl-C, a signal of the cluster and a loss that is not finite end it with one line."""
    out = command.out or Path("work_dirs") / recipe_name(argv)
    manifest = load_manifest(command.shards)
    try:
        with distributed(command.train.device, timeout_seconds=command.train.timeout_seconds) as ranks:
            resume = command.resume or (command.auto_resume and gather(has_checkpoint(out))[0])
            settings = replace(command.model, init_from=[]) if resume else command.model
            tell = print if ranks.is_main else lambda line: None
            trainer = Trainer(
                build_for(settings, manifest, seed=command.train.seed, tell=tell),
                shards=command.shards,
                out=out,
                stream=command.stream,
                settings=command.train,
                model_recipe=asdict(command.model),
                ranks=ranks,
            )
            trainer.fit(resume=resume)
            if trainer.stopped_by is not None:
                ignore_signals()
            elif command.report:
                with StopRequest():  # the training is whole: a signal now changes nothing
                    report_run(out, command.shards, ranks, stream=command.stream)
    except FloatingPointError as error:
        print(f"epam-model train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nepam-model train: interrupted; {how_to_go_on(argv, out)}", file=sys.stderr)
        return 130
    if trainer.stopped_by is not None:
        if ranks.is_main:
            print(f"epam-model train: stopped by {trainer.stopped_by}; {how_to_go_on(argv, out)}", file=sys.stderr)
        return REQUEUE_EXIT_CODE
    return 0


def how_to_go_on(argv: Sequence[str], out: Path) -> str:
    """What to type after an interruption: the same command, with `--resume` if there is a checkpoint."""
    again = ["epam-model", *(word for word in argv if word not in ("--resume", "--auto_resume"))]
    if not has_checkpoint(out):
        return f"there is no checkpoint yet, start anew with: {shlex.join(again)}"
    return f"go on from the last checkpoint with: {shlex.join([*again, '--resume'])}"


def has_checkpoint(out: Path) -> bool:
    """Whether a run's folder holds a checkpoint to go on from."""
    return bool(RunFolder(out).steps())


def recipe_name(argv: Sequence[str]) -> str:
    """The name of the recipe in `train RECIPE.yaml ...`; `default` without one."""
    return Path(argv[1]).stem if len(argv) > 1 and argv[1].endswith((".yaml", ".yml")) else "default"
