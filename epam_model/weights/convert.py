"""Weights of others become ours, and back: by explicit tables of names, strictly, with an account of every tensor.

What is read: checkpoints of ours; published EPAM-Net (`rgb_backbone.`, `attention_module.`, `rgb_cls_head.`);
RGBPoseConv3D and PCAN of MMAction2 (`backbone.`, `cls_head.`), whole or one path alone; for RGB streams torchvision's
ResNet-50, MMAction2's 3-D ResNet-50 and X3D. Wrappers (`state_dict`, `model_state_dict`, `weights`) and the prefix
`module.` of DDP are seen through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from epam_model.weights.checkpoint import read_state_dict
from epam_model.weights.published_names import (
    ALONE,
    BACKBONES,
    EPAM,
    MMACTION2,
    RESNET50_2D,
    STREAMS,
    Names,
    inverse,
    prefixed,
)
from epam_model.weights.reshape import fold_x3d_stem, reshaped

Value = TypeVar("Value")

_UNSAVED = ("coarse_bank.prototypes",)
"""Our names that published checkpoints lack, by their end: PCAN forgot to save them."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way to write the weights of a model, or of a part of it."""

    name: str
    names: Names  # theirs -> those of the target
    left_out: tuple[str, ...] = ()  # prefixes of their names that have no place in the target, as is known


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Weights under the target's names, and what became of every name."""

    format: str
    weights: dict[str, Tensor]
    matched: list[str] = field(default_factory=list)  # the target's names, taken as they are
    reshaped: list[str] = field(default_factory=list)  # with both shapes and what was done
    missing: list[str] = field(default_factory=list)  # the target's names that the file should have
    unexpected: list[str] = field(default_factory=list)  # the file's names that the format lacks
    misfits: dict[str, str] = field(default_factory=dict)  # the target's names: both shapes, which no rule joins
    left_out: list[str] = field(default_factory=list)  # the file's names that the target has no place for

    @property
    def problems(self) -> list[str]:
        """What strict loading refuses: one text for each name at fault."""
        return [
            *(f"missing {name}" for name in self.missing),
            *(f"unexpected {name}" for name in self.unexpected),
            *(f"{name} {shapes}" for name, shapes in self.misfits.items()),
        ]

    def absent(self, target: Mapping[str, Tensor]) -> list[str]:
        """Names of the target that no tensor of the file fills: of parts that it does not hold."""
        not_saved = (*_UNSAVED, "num_batches_tracked")
        return [name for name in target if name not in self.weights and not name.endswith(not_saved)]

    def summary(self) -> str:
        """One line: the format and the counts."""
        counts = f"{len(self.matched)} matched, {len(self.reshaped)} reshaped, {len(self.left_out)} left out"
        return f"{self.format}: {counts}"

    def table(self) -> str:
        """The account, for people: a count for each kind, and the names where they matter."""
        lines = [f"{'format':<11} {self.format}", f"{'matched':<11} {len(self.matched)}"]
        misfits = [f"{name} {shapes}" for name, shapes in self.misfits.items()]
        for kind in ("reshaped", "missing", "unexpected", "misfits", "left_out"):
            entries = misfits if kind == "misfits" else getattr(self, kind)
            lines.append(f"{kind:<11} {len(entries)}")
            lines += [f"{'':<11} {entry}" for entry in entries]
        return "\n".join(lines)


def stream_formats(network: str, stream: str, target_prefix: str = "") -> list[Format]:
    """How one stream may be written.

    Args:
        network: `epam` or `rgbpose_conv3d`.
        stream: `rgb` or `pose`.
        target_prefix: prefix of the stream's names in the target.
    """
    names = STREAMS[network][stream]
    ours = {mine: target_prefix + mine for mine in names.values()}
    head = ("cls_head.", "fc.", f"{stream}_cls_head.")
    formats = [
        Format(name=f"our {stream} stream", names=ours),
        Format(name=f"our {stream} recogniser", names=prefixed(ours, "backbone.", ""), left_out=("head.",)),
        *(
            Format(name=f"published {stream} stream", names=prefixed(names, prefix, target_prefix), left_out=head)
            for prefix in ("", f"{stream}_backbone.")
        ),
        Format(name=f"MMAction2 {stream} recogniser", names=prefixed(names, "backbone.", target_prefix), left_out=head),
    ]
    if (network, stream) == ("rgbpose_conv3d", "rgb"):
        formats.append(Format(name="ResNet-50, 2-D", names=prefixed(RESNET50_2D, "", target_prefix), left_out=head))
    return formats


def model_formats(network: str, streams: str) -> list[Format]:
    """How a whole recogniser of ours may be written, best first; see `ModelSettings` for the arguments."""
    if streams != "both":
        alone = Format(name=f"MMAction2 {streams} recogniser", names=ALONE[network, streams])
        return [alone, *stream_formats(network, streams, "backbone.")]
    formats = [
        Format(name=f"MMAction2 {network}", names=MMACTION2[network]),
        Format(name=f"{network} backbone", names=prefixed(BACKBONES[network], "", "backbone.")),
    ]
    if network == "epam":
        formats.insert(0, Format(name="published EPAM-Net", names=EPAM))
    for stream in ("rgb", "pose"):
        formats += stream_formats(network, stream, f"backbone.{stream}_backbone.")
    return formats


