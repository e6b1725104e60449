"""`epam-model doctor`: what is installed, what is wrong with it, and what to do. MMAction2 is asked only if wanted."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from epam_model.tools.diagnosis import TROUBLES, tick

PACKAGES = ("epam", "torch", "numpy")
MMACTION_PACKAGES = ("mmaction2", "mmengine", "mmcv", "mmcv-lite", "opencv-python", "opencv-contrib-python")


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Show what is installed and what is wrong; with --mmaction also inside MMAction2."""

    mmaction: bool = False
    """Also check MMAction2: what is registered, one forward pass, and the checklist of a configuration."""
    config: Path | None = None
    """With --mmaction: the configuration to train."""

    def __post_init__(self) -> None:
        if self.config is not None and not self.mmaction:
            raise ValueError("config is a file of MMAction2: it needs --mmaction")


def doctor_command(command: DoctorCommand) -> int:
    """Print all; 1 if something is wrong."""
    print(f"{'python':<22} {platform.python_version()}")
    for name in PACKAGES + (MMACTION_PACKAGES if command.mmaction else ()):
        print(f"{name:<22} {_version(name)}")
    if not command.mmaction:
        return 0
    print()
    ticks = [tick("imports", _import_plugin)]
    if ticks[0].ok:
        from epam_model.mmaction.checklist import checklist  # here: it imports MMAction2

        ticks += checklist(command.config)
    print("\n".join(map(str, ticks)))
    print("\nknown troubles")
    for trouble in TROUBLES:
        print(f"  {trouble.message}\n      {trouble.cause}: {trouble.remedy}")
    return 0 if all(each.ok for each in ticks) else 1


def _import_plugin() -> str:
    import epam_model.mmaction  # here: this is what may fail

    return f"{epam_model.mmaction.__name__}: {', '.join(epam_model.mmaction.__all__)}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
