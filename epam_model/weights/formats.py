"""The formats in which a file may hold a recogniser, one stream of it, or more than it: tables of names.

Readable are our own checkpoints, and the formats that `PublishedNames` of a network lists: published EPAM-Net
(`rgb_backbone.`, `attention_module.`, `rgb_cls_head.`); RGBPoseConv3D and PCAN of MMAction2 (`backbone.`, `cls_head.`),
complete or one path; for RGB streams torchvision's ResNet-50, MMAction2's 3-D ResNet-50 and X3D.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from epam_model.weights.epam_names import EPAM
from epam_model.weights.published_names import Names, PublishedNames, prefixed
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D

STREAMS = ("rgb", "pose")
_ALL_PUBLISHED = (EPAM, RGBPOSE_CONV3D)
HEADS = ("cls_head.", "rgb_cls_head.", "pose_cls_head.", "fc.")
"""Prefixes of heads in files of others; those that no table names are of other networks (ImageNet's, X3D's)."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way to write the weights of a model, or of a part of it."""

    name: str
    names: Names  # names in the file -> names of the target; several may be known for one
    left_out: tuple[str, ...] = ()  # prefixes of names in the file that the target is known not to have


def stream_formats(
    stream: str, target: Iterable[str], published: PublishedNames | None, *, prefix: str = "", head: str = "head."
) -> list[Format]:
    """The formats in which a file may contain one stream.

    Args:
        stream: `rgb` or `pose`.
        target: names of the state dict to fill.
        published: published names of the network; None: only our own checkpoints can be read.
        prefix: prefix of the stream's names in the target.
        head: prefix of the names of the stream's head in the target, if it has one.
    """
    target = list(target)
    ours = {name.removeprefix(prefix): name for name in target if name.startswith(prefix)}
    our_head = {f"head.{name.removeprefix(head)}": name for name in target if name.startswith(head)}
    formats = [
        Format(name=f"epam {stream} stream", names=ours),
        Format(
            name=f"epam {stream} recogniser",
            names=prefixed(ours, "backbone.", "") | our_head,
            left_out=("head.",),
        ),
    ]
    if published is None:
        return formats
    names, heads = published.streams[stream], prefixed(published.heads_alone(stream), "", head)
    theirs = [
        (f"published {stream} stream", names, ""),
        (f"published {stream} stream", names, f"{stream}_backbone."),
        (f"MMAction2 {stream} recogniser", names, "backbone."),
        *((start, names_of_start, "") for start, names_of_start in published.starts.get(stream, {}).items()),
    ]
    return formats + [
        Format(
            name=name,
            names=prefixed(table, before, prefix) | heads,
            left_out=HEADS,
        )
        for name, table, before in theirs
    ]


def model_formats(streams: str, target: Iterable[str], published: PublishedNames | None) -> list[Format]:
    """The formats in which a file may contain a recogniser, or one stream of it; preferred ones first.

    Args:
        streams: `both`, `rgb` or `pose`: the streams of the recogniser.
        target: names of its state dict.
        published: published names of the network; None: only our own checkpoints can be read.
    """
    target = list(target)
    if streams != "both":
        return lone_formats(streams, target, published, prefix="backbone.")
    formats = list(_pairs(target, published))
    for stream in STREAMS:
        prefix, head = f"backbone.{stream}_backbone.", f"head.{stream}."
        formats += stream_formats(stream, target, published, prefix=prefix, head=head)
    return formats


def lone_formats(
    stream: str, target: Iterable[str], published: PublishedNames | None, *, prefix: str = ""
) -> list[Format]:
    """The formats for a stream that is not part of a pair: a file of both streams fills it too.

    Args:
        stream: `rgb` or `pose`.
        target: names of the state dict to fill.
        published: published names of the network; None: only our own checkpoints can be read.
        prefix: prefix of the stream's names in the target.
    """
    target = list(target)
    formats = stream_formats(stream, target, published, prefix=prefix)
    in_pair = {f"backbone.{stream}_backbone.{name.removeprefix(prefix)}": name for name in target}
    in_pair |= {f"head.{stream}.{name.removeprefix('head.')}": name for name in target if name.startswith("head.")}
    pair = Format(name="epam pair", names={name: name for name in in_pair}, left_out=("backbone.", "head."))
    for form in (pair, *_pairs(in_pair, published)):
        names = {theirs: in_pair[ours] for theirs, ours in form.names.items() if ours in in_pair}
        others = tuple(theirs for theirs, ours in form.names.items() if ours not in in_pair)
        left_out = (*form.left_out, *others, *HEADS)
        formats.append(Format(name=f"{form.name}, its {stream} stream", names=names, left_out=left_out))
    return formats


def _all_layouts() -> Iterator[tuple[str, Format]]:
    """Every format that this package reads, with the name of its network; the names of targets are ours."""
    for published in _ALL_PUBLISHED:
        for streams in ("both", *STREAMS):
            names = published.mmaction2 if streams == "both" else published.alone(streams, pcan_head=True)
            ours = list(names.values())
            yield published.network, Format(name="epam checkpoint", names={name: name for name in ours})
            for form in model_formats(streams, ours, published):
                yield published.network, form


def nearest_layout(names: Iterable[str]) -> str:
    """The layout that shares most names with a file, as a clause of a sentence.

    Args:
        names: of the tensors in the file, without the prefixes of frameworks.
    """
    given = set(names)
    best, likeness = "", 0.0
    for network, form in _all_layouts():
        shared = len(given & form.names.keys())
        share = shared / len(given | form.names.keys())
        if share > likeness:
            best, likeness = f"{form.name} of network {network} ({shared} of the file's {len(given)} names)", share
    return f"the nearest layout is {best}" if best else "no layout that can be read has any of its names"


def _pairs(target: Iterable[str], published: PublishedNames | None) -> Iterator[Format]:
    """Both streams in one file, besides our own recogniser."""
    if published is not None:
        heads = published.heads
        for name, names in published.releases.items():
            yield Format(name=name, names=names | heads)
        yield Format(name=f"MMAction2 {published.network}", names=published.mmaction2 | heads)
        yield Format(name=f"{published.network} backbone", names=prefixed(published.backbone, "", "backbone.") | heads)
    ours = [name for name in target if name.startswith("backbone.")]
    yield Format(name="epam pair without head", names={name.removeprefix("backbone."): name for name in ours})
