"""`epam-model convert`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from torch import nn

from epam_data.samples.settings import PrepareSettings
from epam_data.stream import StreamSettings
from epam_data.system.checked_fields import check_fields
from epam_data.system.printable import printable_lines
from epam_model.commands.by_dataset import build_for_dataset, identity_of_dataset
from epam_model.networks.settings import ModelSettings
from epam_model.networks.table import NETWORKS
from epam_model.weights.checkpoint import save_converted, save_state
from epam_model.weights.conversion import Conversion
from epam_model.weights.convert import convert, model_formats, to_mmaction2, to_published
from epam_model.weights.weight_file import read_state_dict


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Convert the names of a checkpoint, strictly, and report every tensor."""

    source: Path
    """Checkpoint to read, ours or foreign; the format is detected."""
    out: Path
    """File to write; a name that ends with `.safetensors` makes it a file of that format."""
    partial: bool = False
    """Also convert a file with only part of the network: a backbone without its head, or one stream of two."""
    to: Literal["ours", "published", "mmaction2", "safetensors"] = "ours"
    """Names to write. `ours`, and `safetensors` in that format: a checkpoint for test, predict, features, export and
    model.init_from. `mmaction2`: what MMAction2 loads (`load_from`). `published`: EPAM-Net's own for plain heads, else
    MMAction2's."""
    dataset: str = "ntu60"
    """Data set: its classes and joints set the size of the network."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    model: ModelSettings = field(default_factory=ModelSettings)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.to == "safetensors" and self.out.suffix != ".safetensors":
            raise ValueError(f"--out must end with .safetensors for --to safetensors, got {self.out}")


def convert_command(command: ConvertCommand) -> int:
    """Convert, print the account, write the file."""
    model = build_for_dataset(command.dataset, command.prepare, replace(command.model, init_from=[]))
    published, streams = NETWORKS[command.model.network].published, command.model.streams
    rename = {"published": to_published, "mmaction2": to_mmaction2}.get(command.to)
    if rename is not None and published is None:
        raise ValueError(f"network {command.model.network} has no published names: it can only be written as ours")
    state = read_state_dict(command.source)
    conversion = convert(state, model.state_dict(), model_formats(streams, model.state_dict(), published))
    print(printable_lines(conversion.table()))
    if conversion.problems:
        count = len(conversion.problems)
        raise ValueError(f"{command.source}: {count} names do not fit, see the table above; {conversion.fault}")
    _check_complete(command, conversion, model)
    weights = conversion.weights
    if rename is None or published is None:
        _save_ours(command, conversion)
    else:
        save_state(command.out, rename(weights, published, streams), {})
    print(f"{len(weights)} tensors in {command.out}")
    return 0


def _check_complete(command: ConvertCommand, conversion: Conversion, model: nn.Module) -> None:
    if absent := conversion.absent(model.state_dict()):
        parts = sorted({".".join(name.split(".")[:2]) for name in absent})
        what = f"{len(absent)} tensors of the network are not in the file, of {', '.join(parts)}"
        if not command.partial:
            raise ValueError(f"{command.source}: {what}; --partial converts what is there")
        print(printable_lines(what))
    for line in conversion.warnings():
        print(printable_lines(line))


def _save_ours(command: ConvertCommand, conversion: Conversion) -> None:
    """Write a checkpoint; what the weights mean is that of the recipe."""
    recipe = {"stream": asdict(command.stream), "model": asdict(command.model)}
    shards = identity_of_dataset(command.dataset, command.prepare)
    save_converted(command.out, conversion.weights, shards=shards, recipe=recipe, source=conversion.format)
