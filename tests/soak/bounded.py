"""Give mutated files to what reads them, in a process that is bounded in memory and time, and note what came of each.

A process takes many mutations in turn and writes a line about each. If it dies or hangs, the mutation that it was at is
to blame, and another process goes on behind it.
"""

import json
import resource
import select
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.paths import ROOT

MOST_BYTES = 1_000_000_000
"""What reading one mutated file may take."""

_LIMIT_BYTES = MOST_BYTES + 500_000_000
_START_SECONDS, _SECONDS = 120.0, 60.0

ACCEPTED, REFUSED = "accepted", "refused"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Good files of one kind, ways to harm them, and what reads them."""

    goods: list[bytes]
    mutate: Callable[[bytes, Random, bytes], bytes]  # (a good file, random numbers, another good file)
    read: Callable[[bytes], Any]  # writes the file and reads it by what the commands read it with
    names: tuple[str, ...]  # an error must contain one of them


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one mutation."""

    number: int
    what: str  # ACCEPTED, REFUSED, or what is wrong
    text: str = ""


def run_mutations(
    table: str, kind: str, folder: Path, seed: int, count: int, seconds_each: float = _SECONDS
) -> Iterator[Outcome]:
    """The outcome of each mutation 0 ... `count` - 1 of a kind.

    Args:
        table: module with a dict `KINDS` of functions folder -> `Target`.
        kind: key of the table.
        folder: for the files; it is created.
        seed: with kind and number, it decides the mutation.
        count: how many.
        seconds_each: what takes longer hangs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number, starts = 0, 0
    while number < count:
        starts += 1
        arguments = (table, kind, str(folder / str(starts)), seed, number, count)
        code = f"from tests.soak.bounded import serve; serve{arguments!r}"
        with (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, bufsize=0
            )
        assert process.stdout is not None
        with process:
            seconds = _START_SECONDS  # until the first line
            while select.select([process.stdout], [], [], seconds)[0] and (line := process.stdout.readline()):
                outcome = Outcome(**json.loads(line))
                if outcome.number >= number:
                    yield outcome
                number, seconds = outcome.number + 1, seconds_each
            hangs = process.poll() is None and not select.select([process.stdout], [], [], 0)[0]
            process.kill()
        if number < count:
            why = f"took over {seconds} s" if hangs else f"the process ended with {process.wait()}"
            yield Outcome(number=number, what=why, text=(folder / "stderr").read_text(errors="replace")[-1000:])
            number += 1


def mutation(target: Target, kind: str, seed: int, number: int) -> bytes:
    """The bytes of a mutation."""
    random = Random(f"{kind} {seed} {number}")
    good = random.choice(target.goods)
    return target.mutate(good, random, random.choice(target.goods))


def serve(table: str, kind: str, folder: str, seed: int, start: int, stop: int) -> None:
    """The bounded process: a line for each mutation."""
    from importlib import import_module

    Path(folder).mkdir()
    target: Target = import_module(table).KINDS[kind](Path(folder))
    for good in target.goods:
        target.read(good)  # or else every mutation would be refused
    limit = _vm("VmData") + _LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for number in range(start, stop):
        data = mutation(target, kind, seed, number)
        before = _forget_peak()
        what, text = _outcome(target, data)
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        peak = max(_vm("VmHWM") - before, children)
        if peak > MOST_BYTES:
            what, text = f"took {peak / 1e6:.0f} MB", f"{what}: {text}"
        print(json.dumps({"number": number, "what": what, "text": text}), flush=True)


def _outcome(target: Target, data: bytes) -> tuple[str, str]:
    try:
        target.read(data)
    except (ValueError, OSError) as error:
        text = str(error)
        if not any(name in text for name in target.names):
            return "the error does not name the file", f"{type(error).__name__}: {text[:300]}"
        if len(text) > 3000:
            return f"an error of {len(text)} characters", text[:300]
        return REFUSED, text[:300]
    except BaseException as error:
        return f"raised {type(error).__name__}", "".join(traceback.format_exception(error))[-1500:]
    return ACCEPTED, ""


def _vm(name: str) -> int:
    """A number of /proc/self/status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _forget_peak() -> int:
    """Let the peak of the memory begin again; returns what is in use."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _vm("VmRSS")
