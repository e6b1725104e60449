"""Converts checkpoints of other projects to our names and back: by tables of names, strictly, reporting every tensor.

`formats` lists what can be read; entries and prefixes that frameworks add are removed (`wrappers`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from epam_model.weights.conversion import Conversion, apply_format, first_of, in_head, leave_out, unit_of
from epam_model.weights.formats import HEADS, Format, lone_formats, model_formats, stream_formats
from epam_model.weights.published_names import PublishedNames, inverse
from epam_model.weights.reshape import fold_x3d_stem
from epam_model.weights.weight_file import read_weight_file, state_in
from epam_model.weights.wrappers import plain_names

__all__ = [
    "convert",
    "load_foreign",
    "load_pretrained",
    "load_recogniser",
    "model_formats",
    "rename",
    "stream_formats",
    "to_mmaction2",
    "to_published",
]

Value = TypeVar("Value")

_log = logging.getLogger(__name__)
_MAX_CLASS = 50  # characters of a class in a message


def convert(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], formats: Iterable[Format], *, new_head: bool = False
) -> Conversion:
    """Convert weights to the names and shapes of a target, by the format that gives the fewest problems.

    A file may lack a whole stream of two, a whole module that joins them (attention, lateral connections, interaction),
    or a whole layer of a head (prototypes, coarse classes): `Conversion.absent` lists what it lacks.

    Args:
        state: name in the file -> tensor.
        target: the state dict to fill; a format may cover only a part of it.
        formats: the possible formats, besides the target's own names.
        new_head: the classifier of a stream that does not fit (other classes), and layers that a head of another kind
            has, are left out; else they are problems.
    """
    formats = [Format(name="epam checkpoint", names={name: name for name in target}), *formats]
    if new_head:
        formats = [replace(form, left_out=(*form.left_out, "head.", *HEADS)) for form in formats]
    state = fold_x3d_stem(plain_names(state))
    tried = [apply_format(state, target, each, new_head) for each in formats]
    return min(tried, key=lambda conversion: (len(conversion.problems), -len(conversion.weights)))


def load_foreign(
    target: nn.Module, path: Path, formats: Sequence[Format], *, classes: Sequence[str] = (), note: str = ""
) -> Conversion:
    """Load a file into a model, or into the parts that the file contains: all of each part or nothing.

    A classifier that does not fit is left out, and what the file lacks keeps its weights: `Conversion.warnings` and
    `absent` say so.

    Args:
        target: the model.
        path: the file.
        formats: the possible formats, besides the target's own names.
        classes: names of the classes, to compare with those of the file, if it has any; empty: unknown.
        note: text to add to the error if the weights do not fit.

    Raises:
        ValueError: the file cannot be read, or its weights do not fit: the message has the nearest layout and the
            first names that differ.
    """
    values = read_weight_file(path)
    conversion = convert(state_in(values, path), target.state_dict(), formats, new_head=True)
    if conversion.problems:
        raise ValueError(f"{path}: the weights do not fit the model{note}, {conversion.fault}")
    if (other := _other_class(values, classes)) is not None:
        leave_out(conversion, set(map(unit_of, filter(in_head, conversion.weights))), other)
    target.load_state_dict(conversion.weights, strict=False)  # not strict: the file may lack a part
    return conversion


def load_recogniser(
    model: nn.Module,
    path: Path,
    streams: str,
    published: PublishedNames | None,
    *,
    classes: Sequence[str] = (),
    note: str = "",
) -> Conversion:
    """Load a file into a recogniser of `both` streams, of `rgb` or of `pose`; else as `load_foreign`."""
    formats = model_formats(streams, model.state_dict(), published)
    return load_foreign(model, path, formats, classes=classes, note=note)


def load_pretrained(stream: nn.Module, path: Path, name: str, published: PublishedNames) -> Conversion:
    """Load a file into one stream of a network, `rgb` or `pose`; `lone_formats` lists the possible formats.

    Raises:
        ValueError: the file cannot be read, or keys or shapes do not fit; they are listed.
    """
    conversion = load_foreign(stream, path, lone_formats(name, stream.state_dict(), published))
    for line in conversion.warnings():
        _log.warning("%s: %s", path, line)
    return conversion


def to_published(state: Mapping[str, Value], published: PublishedNames, streams: str) -> dict[str, Value]:
    """A recogniser's weights under published names: the authors' names for plain heads, else MMAction2's.

    Args:
        state: our names -> values.
        published: published names of the network.
        streams: `both`, `rgb` or `pose`: the streams of the recogniser.

    Raises:
        ValueError: names do not belong to such a recogniser; they are listed.
    """
    if streams != "both" or _has_pcan_head(state) or not published.releases:
        return to_mmaction2(state, published, streams)
    return rename(state, inverse(next(iter(published.releases.values()))), f"our {published.network}")


def to_mmaction2(state: Mapping[str, Value], published: PublishedNames, streams: str) -> dict[str, Value]:
    """A recogniser's weights under the names that MMAction2 loads: `backbone.`, `cls_head.`.

    A single stream with a plain head is one of MMAction2's own recognisers (`I3DHead`); with PCAN's head, it has the
    names of its half of the pair's head.

    Args:
        state: our names -> values.
        published: published names of the network.
        streams: `both`, `rgb` or `pose`: the streams of the recogniser.

    Raises:
        ValueError: names do not belong to such a recogniser; they are listed.
    """
    if streams == "both":
        return rename(state, inverse(published.mmaction2), f"our {published.network}")
    names = published.alone(streams, pcan_head=_has_pcan_head(state))
    return rename(state, inverse(names), f"our {published.network} {streams} stream")


def rename(state_dict: Mapping[str, Value], names: Mapping[str, str], source: str) -> dict[str, Value]:
    """The same values under other names.

    Raises:
        ValueError: names are not in the table; the first ones are listed.
    """
    unknown = [name for name in state_dict if name not in names]
    if unknown:
        raise ValueError(f"state dict has {len(unknown)} names that {source} lacks: {first_of(unknown)}")
    return {names[name]: value for name, value in state_dict.items()}


def _other_class(values: Mapping[str, Any], classes: Sequence[str]) -> str | None:
    """The first class that one of our checkpoints names otherwise; None: it names none, or all are the same."""
    shards = values.get("shards")
    theirs = shards.get("classes") if isinstance(shards, Mapping) else None
    if not classes or not isinstance(theirs, list) or len(theirs) != len(classes):
        return None
    for label, (its, ours) in enumerate(zip(theirs, classes, strict=True)):
        if its != ours:
            return f"its class {label} is {str(its)[:_MAX_CLASS]!r}, here it is {ours!r}"
    return None


def _has_pcan_head(state: Mapping[str, Value]) -> bool:
    return any(in_head(name) and ".fc_coarse." in name for name in state)
