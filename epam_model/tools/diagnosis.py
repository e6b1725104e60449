"""Lines of a checklist, and fixes for known errors."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """An error message that users of MMAction2 may get, its cause, and what to do."""

    message: str
    pattern: str  # regular expression that finds it
    cause: str
    remedy: str


TROUBLES = (
    Trouble(
        message="EPAMBackbone is not in the registry",
        pattern=r"is not in the .*registry",
        cause="the plug-in was not imported",
        remedy='put custom_imports = dict(imports=["epam_model.mmaction"]) into the config',
    ),
    Trouble(
        message="No module named 'epam_backbone'",
        pattern=r"No module named '(epam_backbone|epam_model[\w.]*|mmaction|mmengine|mmcv)'",
        cause="custom_imports names a copied file, or this environment lacks the package",
        remedy="name epam_model.mmaction there; pip install 'epam[mmaction]' mmcv-lite in this environment",
    ),
    Trouble(
        message="forward() got an unexpected keyword argument 'gt'",
        pattern=r"unexpected keyword argument '(gt|gt_coarse)'",
        cause="the recogniser passes labels to a backbone that takes none",
        remedy='use type="EPAMRecognizer", which passes labels only to backbones that take them',
    ),
    Trouble(
        message="expected 16 frames, got 8",
        pattern=r"frames, got \d+|frames must be a multiple|pose frames per rgb frame",
        cause="clip_len is that of the other network",
        remedy="set clip_len=dict(RGB=16, Pose=48) for EPAMBackbone, dict(RGB=8, Pose=32) for RGBPoseConv3D",
    ),
    Trouble(
        message="size mismatch 2048 vs 432",
        pattern=r"size mismatch|must be \(B, \d+, T, H, W\)|in_channels",
        cause="the head or the checkpoint belongs to the other network",
        remedy="set in_channels=[432, 216] for EPAMBackbone, [2048, 512] for RGBPoseConv3D",
    ),
    Trouble(
        message="out of memory",
        pattern=r"out of memory|not enough memory|needs .* GB",
        cause="batch_size, which is per GPU, is too large",
        remedy="halve batch_size and set optim_wrapper.accumulative_counts=2; or train with AmpOptimWrapper",
    ),
    Trouble(
        message="No module named 'mmaction.models.localizers.drn'",
        pattern=r"localizers\.drn",
        cause="the wheel of MMAction2 1.2 lacks a folder, and mmaction.models was imported before the plug-in",
        remedy="import epam_model.mmaction first",
    ),
    Trouble(
        message="RGBPoseHead is already registered in model",
        pattern=r"already registered",
        cause="another head has the name of MMAction2's",
        remedy='use type="PCANRGBPoseHead"; or add epam_model.mmaction.replace to custom_imports to replace theirs',
    ),
    Trouble(
        message="decord and decord2 are installed, both in the folder decord",
        pattern=r"both in the folder decord",
        cause="MMAction2 requires decord, this package decord2: the one that was installed last is imported",
        remedy="pip uninstall decord; pip install --force-reinstall --no-deps decord2",
    ),
    Trouble(
        message="Weights only load failed",
        pattern=r"[Ww]eights.only",
        cause="torch >= 2.6 refuses a checkpoint of MMEngine, since its pickle may run code",
        remedy="for --resume of your own checkpoints: export TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One line of a checklist."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""  # what to do if not ok

    def __str__(self) -> str:
        line = f"[{'x' if self.ok else ' '}] {self.name:<12} {self.detail}"
        return f"{line}\n{'':<16} -> {self.remedy}" if self.remedy and not self.ok else line


def tick(name: str, check: Callable[[], str]) -> Tick:
    """A line of the checklist: the text that `check` returns, or the error that it raises and what to do about it."""
    try:
        return Tick(name=name, ok=True, detail=check())
    except Exception as error:
        text = traceback.format_exception_only(error)[-1].strip()
        return Tick(name=name, ok=False, detail=text, remedy=remedy_for(text))


def remedy_for(text: str) -> str:
    """What to do about an error message; empty if it is not known."""
    return next((trouble.remedy for trouble in TROUBLES if re.search(trouble.pattern, text)), "")
