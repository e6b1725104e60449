"""`epam-model train`. What needs torch is imported in the functions: `--help` and a wrong option answer at once."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from epam_data.stream.settings import StreamSettings
from epam_model.networks.settings import ModelSettings
from epam_model.train.settings import TrainSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train on the split `train`, evaluate on `val` after each epoch, keep the best and last checkpoints."""

    shards: str
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    out: Path | None = None
    """Folder of the run; null: work_dirs/<name of the recipe>."""
    resume: bool = False
    """Continue from the last checkpoint in the folder of the run."""
    auto_resume: bool = False
    """Continue if the folder contains a checkpoint, otherwise start: for jobs that a cluster restarts."""
    report: bool = True
    """At the end, test the best checkpoint again and write report.html into the folder of the run."""
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


def train_command(command: TrainCommand, argv: Sequence[str]) -> int:
    """Train; after Ctrl-C or a signal of the cluster, say how to continue.

    Raises:
        KeyboardInterrupt: with the command that continues the run.
    """
    out = command.out or Path("work_dirs") / recipe_name(argv)
    try:
        return _train(command, out, argv)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how_to_continue(argv, out)) from None


def _train(command: TrainCommand, out: Path, argv: Sequence[str]) -> int:
    from epam_data.views.labels import view_manifest
    from epam_data.views.view import load_view
    from epam_model.build import build_for
    from epam_model.ranks.distributed import distributed, gather
    from epam_model.train.preemption import REQUEUE_EXIT_CODE, StopRequest, ignore_signals
    from epam_model.train.trainer import Trainer

    manifest = view_manifest(command.shards, load_view(command.stream.view))
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
            if ranks.is_main:
                _log.warning("epam-model train: stopped by %s; %s", trainer.stopped_by, how_to_continue(argv, out))
            return REQUEUE_EXIT_CODE
        if command.report:
            from epam_model.commands.report import report_run

            with StopRequest():  # the training is complete: a signal now changes nothing
                report_run(out, command.shards, ranks, stream=command.stream)
    return 0


def how_to_continue(argv: Sequence[str], out: Path) -> str:
    """What to type after an interruption: the same command, with `--resume` if there is a checkpoint."""
    again = ["epam-model", *(word for word in argv if word not in ("--resume", "--auto_resume", "--auto-resume"))]
    if not has_checkpoint(out):
        return f"there is no checkpoint yet, start again with: {shlex.join(again)}"
    return f"continue from the last checkpoint with: {shlex.join([*again, '--resume'])}"


def has_checkpoint(out: Path) -> bool:
    """Whether the folder of a run contains a checkpoint."""
    from epam_model.train.run_folder import RunFolder

    return bool(RunFolder(out).steps())


def recipe_name(argv: Sequence[str]) -> str:
    """The name of the recipe in `train RECIPE.yaml ...`; `default` without one."""
    return Path(argv[1]).stem if len(argv) > 1 and argv[1].endswith((".yaml", ".yml")) else "default"
