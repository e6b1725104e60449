"""From a view to clips: the rows of the index in each split, in storage order."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from epam_data.randomness import Purpose, generator
from epam_data.schema import STORED_SPLITS
from epam_data.shards.index import Index
from epam_data.shards.manifest import Manifest
from epam_data.system.printable import brief
from epam_data.views.facts import ABSENT, Facts, fact_of
from epam_data.views.labels import DROPPED, label_table, labelled
from epam_data.views.view import Condition, View

_NONE = -1  # in place of a split's number: the clip is left out
_TRAIN, _VAL = STORED_SPLITS.index("train"), STORED_SPLITS.index("val")


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedView:
    """The clips of a view."""

    manifest: Manifest
    """Of the shards, with the classes of the view."""
    index: Index
    """Of the shards, with the labels of the view."""
    facts: Facts
    rows: Mapping[str, NDArray[np.int64]]
    """Split -> rows of the index, increasing. A split without clips is absent."""
    num_folds: int
    """1: the view has no folds."""
    has_new_labels: bool

    @cached_property
    def sha256(self) -> str:
        """Of the keys in each split, and of new labels: views of one hash have the same clips, splits and labels."""
        digest = hashlib.sha256()
        for split in sorted(self.rows):
            digest.update(f"{split} {self.names_sha256(split)}\n".encode())
        if self.has_new_labels:
            rows = np.concatenate(list(self.rows.values()))
            for line in label_table(self.index.label[rows], self.index.keys[rows], self.manifest.classes):
                digest.update(line)
        return digest.hexdigest()

    def names_sha256(self, split: str) -> str:
        """Of `names`, to compare with published lists."""
        return hashlib.sha256(self.names(split)).hexdigest()

    def names(self, split: str) -> bytes:
        """The sorted keys of a split, each on a line that ends with LF."""
        return b"".join(key + b"\n" for key in sorted(self.index.keys[self.rows[split]].tolist()))


def resolve_view(view: View, manifest: Manifest, index: Index, fold: int = 0) -> ResolvedView:
    """The clips of a view.

    Args:
        view: the rule.
        manifest: of the shards.
        index: of the shards.
        fold: which fold becomes val, from 0; ignored by a view without folds.

    Raises:
        ValueError: a name, class, protocol or fact is unknown, the fold does not exist, or no clip is left.
    """
    manifest, index = labelled(view, manifest, index)
    facts = Facts(manifest, index)
    splits = _by_names(view.names, index) if view.names else _by_protocol(view.protocol, facts)
    if view.classes:
        splits[~np.isin(index.label, [_class_number(name, manifest.classes) for name in view.classes])] = _NONE
    splits[index.label == DROPPED] = _NONE
    for condition in view.where:
        splits[~_holds(condition, facts)] = _NONE
    num_folds, fact = view.fold_rule
    if fact:
        num_folds = _cut_into_folds(splits, facts, fact, num_folds, fold, view.seed)
    if view.fraction < 1:
        _keep_fraction(splits, index, view.fraction, view.seed)
    if (splits == _NONE).all():
        raise ValueError("view: no clip is left")
    rows = {name: np.flatnonzero(splits == number) for number, name in enumerate(STORED_SPLITS)}
    return ResolvedView(
        manifest=manifest,
        index=index,
        facts=facts,
        rows={name: found for name, found in rows.items() if len(found)},
        num_folds=num_folds,
        has_new_labels=view.changes_labels,
    )


def _by_protocol(protocol: str | None, facts: Facts) -> NDArray[np.int8]:
    """(N,) number of each clip's split in `STORED_SPLITS`, or `_NONE`."""
    manifest, index = facts.manifest, facts.index
    if protocol is None:
        numbers = {name: number for number, name in enumerate(STORED_SPLITS)}
        of_shard = np.array([numbers.get(shard.split, _NONE) for shard in manifest.shards], np.int8)
        return of_shard[index.shard]
    known = dict(facts.reader.protocols) if facts.reader is not None else {}
    by_name = sorted(name for name, rule in known.items() if name and rule.split_by)
    if protocol not in by_name:
        allowed = f"one of {', '.join(by_name)}" if by_name else "left out"
        raise ValueError(f"view.protocol must be {allowed} for shards of {manifest.dataset}, got {brief(protocol)}")
    rule = known[protocol]
    fact = facts.column(fact_of(str(rule.split_by)))
    splits = np.full(len(index), _NONE, np.int8)
    for split, values in rule.values.items():
        splits[np.isin(fact, list(values))] = STORED_SPLITS.index(split)
    return splits