def convert(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], formats: Iterable[Format], *, new_head: bool = False
) -> Conversion:
    """Bring weights under the names and shapes of a target, by the format that leaves the fewest problems.

    Args:
        state: their names -> tensors.
        target: the state dict to be filled; a format may cover a part of it.
        formats: those that are possible, besides the target's own names.
        new_head: a head that does not fit (other classes, another kind) is left out; else it is a problem.
    """
    own = Format(name="ours", names={name: name for name in target}, left_out=("head.",) if new_head else ())
    state = fold_x3d_stem({name.removeprefix("module."): value for name, value in state.items()})
    tried = [_apply(state, target, each, new_head) for each in (own, *formats)]
    return min(tried, key=lambda conversion: (len(conversion.problems), -len(conversion.matched)))


def load_foreign(target: nn.Module, path: Path, formats: Sequence[Format]) -> Conversion:
    """Fill a model, or the stream of it that a file holds, strictly: all of it or nothing; a head may be absent.

    A head that does not fit (other classes, another kind) starts anew, and is listed as left out.

    Raises:
        ValueError: the file cannot be read, or its weights do not fit; the names at fault are listed.
    """
    conversion = convert(read_state_dict(path), target.state_dict(), formats, new_head=True)
    if conversion.problems:
        raise ValueError(
            f"{path}: the weights do not fit the model, read as {conversion.format}: {'; '.join(conversion.problems)}"
        )
    target.load_state_dict(conversion.weights, strict=False)  # `problems` is empty: the rest is not in the file
    return conversion


def load_pretrained(stream: nn.Module, path: Path, network: str, name: str) -> Conversion:
    """Fill one stream of a network (`stream_formats` says from what).

    Raises:
        ValueError: the file cannot be read, or keys or shapes do not fit; they are listed.
    """
    return load_foreign(stream, path, stream_formats(network, name))


def to_published(state: Mapping[str, Value], network: str, streams: str) -> dict[str, Value]:
    """Our recogniser's weights under published names: EPAM-Net's own for plain heads, else MMAction2's.

    Raises:
        ValueError: a name is not one of the recogniser's; all such names are listed.
    """
    if streams != "both":
        return rename(state, inverse(ALONE[network, streams]), f"our {network} {streams} stream")
    if network == "epam" and "head.rgb.fc_coarse.weight" not in state:
        return epam_to_published(state)
    return rename(state, inverse(MMACTION2[network]), f"our {network}")


def epam_from_published(state_dict: Mapping[str, Value]) -> dict[str, Value]:
    """Renames a published EPAM-Net state dict to the names of `build_epam`'s recogniser.

    Args:
        state_dict: published names (`rgb_backbone.`, `pose_backbone.`, `attention_module.`, `rgb_cls_head.`,
            `pose_cls_head.`) to tensors. Parts may be absent: a strict load then reports them.

    Returns:
        Our names (`backbone.`, `head.`) to the same tensors, in the same order.

    Raises:
        ValueError: if a name is not one of the published network's; the message lists all such names.
    """
    return rename(state_dict, EPAM, "the published EPAM-Net")


def epam_to_published(state_dict: Mapping[str, Value]) -> dict[str, Value]:
    """Renames a state dict of `build_epam`'s recogniser to the published names; undoes the other direction.

    Raises:
        ValueError: if a name is not one of the recogniser's; the message lists all such names.
    """
    return rename(state_dict, inverse(EPAM), "our EPAM-Net")


def rename(state_dict: Mapping[str, Value], names: Mapping[str, str], source: str) -> dict[str, Value]:
    """The same values under other names.

    Raises:
        ValueError: a name is not in the table; all such names are listed.
    """
    unknown = [name for name in state_dict if name not in names]
    if unknown:
        raise ValueError(f"state dict has {len(unknown)} names that {source} lacks: {unknown}")
    return {names[name]: value for name, value in state_dict.items()}


def _apply(state: Mapping[str, Tensor], target: Mapping[str, Tensor], form: Format, new_head: bool) -> Conversion:
    """Read a state dict as one format."""
    result = Conversion(format=form.name, weights={})
    for name, value in state.items():
        ours = form.names.get(name)
        if ours is not None and ours in target:
            _take(result, ours, value, target[ours])
        elif name.startswith(form.left_out) or (new_head and ours is not None and _in_head(ours)):
            result.left_out.append(name)
        else:
            result.unexpected.append(name)
    has_head = any(map(_in_head, result.weights))
    known = {ours for ours in form.names.values() if has_head or not _in_head(ours)}
    absent = known - result.weights.keys() - result.misfits.keys()
    result.missing.extend(
        ours for ours in target if ours in absent and not ours.endswith((*_UNSAVED, "num_batches_tracked"))
    )
    if new_head and any(map(_in_head, (*result.misfits, *result.missing))):
        _leave_head_out(result)
    return result


def _take(result: Conversion, ours: str, value: Tensor, wanted: Tensor) -> None:
    if value.shape == wanted.shape:
        result.weights[ours] = value
        result.matched.append(ours)
        return
    fitted = reshaped(ours, value, wanted.shape)
    if fitted is None:
        result.misfits[ours] = f"must be {tuple(wanted.shape)}, got {tuple(value.shape)}"
        return
    result.weights[ours], how = fitted
    result.reshaped.append(f"{ours}: {tuple(value.shape)} to {tuple(wanted.shape)}, {how}")


def _leave_head_out(result: Conversion) -> None:
    """All of it: half of a head's weights would be of no use."""
    result.left_out.extend(name for name in (*result.weights, *result.misfits) if _in_head(name))
    for table in (result.weights, result.misfits):
        for name in list(filter(_in_head, table)):
            del table[name]
    result.matched[:] = [name for name in result.matched if not _in_head(name)]
    result.missing[:] = [name for name in result.missing if not _in_head(name)]


def _in_head(name: str) -> bool:
    return name.startswith("head.")
