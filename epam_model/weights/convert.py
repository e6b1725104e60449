"""Converts checkpoints of other projects to our names and back: by tables of names, strictly, reporting every tensor.

Readable are our own checkpoints, and the formats that `PublishedNames` of a network lists: published EPAM-Net
(`rgb_backbone.`, `attention_module.`, `rgb_cls_head.`); RGBPoseConv3D and PCAN of MMAction2 (`backbone.`, `cls_head.`),
complete or one path; for RGB streams torchvision's ResNet-50, MMAction2's 3-D ResNet-50 and X3D. Wrappers
(`state_dict`, `model_state_dict`, `weights`) and the prefix `module.` of DDP are removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from epam_model.weights.published_names import Names, PublishedNames, inverse, prefixed
from epam_model.weights.reshape import fold_x3d_stem, reshaped
from epam_model.weights.weight_file import read_state_dict

Value = TypeVar("Value")

_MAX_LISTED, _MAX_NAME = 500, 120  # names of each kind in a table, and characters of one

_UNSAVED = ("coarse_bank.prototypes",)
"""Endings of our names that published checkpoints lack: PCAN's code does not save these tensors."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way to write the weights of a model, or of a part of it."""

    name: str
    names: Names  # names in the file -> names of the target
    left_out: tuple[str, ...] = ()  # prefixes of names in the file that the target is known not to have


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Weights under the target's names, and what was done with every tensor."""

    format: str
    weights: dict[str, Tensor]
    matched: list[str] = field(default_factory=list)  # names of the target, loaded unchanged
    reshaped: list[str] = field(default_factory=list)  # names of the target, with both shapes and the rule
    missing: list[str] = field(default_factory=list)  # names of the target that the file should have
    unexpected: list[str] = field(default_factory=list)  # names in the file that the format lacks
    misfits: dict[str, str] = field(default_factory=dict)  # name of the target -> both shapes; no rule converts them
    left_out: list[str] = field(default_factory=list)  # names in the file that the target does not have

    @property
    def problems(self) -> list[str]:
        """Why strict loading fails: one line for each name."""
        return [
            *(f"missing {name}" for name in self.missing),
            *(f"unexpected {name}" for name in self.unexpected),
            *(f"{name} {shapes}" for name, shapes in self.misfits.items()),
        ]

    def absent(self, target: Mapping[str, Tensor]) -> list[str]:
        """Names of the target that the file does not contain, since it lacks that part of the network."""
        not_saved = (*_UNSAVED, "num_batches_tracked")
        return [name for name in target if name not in self.weights and not name.endswith(not_saved)]

    def summary(self) -> str:
        """One line: the format and the counts."""
        reshaped = f" ({len(self.reshaped)} reshaped)" if self.reshaped else ""
        rest = f", {len(self.left_out)} not (heads, other classes)" if self.left_out else ""
        return f"{self.format}: {len(self.weights)} tensors loaded{reshaped}{rest}"

    def table(self) -> str:
        """A readable table: the count of each kind, and the names of tensors that were not simply loaded."""
        lines = [f"{'format':<11} {self.format}", f"{'matched':<11} {len(self.matched)}"]
        misfits = [f"{name} {shapes}" for name, shapes in self.misfits.items()]
        for kind in ("reshaped", "missing", "unexpected", "misfits", "left_out"):
            entries = misfits if kind == "misfits" else getattr(self, kind)
            lines.append(f"{kind:<11} {len(entries)}")
            lines += [f"{'':<11} {_shown(entry)}" for entry in entries[:_MAX_LISTED]]
            if len(entries) > _MAX_LISTED:
                lines.append(f"{'':<11} and {len(entries) - _MAX_LISTED} more")
        return "\n".join(lines)


def _shown(name: str) -> str:
    """A name from a file, in one line of bounded length: this module must not need `epam_data`."""
    if len(name) > _MAX_NAME:
        name = f"{name[:_MAX_NAME]}..."
    return name if name.isprintable() else name.encode("unicode_escape", "surrogatepass").decode("ascii")


def stream_formats(
    stream: str, target: Iterable[str], published: PublishedNames | None, *, prefix: str = ""
) -> list[Format]:
    """The formats in which a file may contain one stream.

    Args:
        stream: `rgb` or `pose`.
        target: names of the state dict to fill.
        published: published names of the network; None: only our own checkpoints can be read.
        prefix: prefix of the stream's names in the target.
    """
    ours = {name.removeprefix(prefix): name for name in target if name.startswith(prefix)}
    formats = [
        Format(name=f"epam {stream} stream", names=ours),
        Format(name=f"epam {stream} recogniser", names=prefixed(ours, "backbone.", ""), left_out=("head.",)),
    ]
    if published is None:
        return formats
    names, head = published.streams[stream], ("cls_head.", "fc.", f"{stream}_cls_head.")
    theirs = [
        (f"published {stream} stream", names, ""),
        (f"published {stream} stream", names, f"{stream}_backbone."),
        (f"MMAction2 {stream} recogniser", names, "backbone."),
        *((start, names_of_start, "") for start, names_of_start in published.starts.get(stream, {}).items()),
    ]
    return formats + [
        Format(name=name, names=prefixed(table, before, prefix), left_out=head) for name, table, before in theirs
    ]


