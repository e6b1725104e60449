"""Damaged and odd files of every kind, each in a process with limits: an error that names the file, never more."""

import json
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from epam_data.build.output import FolderOutput
from epam_data.build.receipts import read_receipts
from epam_data.check.check import CheckSettings, check
from epam_data.readers.annotations import RawSettings, read_clips
from epam_data.readers.records import as_label
from epam_data.schema import Problem
from epam_data.shards.index import load_index
from epam_data.shards.layout import INDEX, MANIFEST
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import read_shard
from epam_data.stream import Stream
from epam_data.system.executors import ExecutorSettings
from epam_data.system.folder_lock import FolderLock, live_holders
from epam_data.system.safe_yaml import load_yaml_file
from epam_model.networks.recogniser import build_epam
from epam_model.weights.checkpoint import load_checkpoint
from epam_model.weights.weight_file import read_state_dict
from tests.data.raw_data import annotation, person
from tests.model.tiny import STREAM, TinyRecogniser, tiny_trainer, write_shards
from tests.paths import ROOT

pytestmark = pytest.mark.soak

MORE_BYTES, SECONDS = 1_000_000_000, 30
INTERESTING = [0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
CLEAN, OTHER = 3, 4


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three damages: bits, bytes, numbers, pieces that are left out, repeated or moved, an end that is cut."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(changed) + 1)
        kind = rng.randrange(8)
        if not changed:
            break
        at = min(place, len(changed) - 1)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.randrange(256)
        elif kind == 2:
            number = struct.pack(rng.choice("<>") + "Q", rng.choice(INTERESTING))[: rng.choice((1, 2, 4, 8))]
            changed[at : at + len(number)] = number
        elif kind == 3:
            del changed[at : at + rng.randint(1, 64)]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randint(1, 64)] * rng.randint(1, 4)
        elif kind == 5:
            other = rng.randrange(len(changed))
            changed[at : at + 16] = changed[other : other + 16]
        elif kind == 6:
            changed[at:at] = rng.choice((b"\0" * 40, b"[" * 200, b"9" * 300, b"\xff\xfe", b"../../", b"\x1b[2J"))
        else:
            del changed[at:]
    return bytes(changed)


def read_pickle(path: Path) -> None:
    raw = RawSettings(videos=path.parent, skeletons=path)
    problems = [each for each in read_clips(raw, lambda _, fields: as_label(fields)) if isinstance(each, Problem)]
    assert all(len(problem.reason) < 2000 for problem in problems)


def stream_all(path: Path) -> None:
    stream = Stream(path.parent, split="train", settings=STREAM, training=False)
    for _ in stream.epoch():
        pass


def read_manifest(path: Path) -> None:
    load_manifest(path.parent)
    stream_all(path)


def read_index(path: Path) -> None:
    load_index(path.parent, load_manifest(path.parent))


def read_lock(path: Path) -> None:
    live_holders(path.parent)
    with FolderLock(path.parent):
        pass


def read_receipt(path: Path) -> None:
    read_receipts(FolderOutput(path.parents[2]))


def read_tar(path: Path) -> None:
    for _ in read_shard(path):
        pass


def check_all(path: Path) -> None:
    check(path.parent, CheckSettings(sample="all"), ExecutorSettings(workers=0))


