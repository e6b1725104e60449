"""What becomes of the tensors of a file: those of one format are renamed, reshaped, left out, or reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from epam_model.weights.formats import STREAMS, Format, nearest_layout
from epam_model.weights.reshape import reshaped

_UNSAVED = ("coarse_bank.prototypes",)
"""Endings of our names that published checkpoints lack: PCAN's code does not save these tensors."""
_NOT_SAVED = (*_UNSAVED, "num_batches_tracked")
_ENTRIES_SHOWN = 5  # entries that a message lists
_MAX_ENTRY = 160  # characters of an entry
_MAX_LISTED = 500  # entries of each kind in a table


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
    classifiers: dict[str, list[str]] = field(
        default_factory=dict
    )  # why classifiers were left out -> their names there
    sources: dict[str, str] = field(default_factory=dict)  # name of the target -> name in the file

    @property
    def problems(self) -> list[str]:
        """Why strict loading fails: one line for each name."""
        return [
            *(f"missing {name}" for name in self.missing),
            *(f"unexpected {name}" for name in self.unexpected),
            *(f"{name} {shapes}" for name, shapes in self.misfits.items()),
        ]

    @property
    def fault(self) -> str:
        """The format, the first five problems and the nearest layout, for an error of bounded length."""
        misfits = [f"{name} {shapes}" for name, shapes in self.misfits.items()]
        missing, unexpected = ([f"{kind} {name}" for name in getattr(self, kind)] for kind in ("missing", "unexpected"))
        names = (*self.sources.values(), *self.left_out, *self.unexpected)
        return f"read as {self.format}: {first_of(misfits, missing, unexpected)}; {nearest_layout(names)}"

    def absent(self, target: Mapping[str, Tensor]) -> list[str]:
        """Names of the target that the file does not contain, since it lacks that part of the network."""
        return [name for name in target if name not in self.weights and not name.endswith(_NOT_SAVED)]

    def summary(self) -> str:
        """One line: the format and the counts."""
        reshaped = f" ({len(self.reshaped)} reshaped)" if self.reshaped else ""
        rest = f", {len(self.left_out)} not (heads, other classes)" if self.left_out else ""
        return f"{self.format}: {len(self.weights)} tensors loaded{reshaped}{rest}"

    def warnings(self) -> list[str]:
        """What of the file was not loaded, in a line for each reason; empty if nothing was left out."""
        others = set(self.left_out).difference(*self.classifiers.values())
        left_out = {f"the {why}": names for why, names in self.classifiers.items()}
        left_out["no place in the model"] = [name for name in self.left_out if name in others]
        return [
            f"NOT LOADED: {len(names)} tensors of the file ({first_of(names)}): {why}"
            for why, names in left_out.items()
            if names
        ]

    def table(self) -> str:
        """A readable table: the count of each kind, and the names of tensors that were not simply loaded."""
        lines = [f"{'format':<11} {self.format}", f"{'matched':<11} {len(self.matched)}"]
        misfits = [f"{name} {shapes}" for name, shapes in self.misfits.items()]
        for kind in ("reshaped", "missing", "unexpected", "misfits", "left_out"):
            entries = misfits if kind == "misfits" else getattr(self, kind)
            lines.append(f"{kind:<11} {len(entries)}")
            lines += [f"{'':<11} {_in_one_line(entry)}" for entry in entries[:_MAX_LISTED]]
            if len(entries) > _MAX_LISTED:
                lines.append(f"{'':<11} and {len(entries) - _MAX_LISTED} more")
        return "\n".join(lines)


def apply_format(state: Mapping[str, Tensor], target: Mapping[str, Tensor], form: Format, new_head: bool) -> Conversion:
    """Read a state dict as one format."""
    result = Conversion(format=form.name, weights={})
    for name, value in state.items():
        ours = form.names.get(name)
        if ours is not None and ours in target and ours not in result.sources:
            result.sources[ours] = name
            _take(result, ours, value, target[ours])
        elif name.startswith(form.left_out) or (new_head and ours is not None and in_head(ours)):
            result.left_out.append(name)
        else:
            result.unexpected.append(name)
    known, may_lack = set(form.names.values()), _absence(target, result.sources)
    result.missing.extend(
        name
        for name in target
        if name in known and name not in result.sources and not name.endswith(_NOT_SAVED)
        if not may_lack(name)
    )
    if new_head:
        _leave_out_misfits(result)
    return result


def part_of(name: str) -> str:
    """The part of a recogniser to which a weight belongs: a stream, a module that joins them, a layer of a head."""
    names = name.split(".")
    return ".".join(names[: 3 if in_head(name) and names[1] in STREAMS else 2])


def _absence(target: Iterable[str], found: Iterable[str]) -> Callable[[str], bool]:
    """Whether a file may lack a weight: it may if the file has nothing of its part, and the part is not the only one.

    Args:
        target: names of the target.
        found: those that the file has.
    """
    found = set(found)
    present = set(map(part_of, found))
    is_pair = all(any(name.startswith(f"backbone.{stream}_") for name in target) for stream in STREAMS)
    has_backbone = any(name.startswith("backbone.") for name in found)

    def may_lack(name: str) -> bool:
        return part_of(name) not in present and (in_head(name) or (is_pair and has_backbone))

    return may_lack


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


def _leave_out_misfits(result: Conversion) -> None:
    """Leaves out the complete classifier of a stream if a part of it does not fit: the rest would be useless."""
    why = {unit_of(name): f"{name} is missing" for name in reversed(result.missing) if in_head(name)}
    why |= {unit_of(name): f"{name} {fault}" for name, fault in reversed(result.misfits.items()) if in_head(name)}
    for unit, fault in why.items():
        leave_out(result, {unit}, fault)


def leave_out(result: Conversion, units: set[str], why: str) -> None:
    """Leave classifiers (`unit_of`) out of a conversion, and say why."""
    for unit in sorted(units):
        gone = [name for name in result.sources if in_head(name) and unit_of(name) == unit]
        names = result.classifiers.setdefault(f"classifier {unit} does not fit, {why}", [])
        for name in gone:
            names.append(result.sources.pop(name))
            result.weights.pop(name, None)
            result.misfits.pop(name, None)
        result.left_out.extend(names)
    result.matched[:] = [name for name in result.matched if name in result.sources]
    result.missing[:] = [name for name in result.missing if not in_head(name) or unit_of(name) not in units]


def in_head(name: str) -> bool:
    """Whether a weight of a recogniser belongs to a classifier."""
    return name.startswith("head.")


def unit_of(name: str) -> str:
    """The classifier to which a weight of a head belongs: `head.rgb`, `head.pose`, or `head` of a single stream."""
    first = name.split(".")[1]
    return f"head.{first}" if first in STREAMS else "head"


def first_of(entries: Sequence[str], *others: Sequence[str]) -> str:
    """The first five entries, in turn of each kind, and how many more there are; of bounded length."""
    kinds = [list(kind) for kind in (entries, *others) if kind]
    in_turn = [kind[place] for place in range(_ENTRIES_SHOWN) for kind in kinds if place < len(kind)][:_ENTRIES_SHOWN]
    more = sum(len(kind) for kind in kinds) - len(in_turn)
    return "; ".join([*map(_in_one_line, in_turn), *([f"and {more} more"] if more else [])])


def _in_one_line(entry: str) -> str:
    """An entry, which may have a name from a file, in one line of bounded length."""
    if len(entry) > _MAX_ENTRY:
        entry = f"{entry[:_MAX_ENTRY]}..."
    return entry if entry.isprintable() else entry.encode("unicode_escape", "surrogatepass").decode("ascii")
