"""The kinds of files that strangers make: how to get good ones, how to harm them, and what reads them."""

import hashlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import zstandard

from epam_data.build.build import build
from epam_data.build.output import WORK_FOLDER
from epam_data.build.skeleton_store import write_store
from epam_data.build.status import build_status
from epam_data.check.check import CheckSettings, check
from epam_data.cli import COMMANDS as DATA_COMMANDS
from epam_data.readers import RawSettings, find_reader
from epam_data.recipe import parse_command
from epam_data.shards.codec import MEMBERS
from epam_data.shards.layout import INDEX, MANIFEST, PROBLEMS
from epam_data.shards.reader import read_shard
from epam_data.show.describe import describe, read_sample
from epam_data.system import folder_lock
from epam_data.system.executors import ExecutorSettings
from epam_data.system.folder_lock import FolderLock, live_holders
from epam_model.cli import COMMANDS as MODEL_COMMANDS
from tests.data.damage import change_manifest, rewrite
from tests.data.people import write_people
from tests.data.raw_data import annotation, ntu60_plan, ntu_name, person, write_ntu60
from tests.data.stream.test_strangers import sealed
from tests.paths import PIPELINES
from tests.soak.bounded import Target
from tests.soak.mutations import mutated, mutated_json

SHARD = "val-000000"


def skeletons(folder: Path, dataset: str) -> Target:
    """A skeleton pickle, read into the store of a build."""
    is_list = dataset == "ma52"
    path = folder / ("x_train.pkl" if is_list else "x.pkl")
    names = [f"train/000{number}_01_0001" if is_list else ntu_name(number, number) for number in (1, 2, 3)]
    clips = [
        annotation(name, number, person(6, 28 if is_list else 17, seed=number)[None].astype(np.float16))
        for number, name in enumerate(names)
    ]
    content: Any = (
        clips if is_list else {"split": {"xsub_train": names[:2], "xsub_val": names[2:]}, "annotations": clips}
    )
    raw = RawSettings(videos=folder, skeletons=path, protocol=None if is_list else "xsub")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        write_store(folder / "store.h5", find_reader(dataset).read(raw), {})

    return Target(
        goods=[pickle.dumps(content, protocol) for protocol in (0, 2, 4, 5)],
        mutate=mutated,
        read=read,
        names=(path.name, *names),
    )


def stream_of(root: Path, **settings: Any) -> int:
    """Read an epoch; returns the number of its samples."""
    from epam_data.stream import Stream, StreamSettings

    usual = {"rgb_frames": 2, "pose_frames": 2, "batch_size": 8, "workers": 0}
    stream = Stream(root, split="val", settings=StreamSettings(**{**usual, **settings}), training=False)
    return sum(map(len, stream.epoch(0)))


def look_at(root: Path) -> None:
    """What `epam-data inspect`, `check` and a training do with a folder."""
    describe(str(root))
    check(root, CheckSettings(sample=1), ExecutorSettings())
    stream_of(root)


def manifest(folder: Path) -> Target:
    root = write_people(folder / "shards")

    def read(data: bytes) -> None:
        (root / MANIFEST).write_bytes(data)
        look_at(root)

    return Target(goods=[(root / MANIFEST).read_bytes()], mutate=mutated_json, read=read, names=(str(root), ".tar"))


def problems(folder: Path) -> Target:
    """The list of problems, of which `check` makes findings."""
    root = write_people(folder / "shards")
    line = {"name": "a", "split": "train", "action": "skipped", "reason": "no video", "kind": "no video"}

    def read(data: bytes) -> None:
        (root / PROBLEMS).write_bytes(data)
        check(root, CheckSettings(sample=0), ExecutorSettings())

    return Target(goods=[json.dumps(line).encode()], mutate=mutated_json, read=read, names=(PROBLEMS,))


