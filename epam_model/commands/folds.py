"""`epam-model folds`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from epam_model.commands.train import TrainCommand, recipe_name, train_command

if TYPE_CHECKING:
    from epam_model.evaluate.over_folds import FoldHits
    from epam_model.ranks.distributed import Ranks

RESULT = "folds.json"


@dataclass(frozen=True, kw_only=True)
class FoldsCommand(TrainCommand):
    """Train each fold of a view, and print the mean over people.

    Each fold is trained as by `train`, in a folder of its own. Called again, it continues where it was interrupted, and
    leaves finished folds as they are.
    """


def folds_command(command: FoldsCommand, argv: Sequence[str]) -> int:
    """Train all folds, evaluate the best checkpoint of each on its `val`, write folds.json.

    Raises:
        ValueError: `stream.view` has no folds.
    """
    from epam_model.evaluate.over_folds import over_folds
    from epam_model.ranks.distributed import distributed

    out = command.out or Path("work_dirs") / recipe_name(argv)
    num_folds, fact = _folds(command)
    runs = [out / f"fold_{fold}" for fold in range(num_folds)]
    for fold, run in enumerate(runs):
        print(f"fold {fold} of {num_folds}: {run}")
        code = train_command(_of_fold(command, fold, run), argv)
        if code:
            return code  # stopped by a signal: the same command continues
    with distributed(command.train.device) as ranks:
        hits = [_evaluate(_of_fold(command, fold, run), fact, ranks) for fold, run in enumerate(runs)]
        if ranks.is_main:
            result = over_folds(hits)
            (out / RESULT).write_text(
                json.dumps({name: asdict(each) for name, each in result.items()}, indent=1) + "\n", encoding="utf-8"
            )
            for name, each in result.items():
                print(
                    f"top1_{name}: {each.top1:.4f}, mean over {each.num_groups} x {fact}, "
                    f"95 % interval {each.low:.4f} to {each.high:.4f}; folds "
                    f"{', '.join(f'{share:.4f}' for share in each.folds)}"
                )
            print(f"{out / RESULT}")
    return 0


def _folds(command: FoldsCommand) -> tuple[int, str]:
    """The number of folds, and the fact that they are cut by."""
    from epam_data.shards.index import load_index
    from epam_data.shards.manifest import load_manifest
    from epam_data.views.view import load_view

    fact = load_view(command.stream.view).fold_rule[1]
    if not fact:
        raise ValueError(
            f"stream.view must be a view with folds or leave_one_out, got {command.stream.view or 'none'}; see "
            "docs/views.md"
        )
    manifest = load_manifest(command.shards)
    return command.stream.clips(manifest, load_index(command.shards, manifest)).num_folds, fact


def _of_fold(command: FoldsCommand, fold: int, run: Path) -> FoldsCommand:
    return replace(command, out=run, stream=replace(command.stream, fold=fold), resume=False, auto_resume=True)


def _evaluate(command: FoldsCommand, fact: str, ranks: Ranks) -> FoldHits:
    """What the best checkpoint of a fold gets right of its `val`."""
    from epam_model.commands.report import best_checkpoint
    from epam_model.commands.test import TestCommand, predictions_of
    from epam_model.evaluate.metrics import score_tables
    from epam_model.evaluate.over_folds import FoldHits
    from epam_model.ranks.distributed import gather

    assert command.out is not None
    path = gather(best_checkpoint(command.out) if ranks.is_main else None)[0]
    assert path is not None
    tested = TestCommand(shards=command.shards, checkpoint=path, stream=command.stream, model=command.model)
    predictions, stream = predictions_of(tested, ranks)
    index = stream.index
    column = stream.view.facts.column(fact)
    groups = column[[index.row_of_key[key] for key in predictions.keys]]
    labels = predictions.labels
    tables = score_tables(predictions.logits)
    hits = {name: (scores.argmax(dim=1) == labels).numpy() for name, scores in tables.items()}
    return FoldHits(groups=groups, hits=hits)
