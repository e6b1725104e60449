"""What must be unchanged for a run to resume, and which recipe keys have changed since."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from epam_data.shards.manifest import Manifest
from epam_data.stream import StreamSettings
from epam_data.system.printable import brief
from epam_model.train.settings import TrainSettings
from epam_model.weights.checkpoint import Checkpoint, check_same, recipe_section

# Recipe keys that decide which samples follow: a run resumes only if they are unchanged.
_ORDER = (
    *(("stream", name) for name in ("batch_size", "window_shards", "balance", "class_weights")),
    *(("train", name) for name in ("seed", "shuffle_labels")),
)


def check_can_resume(
    checkpoint: Checkpoint, what: str, manifest: Manifest, recipe: dict[str, Any], *, view_sha256: str
) -> None:
    """Refuse to resume with other shards, another model or another order of samples.

    Args:
        checkpoint: as loaded.
        what: its file, for the message.
        manifest: of the current shards.
        recipe: settings by section: stream, model, train.
        view_sha256: of the current view, see `Stream.view_sha256`.

    Raises:
        ValueError: shards or a recipe key differ that must not.
    """
    if checkpoint.converted_from:
        raise ValueError(f"{what}: cannot resume, it has converted weights and no run; start from model.init_from")
    check_same(checkpoint, what, manifest, recipe["model"])
    if checkpoint.shards.get("index_sha256") != manifest.index_sha256:
        raise ValueError(f"{what}: cannot resume, the shards were rebuilt since")
    if checkpoint.shards.get("view_sha256", "") != view_sha256:
        raise ValueError(f"{what}: cannot resume, the view has other clips or splits since")
    before = _completed(checkpoint)
    for section, name in _ORDER:
        if before[section][name] != recipe[section][name]:
            was = brief(before[section][name]).strip("'")
            raise ValueError(f"{what}: cannot resume, {section}.{name} was {was}, now {recipe[section][name]}")
    if (checkpoint.averaged is None) != (recipe["train"]["ema_decay"] == 0):
        was = before["train"]["ema_decay"]
        raise ValueError(
            f"{what}: cannot resume, train.ema_decay was {was:g}, now {recipe['train']['ema_decay']:g}; it cannot be "
            "switched on or off during a run"
        )


def changed_settings(checkpoint: Checkpoint, recipe: dict[str, Any]) -> list[str]:
    """One line for each recipe key whose value has changed since the checkpoint was written."""
    before = _completed(checkpoint)
    return [
        f"{section}.{name} was {before[section].get(name)}, is now {value}"
        for section, values in recipe.items()
        for name, value in values.items()
        if before[section].get(name) != value
    ]


def _completed(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """The checkpoint's recipe, with the defaults of keys that are newer than the checkpoint."""
    defaults: dict[str, dict[str, Any]] = {"stream": asdict(StreamSettings()), "train": asdict(TrainSettings())}
    sections = dict.fromkeys((*checkpoint.recipe, "stream", "model", "train"))
    return {name: {**defaults.get(name, {}), **recipe_section(checkpoint, name)} for name in sections}