def index(folder: Path) -> Target:
    """An index with the hash that the manifest says; ours, and one in HDF5's oldest form, in compressed chunks."""
    root = write_people(folder / "shards")
    ours, older = (root / INDEX).read_bytes(), io.BytesIO()
    with h5py.File(root / INDEX) as file, h5py.File(older, "w", libver="earliest") as copy:
        for name in file:
            copy.create_dataset(name, data=file[name][()], chunks=True, compression="gzip", fletcher32=True)

    def read(data: bytes) -> None:
        (root / INDEX).write_bytes(data)
        change_manifest(root, index_sha256=hashlib.sha256(data).hexdigest())
        stream_of(root)

    return Target(goods=[ours, older.getvalue()], mutate=mutated, read=read, names=(INDEX, ".tar"))


def tar(folder: Path) -> Target:
    """A shard. Half of the faults are in a header whose sum is right again."""
    root = write_people(folder / "shards")
    path = root / f"{SHARD}.tar"
    good = path.read_bytes()
    headers = [at for at in range(0, len(good), 512) if good[at + 257 : at + 262] == b"ustar"]

    def mutate(data: bytes, random: Random, other: bytes) -> bytes:
        if random.random() < 0.5:
            return mutated(data, random, other)
        at = random.choice(headers)
        header = bytearray(mutated(data[at : at + 512], random)[:512].ljust(512, b"\0"))
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return data[:at] + header + data[at + 512 :]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        check(root, CheckSettings(sample=0), ExecutorSettings())
        stream_of(root, on_damage="skip")
        describe(str(path))
        try:
            read_sample(path, "val-2")
        except ValueError as error:
            assert "val-2" in str(error) or path.name in str(error), error
        sum(1 for _ in read_shard(path))

    return Target(goods=[good], mutate=mutate, read=read, names=(path.name, str(path)))


def members(folder: Path) -> Target:
    """A sample with one changed member, with the checksums, offsets and hashes that a stranger can make right again."""
    good = write_people(folder / "good")
    root, rows = folder / "shards", list(read_shard(good / f"{SHARD}.tar"))
    key, _, own = rows[0]

    def mutate(data: bytes, random: Random, other: bytes) -> bytes:
        changed, ending = dict(own), random.choice(MEMBERS)
        if ending == "json":
            changed[ending] = mutated_json(own[ending], random)
        elif ending == "heatmap.npy.zst" and random.random() < 0.5:
            plain = zstandard.ZstdDecompressor().decompress(own[ending])
            changed[ending] = zstandard.ZstdCompressor(level=1).compress(mutated(plain[:128], random) + plain[128:])
        elif random.random() < 0.5:
            changed[ending] = mutated(own[ending][:256], random) + own[ending][256:]
        else:
            changed[ending] = mutated(own[ending], random)
        return pickle.dumps(changed)

    def read(data: bytes) -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(good, root)
        rewrite(root, SHARD, lambda name, old: resealed(pickle.loads(data)) if name == key else old)
        try:
            stream_of(root)
        finally:
            stream_of(root, heatmap="drawn", on_damage="skip")
            check(root, CheckSettings(sample=0), ExecutorSettings())

    return Target(goods=[pickle.dumps(own)], mutate=mutate, read=read, names=(key,))


def resealed(changed: dict[str, bytes]) -> dict[str, bytes]:
    """With fitting checksums where `KEY.json` can still be read."""
    try:
        return sealed(changed, frame_crc32=None)
    except (ValueError, TypeError, RecursionError):
        return changed


def checkpoint(folder: Path) -> Target:
    """A checkpoint in both forms of torch, for a run, for evaluation and for `convert`."""
    import torch

    from epam_model.weights.checkpoint import VERSION, load_checkpoint, load_weights
    from epam_model.weights.convert import convert, model_formats
    from epam_model.weights.weight_file import read_state_dict

    torch.set_num_threads(1)
    model, path = torch.nn.Sequential(torch.nn.Conv3d(3, 4, (1, 3, 3)), torch.nn.Linear(4, 2)), folder / "c.pt"
    values = {
        "version": VERSION,
        "weights": model.state_dict(),
        "optimizer": {"0.weight": {"momentum": torch.zeros(4)}},
        "epoch": 1,
        "consumed": 5,
        "recipe": {"model": {"network": "epam"}, "stream": {"sampling": "a"}},
        "shards": {"classes": ["a"], "dataset": "x", "skeleton": "coco17", "heatmap_kind": "joints"},
    }
    goods = []
    for is_zip in (True, False):
        buffer = io.BytesIO()
        torch.save(values, buffer, _use_new_zipfile_serialization=is_zip)
        goods.append(buffer.getvalue())

    def mutate(data: bytes, random: Random, other: bytes) -> bytes:
        if not data.startswith(b"PK") or random.random() < 0.3:
            return mutated(data, random, other)
        result = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as good, zipfile.ZipFile(result, "w") as changed:
            names = good.namelist()
            chosen = next(name for name in names if name.endswith("data.pkl"))
            if random.random() < 0.2:
                chosen = random.choice(names)
            for name in names:
                content = good.read(name)
                changed.writestr(name, mutated(content, random) if name == chosen else content)
        return result.getvalue()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        state = read_state_dict(path)
        _ = convert(state, model.state_dict(), model_formats("both", model.state_dict(), None), new_head=True).problems
        load_weights(model, load_checkpoint(path).evaluated, str(path))

    return Target(goods=goods, mutate=mutate, read=read, names=(path.name,))


