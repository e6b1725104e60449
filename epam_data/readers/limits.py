"""Read skeleton files of strangers in a process of its own, whose memory and time depend on the size of the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from epam_data.schema import Clip, Problem
from epam_data.system.isolated import CallFailedError, IsolatedProcess

Result = TypeVar("Result")

_LEAST_BYTES, _BYTES_PER_BYTE = 700_000_000, 8  # lists of numbers take more memory than bytes in a file
_LEAST_STORED_BYTES, _STORED_BYTES_PER_BYTE = 200_000_000, 16  # 6 for small integers without scores
_LEAST_SECONDS, _BYTES_PER_SECOND = 120.0, 1_000_000  # of a slow disk


def read_with_limits(files: Sequence[Path], function: Callable[..., Result], *arguments: Any) -> Result:
    """What `function(*arguments)` returns, called in a process that ends afterwards.

    The process may use 700 MB and 8 bytes per byte of the files, and two minutes and a second per megabyte.

    Args:
        files: what the function reads.
        function: of a module, not nested; its arguments and its result travel by pickle.
        arguments: of the function.

    Raises:
        ValueError: the function needs more than the limits, or its process died.
        Exception: whatever the function raises.
    """
    num_bytes = _size(files)
    memory_bytes = _LEAST_BYTES + _BYTES_PER_BYTE * num_bytes
    seconds = _LEAST_SECONDS + num_bytes / _BYTES_PER_SECOND
    process = IsolatedProcess(timeout_seconds=seconds, memory_bytes=memory_bytes, does="reading")
    try:
        result: Result = process.call(function, *arguments)
        return result
    except (CallFailedError, MemoryError) as error:
        names = ", ".join(path.name for path in files)
        why = str(error) or f"more than {memory_bytes / 1e6:.0f} MB of memory are needed"
        raise ValueError(f"{names}: cannot be read ({why}); is it a file of skeletons?") from error
    finally:
        process.close()


def stored_with_limits(records: Iterable[Clip | Problem], files: Sequence[Path]) -> Iterator[Clip | Problem]:
    """The records, as long as their numbers fit what the files can hold: many records may name the same array.

    Args:
        records: what was read from the files.
        files: the files.

    Raises:
        ValueError: the keypoints and scores take over 200 MB and 16 bytes for each byte of the files.
    """
    most, num_bytes = _LEAST_STORED_BYTES + _STORED_BYTES_PER_BYTE * _size(files), 0
    for record in records:
        if isinstance(record, Clip):
            num_bytes += record.keypoints.nbytes + record.scores.nbytes
            if num_bytes > most:
                names = ", ".join(path.name for path in files)
                raise ValueError(f"{names}: records hold over {most / 1e6:.0f} MB of numbers; do they share arrays?")
        yield record


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.is_file())
