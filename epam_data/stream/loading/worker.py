"""The loader's worker program: fills slots until the parent closes the pipe."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection

from epam_data.stream.loading.slots import SharedSlots
from epam_data.system.child_process import end_with_parent


def serve() -> None:
    """Answer tasks: (slot, task) in, (slot, succeeded, value or error) out."""
    descriptor, parent = map(int, sys.argv[1:])
    # A cluster may send these to every process of a job, but only the parent decides when to stop.
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(parent)
    pipe = Connection(descriptor)
    try:
        slots = SharedSlots(*pipe.recv())
        source = pipe.recv()
        while True:
            slot, task = pipe.recv()
            try:
                answer = (slot, True, source.fill(task, slots.arrays(slot)))
            # Errors of the data or its storage. Anything else is a bug and ends this process.
            except (ValueError, OSError) as error:
                answer = (slot, False, error)
            pipe.send(answer)
    except (EOFError, ConnectionError):
        return