def recipe(folder: Path) -> Target:
    """The recipes that come with the package, for a command of each program."""
    path, words = (
        folder / "recipe.yaml",
        {
            "epam-data build": ["--out", "x", "--raw.videos", "x", "--raw.skeletons", "x"],
            "epam-data check": ["--shards", "x"],
            "epam-model train": ["--shards", "x", "--out", "x"],
        },
    )
    of = {"epam-data": DATA_COMMANDS, "epam-model": MODEL_COMMANDS}
    commands = {name: of[name.partition(" ")[0]][name.rpartition(" ")[2]].load()[0] for name in words}

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for name, command in commands.items():
            parse_command(command, name, [str(path), *words[name]])

    goods = [each.read_bytes() for each in sorted(PIPELINES.glob("*.yaml"))]
    return Target(goods=goods, mutate=mutated, read=read, names=(path.name, *words))


def lock(folder: Path) -> Target:
    """A lock that somebody left, here or on another machine."""
    folder_lock.STALE_SECONDS = 0.3  # else each on another machine would be waited for
    path = folder / "lock"
    with FolderLock(folder):
        mine = path.read_bytes()
    others = json.dumps({**json.loads(mine), "host": "elsewhere"}).encode()
    gone = json.dumps({**json.loads(mine), "born": "1"}).encode()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        live_holders(folder)
        with FolderLock(folder):
            live_holders(folder)

    return Target(goods=[others, gone], mutate=mutated_json, read=read, names=(str(folder),))


def receipts(folder: Path) -> Target:
    """The notes of a build that was made elsewhere, or stopped: it goes on, and gives the same bytes or refuses."""
    raw, out = write_ntu60(folder / "raw", 3, 1), folder / "out"
    plan = ntu60_plan(raw, out)
    build(plan)
    work = out / WORK_FOLDER
    kept = {path: path.read_bytes() for path in (*sorted((work / "receipts").iterdir()), work / "inputs.json")}
    shutil.copytree(out, folder / "good")
    good = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}

    def mutate(data: bytes, random: Random, other: bytes) -> bytes:
        chosen = random.choice(sorted(kept))
        return pickle.dumps((chosen, mutated_json(kept[chosen], random, kept[random.choice(sorted(kept))])))

    def read(data: bytes) -> None:
        shutil.rmtree(out)
        shutil.copytree(folder / "good", out)
        path, content = pickle.loads(data)
        path.write_bytes(content)
        build_status(str(out))
        build(plan)
        found = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        assert found == good, [name for name in {**found, **good} if found.get(name) != good.get(name)]

    unchanged = sorted(kept)[0]
    return Target(goods=[pickle.dumps((unchanged, kept[unchanged]))], mutate=mutate, read=read, names=(str(out),))


KINDS: dict[str, Callable[[Path], Target]] = {
    "pickle of NTU60": lambda folder: skeletons(folder, "ntu60"),
    "pickle of MA-52": lambda folder: skeletons(folder, "ma52"),
    "manifest": manifest,
    "problems": problems,
    "index": index,
    "tar": tar,
    "members": members,
    "checkpoint": checkpoint,
    "recipe": recipe,
    "lock": lock,
    "receipts": receipts,
}
