"""Ingest: the skeleton pickles -> the store, once per build."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from epam_data.build.output import WORK_FOLDER
from epam_data.build.plan import BuildPlan
from epam_data.build.skeleton_store import SkeletonStore, stored_sources, write_store
from epam_data.readers import DATASETS, RawSettings, find_reader, reader_module
from epam_data.readers.limits import read_with_limits, stored_with_limits
from epam_data.system.files import file_sha256
from epam_data.system.folder_lock import FolderLock
from epam_data.system.typed_json import decode_json
from epam_data.versions import differences, tool_versions

INPUTS = f"{WORK_FOLDER}/inputs.json"  # in the output: what the build that it holds was made from


def ingest(plan: BuildPlan, *, restart: bool = False) -> dict[str, str]:
    """Read the skeleton pickles into the store, unless it holds them already.

    Args:
        plan: what to build; `plan.work_folder` exists.
        restart: forget a build of other inputs in the output.

    Returns:
        The SHA-256 of each pickle, by file name.

    Raises:
        ValueError: a pickle cannot be used, or the inputs differ from those of the build that the output holds.
    """
    sources = hash_sources(plan)
    # Parts of an array job start together: the first one reads, the others wait for it.
    with FolderLock(plan.work_folder, "ingest", wait=True):
        if not restart:
            _refuse_other_inputs(plan, sources)
        if stored_sources(plan.store) != store_identity(plan, sources):
            _read_into(plan.store, plan, store_identity(plan, sources))
    return sources


def record_inputs(plan: BuildPlan, sources: dict[str, str], *, restart: bool = False) -> None:
    """Note in the output what its build is made from. The last thing before building: a plan that fails claims nothing.

    Raises:
        ValueError: as `ingest`.
    """
    with FolderLock(plan.work_folder, "ingest", wait=True):
        if not restart:
            _refuse_other_inputs(plan, sources)
        plan.output.write(INPUTS, json.dumps(_inputs(plan, sources), indent=1, allow_nan=False).encode())


def _inputs(plan: BuildPlan, sources: dict[str, str]) -> dict[str, Any]:
    selection = {**asdict(plan.selection), "only": sorted(plan.selection.only)}
    return {**plan.inputs(sources), "selection": selection}


def _refuse_other_inputs(plan: BuildPlan, sources: dict[str, str]) -> None:
    old = plan.output.read(INPUTS)
    if old is None:
        return
    changes = differences(decode_json(old, dict[str, Any], f"{plan.out}/{INPUTS}"), _inputs(plan, sources))
    if changes:
        raise ValueError(
            f"{plan.out} holds a build of other inputs ({'; '.join(changes)}); "
            "give another folder, or --restart to replace it"
        )


@contextmanager
def temporary_store(plan: BuildPlan) -> Iterator[tuple[SkeletonStore, dict[str, str]]]:
    """The skeletons of a plan and the hashes of their files, without a trace in its output.

    The build's own store where it fits; else one that is made for the while.
    """
    sources = hash_sources(plan)
    identity = store_identity(plan, sources)
    with ExitStack() as stack:
        path = plan.store
        if stored_sources(path) != identity:
            path = Path(stack.enter_context(TemporaryDirectory())) / path.name
            _read_into(path, plan, identity)
        yield stack.enter_context(SkeletonStore(path)), sources


def _read_into(store: Path, plan: BuildPlan, identity: dict[str, str]) -> None:
    """Read the skeletons into a store. A reader of one's own is code to trust, and runs in this process."""
    arguments = (store, plan.dataset, plan.raw, identity)
    if plan.dataset in DATASETS:
        read_with_limits(find_reader(plan.dataset).files(plan.raw), _write_store, *arguments)
    else:
        _write_store(*arguments)


def _write_store(store: Path, dataset: str, raw: RawSettings, identity: dict[str, str]) -> None:
    reader = find_reader(dataset)
    write_store(store, stored_with_limits(reader.read(raw), reader.files(raw)), identity)


def hash_sources(plan: BuildPlan) -> dict[str, str]:
    """The SHA-256 of each skeleton pickle, and of the source of a reader of one's own, by file name."""
    files = find_reader(plan.dataset).files(plan.raw)
    code = reader_module(plan.dataset)
    return {path.name: _hash_source(path) for path in (*files, *([code] if code else []))}


def store_identity(plan: BuildPlan, sources: dict[str, str]) -> dict[str, str]:
    """What a store was made from and with; another identity, and it is made anew."""
    return {**sources, "dataset": plan.dataset, "protocol": str(plan.raw.protocol), **tool_versions()}


def _hash_source(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a regular file, expected a skeleton pickle")
    if not path.is_file():
        raise ValueError(f"{path}: no such file, expected a skeleton pickle")
    return file_sha256(path)
