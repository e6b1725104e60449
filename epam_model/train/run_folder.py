"""The checkpoints in a run folder: which are kept, which links point to them, and which one a run resumes from.

step_00001252.pt ...                the last `keep_last`, by optimiser steps
best_top1_fused_epoch_12.pt         the best so far
latest, last.pt -> step_...pt       the newest
best.pt -> best_..._epoch_12.pt
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from epam_data.system.files import PARTIAL, atomic_write_bytes, path_in_errors, sync_folder, temporary_path
from epam_data.system.folder_lock import FolderLock
from epam_data.system.progress import volume
from epam_model.weights.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from epam_model.weights.weight_file import DamagedCheckpointError

LAST, LATEST, BEST = "last.pt", "latest", "best.pt"


class RunFolder:
    """Checkpoints in a run folder. From the first one on, it always has a complete one, even after a kill.

    Args:
        root: the run folder.
        keep_last: how many checkpoints to keep besides the best.
    """

    def __init__(self, root: Path, *, keep_last: int = 1) -> None:
        self.root, self._keep_last = root, keep_last

    def steps(self) -> list[Path]:
        """The checkpoints that a run can resume from, the newest first."""
        by_step = self._by_step()
        return [by_step[step] for step in sorted(by_step, reverse=True)]

    @contextlib.contextmanager
    def held(self, *, checkpoint_bytes: int) -> Iterator[None]:
        """Hold the folder, so that no second run works in it, and try first what a run needs of it.

        Args:
            checkpoint_bytes: about the size of a checkpoint.

        Raises:
            ValueError: another run is at work here, or there is not enough space.
            OSError: files or links cannot be made here.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with FolderLock(self.root, ".lock", what="run"):
            self._try_out(checkpoint_bytes)
            yield

    def _try_out(self, checkpoint_bytes: int) -> None:
        target, link = self.root / ".probe", self.root / ".probe-link"
        try:
            atomic_write_bytes(target, b"")
            with path_in_errors(link):
                _point(link, target)
        finally:
            for path in (target, link):
                path.unlink(missing_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < 2 * checkpoint_bytes:  # the old one stays until the new one is complete
            raise ValueError(
                f"{self.root}: a run needs about {volume(2 * checkpoint_bytes)} for two checkpoints, and "
                f"{volume(free)} are free; make room or choose another --out"
            )

    def check_empty(self) -> None:
        """Refuse to start a new run over an old one.

        Raises:
            ValueError: there are checkpoints.
        """
        if self.steps():
            raise ValueError(f"{self.root}: already contains a run; continue with --resume, or choose another --out")

    def has_best(self, epoch: int) -> bool:
        """Whether the best checkpoint, of some epoch, is still there."""
        return any(self.root.glob(f"best_*_epoch_{epoch}.pt"))

    def save_last(self, checkpoint: Checkpoint, step: int) -> None:
        """Write the newest checkpoint, then remove the oldest ones."""
        path = self.root / f"step_{step:08d}.pt"
        save_checkpoint(path, checkpoint)
        for name in (LAST, LATEST):
            _point(self.root / name, path)
        # A run that skipped damaged checkpoints and resumed from an older one replaces them: remove those ahead.
        ahead = [other for other_step, other in self._by_step().items() if other_step > step]
        for other in ahead:
            other.unlink()
        for old in (*self.steps()[self._keep_last :], *self.root.glob(f".*{PARTIAL}")):  # also partial files of a kill
            old.unlink()

    def save_best(self, checkpoint: Checkpoint, metric: str) -> None:
        """Write the best checkpoint as `best_file`, then remove the previous one."""
        path = self.root / best_file(metric, checkpoint.epoch)
        save_checkpoint(path, checkpoint)
        _point(self.root / BEST, path)
        for other in self.root.glob("best_*_epoch_*.pt"):
            if other != path:
                other.unlink()

    def load_last(self, tell: Callable[[str], None]) -> tuple[Path, Checkpoint]:
        """The newest checkpoint that is not damaged, and its path.

        Args:
            tell: called with one line for each newer checkpoint that is damaged.

        Raises:
            ValueError: there is no checkpoint, or all are damaged.
        """
        paths = self.steps()
        if not paths:
            raise ValueError(f"{self.root / LAST}: no such checkpoint")
        for path in paths:
            try:
                return path, load_checkpoint(path)
            except DamagedCheckpointError as error:
                tell(f"{error}; trying the previous checkpoint")
        raise ValueError(f"{self.root}: all of its {len(paths)} checkpoints are damaged")

    def _by_step(self) -> dict[int, Path]:
        paths = {path: re.fullmatch(r"step_(\d+)\.pt", path.name) for path in self.root.glob("step_*.pt")}
        return {int(match[1]): path for path, match in paths.items() if match}


def best_file(metric: str, epoch: int) -> str:
    """File name of the best checkpoint: the metric that selects it, and its epoch, from 1."""
    return f"best_{metric}_epoch_{epoch}.pt"


def _point(link: Path, target: Path) -> None:
    """Point `link` to a file in its folder, atomically: it is always the old or the new link."""
    temporary = temporary_path(link)
    try:
        temporary.symlink_to(target.name)
        temporary.replace(link)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(link.parent)