def model_formats(streams: str, target: Iterable[str], published: PublishedNames | None) -> list[Format]:
    """The formats in which a file may contain a recogniser, or one stream of it; preferred ones first.

    Args:
        streams: `both`, `rgb` or `pose`: the streams of the recogniser.
        target: names of its state dict.
        published: published names of the network; None: only our own checkpoints can be read.
    """
    target = list(target)
    formats: list[Format] = []
    if streams != "both":
        if published is not None:
            formats.append(Format(name=f"MMAction2 {streams} recogniser", names=published.alone(streams)))
        return formats + stream_formats(streams, target, published, prefix="backbone.")
    if published is not None:
        formats += [Format(name=name, names=names) for name, names in published.releases.items()]
        formats += [
            Format(name=f"MMAction2 {published.network}", names=published.mmaction2),
            Format(name=f"{published.network} backbone", names=prefixed(published.backbone, "", "backbone.")),
        ]
    for stream in ("rgb", "pose"):
        formats += stream_formats(stream, target, published, prefix=f"backbone.{stream}_backbone.")
    return formats


def convert(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], formats: Iterable[Format], *, new_head: bool = False
) -> Conversion:
    """Convert weights to the names and shapes of a target, by the format that gives the fewest problems.

    Args:
        state: name in the file -> tensor.
        target: the state dict to fill; a format may cover only a part of it.
        formats: the possible formats, besides the target's own names.
        new_head: a head that does not fit (other classes, another kind) is left out; else it is a problem.
    """
    own = Format(name="epam checkpoint", names={name: name for name in target}, left_out=("head.",) if new_head else ())
    state = fold_x3d_stem({name.removeprefix("module."): value for name, value in state.items()})
    tried = [_apply(state, target, each, new_head) for each in (own, *formats)]
    return min(tried, key=lambda conversion: (len(conversion.problems), -len(conversion.matched)))


def load_foreign(target: nn.Module, path: Path, formats: Sequence[Format], *, note: str = "") -> Conversion:
    """Load a file into a model, or into the one stream that the file contains: all of it or nothing.

    A missing head, or one that does not fit (other classes, another kind), keeps its initial weights; the latter is
    listed as left out.

    Args:
        target: the model.
        path: the file.
        formats: the possible formats, besides the target's own names.
        note: text to add to the error if the weights do not fit.

    Raises:
        ValueError: the file cannot be read, or its weights do not fit; the names are listed.
    """
    conversion = convert(read_state_dict(path), target.state_dict(), formats, new_head=True)
    if conversion.problems:
        problems = "; ".join(conversion.problems)
        raise ValueError(f"{path}: the weights do not fit the model{note}, read as {conversion.format}: {problems}")
    target.load_state_dict(conversion.weights, strict=False)  # not strict: the file may lack a stream or the head
    return conversion


def load_pretrained(stream: nn.Module, path: Path, name: str, published: PublishedNames) -> Conversion:
    """Load a file into one stream of a network, `rgb` or `pose`; `stream_formats` lists the possible formats.

    Raises:
        ValueError: the file cannot be read, or keys or shapes do not fit; they are listed.
    """
    return load_foreign(stream, path, stream_formats(name, stream.state_dict(), published))


def to_published(state: Mapping[str, Value], published: PublishedNames, streams: str) -> dict[str, Value]:
    """A recogniser's weights under published names: the authors' names for plain heads, else MMAction2's.

    Args:
        state: our names -> values.
        published: published names of the network.
        streams: `both`, `rgb` or `pose`: the streams of the recogniser.

    Raises:
        ValueError: names do not belong to such a recogniser; they are listed.
    """
    if streams != "both":
        return rename(state, inverse(published.alone(streams)), f"our {published.network} {streams} stream")
    names = published.mmaction2
    if "head.rgb.fc_coarse.weight" not in state:
        names = next(iter(published.releases.values()), names)
    return rename(state, inverse(names), f"our {published.network}")


def rename(state_dict: Mapping[str, Value], names: Mapping[str, str], source: str) -> dict[str, Value]:
    """The same values under other names.

    Raises:
        ValueError: names are not in the table; they are listed.
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


def _take(result: Conversion, ours: str, value: Tensor, target: Tensor) -> None:
    if value.is_floating_point() != target.is_floating_point():
        result.misfits[ours] = f"must be of {target.dtype}, got {value.dtype}"
        return
    if value.shape == target.shape:
        result.weights[ours] = value
        result.matched.append(ours)
        return
    fitted = reshaped(ours, value, target.shape)
    if fitted is None:
        result.misfits[ours] = f"must be {tuple(target.shape)}, got {tuple(value.shape)}"
        return
    result.weights[ours], how = fitted
    result.reshaped.append(f"{ours}: {tuple(value.shape)} to {tuple(target.shape)}, {how}")


def _leave_head_out(result: Conversion) -> None:
    """Leaves out the complete head: a part of its weights would be useless."""
    result.left_out.extend(name for name in (*result.weights, *result.misfits) if _in_head(name))
    for table in (result.weights, result.misfits):
        for name in list(filter(_in_head, table)):
            del table[name]
    result.matched[:] = [name for name in result.matched if not _in_head(name)]
    result.missing[:] = [name for name in result.missing if not _in_head(name)]


def _in_head(name: str) -> bool:
    return name.startswith("head.")
