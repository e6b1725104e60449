"""A program with commands: its table, exit codes, and what it logs. Both of our programs run through here.

The table names each command's dataclass and function as text: they are imported when the command is asked for, so that
the others, and `--help`, start without what it needs.
"""

from __future__ import annotations

import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epam_data.recipe import ConfigError, parse_command
from epam_data.system.child_process import import_path
from epam_data.system.executors import WorkersDiedError
from epam_data.system.printable import printable_lines

PACKAGES = ("epam_data", "epam_model")
"""Their loggers are shown."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of a program's table of commands."""

    summary: str
    """One line for the program's help: the first line of the dataclass's docstring."""
    command: str
    """`module:Class` of the dataclass that holds its options."""
    function: str
    """`module:function` that runs it: takes the dataclass, returns the exit code."""
    positionals: tuple[str, ...] = ()
    """Fields that words without a key fill, in order."""
    takes_argv: bool = False
    """The function also gets all words of the command line."""

    def load(self) -> tuple[type[Any], Callable[..., int]]:
        """Import the dataclass and the function."""
        return pkgutil.resolve_name(self.command), pkgutil.resolve_name(self.function)


CommandTable = Mapping[str, Entry]


def run_command(prog: str, commands: CommandTable, argv: Sequence[str]) -> int:
    """Parse and run one of `commands`, and turn what may go wrong into one line and an exit code.

    Args:
        prog: name of the console script.
        commands: by name.
        argv: the command's name and its arguments. Every command takes `--verbose`, `--quiet` and
            `--allow-code-here`, too.

    Returns:
        What the function returns; 2 for input or files that cannot be used; 1 if the work itself failed; 130 after
        Ctrl-C.
    """
    if not argv or argv[0] not in commands:
        return _show_commands(prog, commands, argv)
    name = f"{prog} {argv[0]}"
    try:
        return _parse_and_run(name, commands[argv[0]], argv)
    except ConfigError as error:
        print(printable_lines(str(error)), file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough; what Python would still flush goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:  # OSError: no permission, disk full, a file where a folder should be
        print(printable_lines(f"{name}: {error}"), file=sys.stderr)
        return 2
    except (WorkersDiedError, FloatingPointError) as error:
        print(printable_lines(f"{name}: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:  # its text, if any, says what to do now
        print(f"\n{name}: interrupted; {str(interrupt) or 'rerun the same command to continue'}", file=sys.stderr)
        return 130


def _parse_and_run(name: str, entry: Entry, argv: Sequence[str]) -> int:
    words = [word for word in argv[1:] if word not in ("--quiet", "--verbose", "--allow-code-here")]
    level = logging.WARNING if "--quiet" in argv else logging.DEBUG if "--verbose" in argv else logging.INFO
    with _importing_from(here="--allow-code-here" in argv), logs_on_stderr(level):
        command, function = entry.load()
        settings = parse_command(command, name, words, entry.positionals)
        _log.debug("%s", settings)
        return function(settings, argv) if entry.takes_argv else function(settings)


@contextmanager
def _importing_from(*, here: bool) -> Iterator[None]:
    """Inside, modules are found in the current folder only if the user wants that: strangers' files may lie there.

    `python -m`, and an empty entry of PYTHONPATH, put that folder on the path.
    """
    before = sys.path[:]
    sys.path[:] = [*before, str(Path.cwd())] if here else import_path()
    try:
        yield
    finally:
        sys.path[:] = before


class _PrintableFormatter(logging.Formatter):
    """Plain lines, without what names and texts of strangers could do to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return printable_lines(super().format(record))


@contextmanager
def logs_on_stderr(level: int) -> Iterator[None]:
    """Show what our packages log, as plain lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter())
    loggers = [logging.getLogger(package) for package in PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)


def _show_commands(prog: str, commands: CommandTable, argv: Sequence[str]) -> int:
    wants_help = bool(argv) and argv[0] in ("-h", "--help")
    lines = [f"{prog}: unknown command {argv[0]!r}"] if argv and not wants_help else []
    lines.append(f"usage: {prog} COMMAND [RECIPE.yaml] [--key value ...]")
    lines += [f"  {name:<10} {entry.summary}" for name, entry in commands.items()]
    lines.append(f"  {prog} COMMAND --help explains its options; --verbose logs details, --quiet only warnings")
    print("\n".join(lines), file=sys.stdout if wants_help else sys.stderr)
    return 0 if wants_help else 2