def _by_names(names: Mapping[str, str | Sequence[str]], index: Index) -> NDArray[np.int8]:
    splits = np.full(len(index), _NONE, np.int8)
    row_of_key = index.row_of_key
    for split, keys in names.items():
        unknown = [key for key in keys if key not in row_of_key]
        if unknown:
            raise ValueError(
                f"view.names.{split}: {len(unknown)} of {len(keys)} names are not in the shards, such as "
                f"{_with_nearest(unknown[0], row_of_key)}"
            )
        rows = np.array([row_of_key[key] for key in keys], np.int64)
        taken = rows[splits[rows] != _NONE]
        if len(taken):
            key, other = index.keys[taken[0]].decode(), STORED_SPLITS[splits[taken[0]]]
            raise ValueError(f"view.names: {key} is in {other} and in {split}")
        splits[rows] = STORED_SPLITS.index(split)
    return splits


def _class_number(name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise ValueError(f"view.classes: the shards have no class {_with_nearest(name, classes)}")
    return classes.index(name)


def _with_nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3)
    return brief(name, 100) + (f"; nearest: {', '.join(near)}" if near else "")


def _holds(condition: Condition, facts: Facts) -> NDArray[np.bool_]:
    column = facts.column(condition.fact)
    holds = ~np.isin(column, condition.none_of)
    if condition.any_of is not None:
        holds &= np.isin(column, condition.any_of)
    if condition.least is not None:
        holds &= column >= condition.least
    if condition.most is not None:
        holds &= column <= condition.most
    return holds


def _cut_into_folds(splits: NDArray[np.int8], facts: Facts, fact: str, num_folds: int, fold: int, seed: int) -> int:
    """Put each clip with a known label into train or val; returns the number of folds."""
    column, used = facts.column(fact), (splits != _NONE) & (facts.index.label >= 0)
    if (column[used] == ABSENT).any():
        raise ValueError(f"view: the names of {int((column[used] == ABSENT).sum())} clips do not tell their {fact}")
    values, counts = np.unique(column[used], return_counts=True)
    if num_folds == 0:
        num_folds, fold_of = len(values), np.arange(len(values))
    else:
        fold_of = _even_folds(counts, num_folds, seed)
    if len(values) < num_folds or num_folds < 2:
        raise ValueError(f"view: {max(num_folds, 2)} folds need as many values of {fact}, got {len(values)}")
    if not 0 <= fold < num_folds:
        raise ValueError(f"stream.fold must be in 0..{num_folds - 1}, got {fold}")
    in_val = np.isin(column, values[fold_of == fold])
    splits[used & in_val], splits[used & ~in_val] = _VAL, _TRAIN
    return num_folds


def _even_folds(counts: NDArray[np.int64], num_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each value: those with most clips first, equal ones in random order, each to the smallest fold."""
    order = generator(Purpose.FOLDS, seed).permutation(len(counts))
    order = order[np.argsort(-counts[order], kind="stable")]
    folds, sizes = np.empty(len(counts), np.int64), np.zeros(num_folds, np.int64)
    for value in order.tolist():
        folds[value] = sizes.argmin()
        sizes[folds[value]] += counts[value]
    return folds


def _keep_fraction(splits: NDArray[np.int8], index: Index, fraction: float, seed: int) -> None:
    """Leave training clips out. The draw depends on the seed and on the keys of a class alone, not on their shards."""
    train = np.flatnonzero(splits == _TRAIN)
    train = train[np.argsort(index.keys[train], kind="stable")]
    labels = index.label[train]
    for label in np.unique(labels).tolist():
        rows = generator(Purpose.FRACTION, seed, label + 1).permutation(train[labels == label])
        splits[rows[int(np.ceil(fraction * len(rows) - 1e-9)) :]] = _NONE
