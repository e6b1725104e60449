"""`epam-model report`, and the page that `train` writes at its end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from epam_data.schema import Split
from epam_data.stream import StreamSettings
from epam_data.system.printable import printable
from epam_model.commands.test import TestCommand, predictions_of, write_page
from epam_model.networks.settings import ModelSettings
from epam_model.ranks.device import Device
from epam_model.ranks.distributed import Ranks, distributed, gather
from epam_model.weights.checkpoint import load_checkpoint, recipe_section


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write report.html of a run: test its best checkpoint again, with the settings of its training."""

    run: Path
    """Folder of the run, such as work_dirs/ntu60_xsub."""
    shards: str
    """Folder of the shards, or their URL (s3://bucket/ntu60)."""
    split: Split = "val"
    """Split to use."""
    device: Device = "auto"
    """Device; `auto`: a GPU if there is one."""


def report_command(command: ReportCommand) -> int:
    """Test the best checkpoint of a run, write the page."""
    with distributed(command.device) as ranks:
        report_run(command.run, command.shards, ranks, split=command.split)
    return 0


def report_run(
    run: Path, shards: Path | str, ranks: Ranks, *, split: Split = "val", stream: StreamSettings | None = None
) -> None:
    """Write `report.html` into the folder of a run; all ranks must call it.

    Args:
        run: the folder.
        shards: folder of the shards, or their URL.
        ranks: this process among all.
        split: its clips are predicted again by the best checkpoint.
        stream: how clips are read; None: as the checkpoint says, but without the cache of the machine that it is from.

    Raises:
        ValueError: the run has no best checkpoint, or it does not fit the shards.
    """
    path = gather(best_checkpoint(run) if ranks.is_main else None)[0]  # others may still see an older one
    assert path is not None
    checkpoint = load_checkpoint(path)
    try:
        stream = stream or replace(StreamSettings(**recipe_section(checkpoint, "stream")), cache_dir="")
        model = ModelSettings(**recipe_section(checkpoint, "model"))
    except (TypeError, ValueError) as error:  # settings that this version does not have, or a stranger's
        raise ValueError(f"{path}: its recipe cannot be used ({printable(error)})") from error
    command = TestCommand(shards=str(shards), checkpoint=path, split=split, stream=stream, model=model)
    predictions, tested = predictions_of(command, ranks)
    if ranks.is_main:
        write_page(command, checkpoint, predictions, tested.manifest, run)


def best_checkpoint(run: Path) -> Path:
    """The best checkpoint in the folder of a run; of several, the one that was saved last.

    Raises:
        ValueError: there is none.
    """
    found = sorted(run.glob("best*.pt"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise ValueError(f"{run}: no best checkpoint (best*.pt) in this folder")
    return found[-1].resolve()  # best.pt may be a link to the file whose name says more
