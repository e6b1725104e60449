"""What must be the same for a run to go on, and what of its recipe has changed since."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from epam_data.shards.manifest import Manifest
from epam_data.stream import StreamSettings
from epam_model.train.settings import TrainSettings
from epam_model.weights.checkpoint import Checkpoint, check_same

# Recipe keys that decide which samples are still to come: a run goes on with the same ones only.
_ORDER = (
    *(("stream", name) for name in ("batch_size", "window_shards", "balance", "class_weights")),
    *(("train", name) for name in ("seed", "shuffle_labels")),
)


def check_can_go_on(checkpoint: Checkpoint, what: str, manifest: Manifest, recipe: dict[str, Any]) -> None:
    """Refuse to go on with other shards, another model or other samples.

    Args:
        checkpoint: as loaded.
        what: its file, for the message.
        manifest: of the shards at hand.
        recipe: settings by section: stream, model, train.

    Raises:
        ValueError: something differs that must not.
    """
    check_same(checkpoint, what, manifest, recipe["model"])
    if checkpoint.shards["index_sha256"] != manifest.index_sha256:
        raise ValueError(f"{what}: cannot go on: the shards were built anew since")
    before = _completed(checkpoint)
    for section, name in _ORDER:
        if before[section][name] != recipe[section][name]:
            raise ValueError(
                f"{what}: cannot go on: {section}.{name} was {before[section][name]}, is now {recipe[section][name]}"
            )
    if (checkpoint.averaged is None) != (recipe["train"]["ema_decay"] == 0):
        was = before["train"]["ema_decay"]
        raise ValueError(
            f"{what}: cannot go on: train.ema_decay was {was:g}, is now {recipe['train']['ema_decay']:g}; a mean of "
            "the weights cannot begin or end in the middle"
        )


def changed_settings(checkpoint: Checkpoint, recipe: dict[str, Any]) -> list[str]:
    """One line for each key of the recipe that was another when the checkpoint was written."""
    before = _completed(checkpoint)
    return [
        f"{section}.{name} was {before[section].get(name)}, is now {value}"
        for section, values in recipe.items()
        for name, value in values.items()
        if before[section].get(name) != value
    ]


def _completed(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """The checkpoint's recipe; it was trained as the default says where it is older than a key."""
    defaults: dict[str, dict[str, Any]] = {"stream": asdict(StreamSettings()), "train": asdict(TrainSettings())}
    return {section: {**defaults.get(section, {}), **values} for section, values in checkpoint.recipe.items()}