Kind = tuple[Path, Callable[[Path], None], float]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """A good file of each kind, how it is read, and its share of the mutations."""
    root = tmp_path_factory.mktemp("fuzz")
    torch.set_num_threads(1)
    shards = write_shards(root / "shards", train=6, val=5, test=5)
    records = [annotation(f"a/{number}", number, person(6, seed=number)[None]) for number in range(4)]
    pickles = []
    for protocol in (2, 4, 5):
        pickles.append(root / f"p{protocol}_train.pkl")
        pickles[-1].write_bytes(pickle.dumps(records, protocol))
    tiny_trainer(shards, root / "run", TinyRecogniser(), epochs=1).fit()
    checkpoint = Path(shutil.copyfile(root / "run" / "last.pt", root / "last.pt"))
    torch.save({"state_dict": dict(list(build_epam(6).state_dict().items())[:20])}, root / "foreign.pth")
    (root / "locks").mkdir()
    holder = {"host": "node17", "pid": 99, "born": "1", "token": "x", "since": "2026-01-02T03:04:05+00:00"}
    (root / "locks" / "lock").write_text(json.dumps(holder))
    os.utime(root / "locks" / "lock", (0, 0))
    receipt = root / "out" / ".build" / "receipts" / "train-000000.json"
    receipt.parent.mkdir(parents=True)
    summary = {"name": "train-000000", "split": "train", "num_bytes": 9, "sha256": "0" * 64, "rows": []}
    receipt.write_text(
        json.dumps({"summary": summary, "problems": [], "fingerprint": "f", "stamp": None, "seconds": 1.0})
    )
    recipe = Path(shutil.copyfile(ROOT / "pipelines" / "ntu60_xsub.yaml", root / "recipe.yaml"))
    tar = shards / "train-000000.tar"
    return {
        **{f"pickle {path.name[1]}": (path, read_pickle, 1.0) for path in pickles},
        "manifest": (shards / MANIFEST, read_manifest, 1.0),
        "index": (shards / INDEX, read_index, 0.4),
        "tar, streamed": (tar, stream_all, 1.5),
        "tar, read": (tar, read_tar, 1.0),
        "tar, checked": (tar, check_all, 0.1),
        "checkpoint": (checkpoint, lambda path: load_checkpoint(path) and None, 0.6),
        "foreign weights": (root / "foreign.pth", lambda path: read_state_dict(path) and None, 0.6),
        "recipe": (recipe, lambda path: load_yaml_file(path) and None, 1.0),
        "lock": (root / "locks" / "lock", read_lock, 0.5),
        "receipt": (receipt, read_receipt, 1.0),
    }


def outcome(path: Path, use: Callable[[Path], None]) -> str:
    """What reading a file comes to in a fork: "read", "refused", or what went wrong."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        os.close(receiver)
        os._exit(_child(path, use, sender))
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        text = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code in (0, CLEAN):
        return "read" if code == 0 else "refused"
    return text or (f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}")


def _child(path: Path, use: Callable[[Path], None], sender: int) -> int:
    signal.alarm(SECONDS)  # SIGALRM ends the process: a hang
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MORE_BYTES, used + MORE_BYTES))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        use(path)
    except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: a LoaderError
        names = (path.name, path.parent.name, path.stem)
        if any(name in str(error) for name in names) and len(str(error)) < 20_000:
            return CLEAN
        os.write(sender, f"does not name the file: {type(error).__name__}: {error}"[:500].encode())
        return OTHER
    except BaseException as error:
        os.write(sender, f"{type(error).__name__}: {error}"[:500].encode())
        return OTHER
    return 0


def test_mutations(kinds: dict[str, Kind], seed: int, full: bool, record_property: Any):
    total = 3_400 if full else 300  # of each of three seeds, or of one
    shares = sum(share for _, _, share in kinds.values())
    bad: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    begun = time.monotonic()
    for name, (path, use, share) in kinds.items():
        good = path.read_bytes()
        assert outcome(path, use) == "read", name
        for number in range(max(round(total * share / shares), 3)):
            data = mutated(good, random.Random(f"{name}/{seed}/{number}"))
            path.write_bytes(data)
            if name == "lock":
                os.utime(path, (0, 0))
            found = outcome(path, use)
            counts[found if found in ("read", "refused") else "bad"] += 1
            if found not in ("read", "refused"):
                bad[f"{name}: {found}"] += 1
                print(f"{name} seed {seed} number {number}: {found}", file=sys.stderr)
            if not path.exists():  # a lock is released
                path.parent.mkdir(exist_ok=True)
        path.write_bytes(good)
    record_property("mutations", sum(counts.values()))
    record_property("refused", counts["refused"])
    print(f"seed {seed}: {dict(counts)} in {time.monotonic() - begun:.0f} s")
    assert not bad, "\n".join(f"{count} x {what}" for what, count in bad.most_common(20))
