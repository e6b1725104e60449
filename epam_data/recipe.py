"""Recipes: a YAML file and overrides from the command line become one typed, checked dataclass per command.

A command is a frozen dataclass: its fields are the sections of a recipe (dataclasses themselves) and the options of the
command line. jsonargparse turns their types and docstrings into parsing and `--help`; this file adds what it lacks: a
recipe that several commands share, and all errors at once, unknown keys with the nearest valid name.
"""

from __future__ import annotations

import difflib
import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from epam_data.system.executors import WorkersDiedError

Command = TypeVar("Command")
CommandTable = dict[str, tuple[type[Any], Callable[[Any], int], tuple[str, ...]]]

RECIPE_SECTIONS = (
    "dataset",
    "synth",
    "raw",
    "prepare",
    "shard",
    "limits",
    "pilot",
    "check",
    "stream",
    "model",
    "train",
)
"""What a recipe may hold. Each command checks and takes the sections that it has, and passes over the others."""

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class ConfigError(ValueError):
    """A recipe or a command line that cannot be used; the message lists every error, one a line."""


def parse_command(command: type[Command], prog: str, argv: Sequence[str], positionals: Sequence[str] = ()) -> Command:
    """Make a command from its recipe and the command line.

    Args:
        command: a frozen dataclass; its docstring is the help text.
        prog: the name to show in help and errors.
        argv: arguments: a recipe (a first word that ends in .yaml or .yml), then words for `positionals`, and
            `--key value`, `--section.key value` or `--key=value` anywhere. Flags may stand alone (`--resume`), lists
            take several words (`--only A B`).
        positionals: fields that words without a key fill, in order.

    Raises:
        ConfigError: unknown keys, wrong types, values out of range, or required keys that are absent: all of them.
        SystemExit: after `--help`.
    """
    parser = ArgumentParser(
        prog=prog,
        description=command.__doc__,
        exit_on_error=False,
        allow_abbrev=False,
        usage=_usage(prog, positionals),
    )
    parser.add_class_arguments(command, as_group=False)
    if (not argv and _required(command)) or {"-h", "--help"} & set(argv):
        parser.print_help()
        raise SystemExit(0 if argv else 2)
    leaves = dict(_leaf_types(command))
    values = {**_recipe_values(command, argv), **_argv_values(argv, leaves, positionals)}
    errors = _unknown(values, leaves) + _mistyped(values, leaves) + _absent(command, values)
    if not errors:
        made = _instantiate(command, parser.parse_object(_nested(values)), errors)
        if not errors:
            return made  # type: ignore[no-any-return]
    raise ConfigError("\n".join(f"{prog}: {error}" for error in errors))


def _usage(prog: str, positionals: Sequence[str]) -> str:
    return f"{prog} [RECIPE.yaml] {''.join(f'[{name.upper()}] ' for name in positionals)}[--key value ...]"


def _leaf_types(command: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, type) of every value that can be set."""
    for name, kind in get_type_hints(command).items():
        if is_dataclass(kind):
            yield from _leaf_types(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def _required(command: Any, prefix: str = "") -> list[str]:
    hints, names = get_type_hints(command), []
    for field in fields(command):
        if field.default is MISSING and field.default_factory is MISSING:
            kind = hints[field.name]
            names += _required(kind, f"{prefix}{field.name}.") if is_dataclass(kind) else [prefix + field.name]
    return names


def _recipe_values(command: Any, argv: Sequence[str]) -> dict[str, Any]:
    """The leaves of the recipe that belong to this command, and those that belong to none."""
    if not argv or not argv[0].endswith((".yaml", ".yml")):
        return {}
    try:
        recipe = yaml.safe_load(Path(argv[0]).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(f"{argv[0]}: no such recipe") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{argv[0]}: no YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ConfigError(f"{argv[0]}: a recipe is a table of sections, got {type(recipe).__name__}")
    own = set(get_type_hints(command)) & set(RECIPE_SECTIONS)
    # An empty section (all its lines commented out) says nothing.
    said = {key: value for key, value in recipe.items() if value is not None}
    return dict(_flatten({key: said[key] for key in said if key in own or key not in RECIPE_SECTIONS}))


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _argv_values(argv: Sequence[str], leaves: dict[str, Any], positionals: Sequence[str]) -> dict[str, Any]:
    words = list(argv[1:] if argv and argv[0].endswith((".yaml", ".yml")) else argv)
    values: dict[str, Any] = {}
    free = list(positionals)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            if not free:
                raise ConfigError(f"unexpected argument {word!r}; options are written --key value")
            values[free.pop(0)] = word
            continue
        key, equals, value = word[2:].partition("=")
        key = key.replace("-", "_")  # --max-failures reads like other tools' options
        if equals:
            values[key] = value
        elif leaves.get(key) is bool and (not words or words[0].lower() not in ("true", "false")):
            values[key] = True
        elif words and not words[0].startswith("--"):
            values[key] = words.pop(0)
            if get_origin(leaves.get(key)) is tuple:  # --only KEY KEY ...: all words up to the next option
                values[key] = [values[key]]
                while words and not words[0].startswith("--"):
                    values[key].append(words.pop(0))
        else:
            raise ConfigError(f"--{key} needs a value")
    return values


def _unknown(values: dict[str, Any], leaves: dict[str, Any]) -> list[str]:
    errors = []
    sections = {leaf.partition(".")[0] for leaf in leaves} | set(RECIPE_SECTIONS)
    for key in values:
        section = key.partition(".")[0]
        if key not in leaves:
            wrong, known = (key, leaves) if section in sections else (section, sections)
            near = difflib.get_close_matches(wrong, sorted(known), n=1, cutoff=0.5)
            errors.append(f"unknown key {wrong!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return errors


def _mistyped(values: dict[str, Any], leaves: dict[str, Any]) -> list[str]:
    errors = []
    for key, value in values.items():
        if key in leaves:
            single = ArgumentParser(exit_on_error=False)
            single.add_argument("--value", type=leaves[key])
            try:
                single.parse_object({"value": value})
            except ArgumentError:
                kind = getattr(leaves[key], "__name__", str(leaves[key]))
                errors.append(f"{key} must be {kind}, got {value!r}")
    return errors


def _absent(command: Any, values: dict[str, Any]) -> list[str]:
    return [
        f"{key} is required: give --{key} or set it in the recipe" for key in _required(command) if key not in values
    ]


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = value
    return tree


def _instantiate(command: Any, parsed: Any, errors: list[str]) -> Any:
    """Build the dataclasses from the inside out. Each may refuse its values: all refusals go into `errors`."""
    before = len(errors)
    values = {
        name: _instantiate(kind, parsed[name], errors) if is_dataclass(kind) else parsed[name]
        for name, kind in get_type_hints(command).items()
    }
    if len(errors) > before:  # a section refused: the whole cannot be made, but its brothers have been tried
        return None
    try:
        return command(**values)
    except ValueError as error:
        errors.append(str(error))
        return None


def run_command(prog: str, commands: CommandTable, argv: Sequence[str]) -> int:
    """Parse and run one of `commands`, and turn what may go wrong into one line and an exit code.

    Args:
        prog: name of the console script.
        commands: by name: the command's dataclass, the function that runs it, and its positional fields.
        argv: the command's name and its arguments.

    Returns:
        What the function returns; 2 for input or files that cannot be used; 1 if the work itself failed; 130 after
        Ctrl-C.
    """
    if not argv or argv[0] not in commands:
        lines = [
            f"  {name:<10} {(command.__doc__ or '').splitlines()[0]}" for name, (command, _, _) in commands.items()
        ]
        wants_help = bool(argv) and argv[0] in ("-h", "--help")
        wrong = f"{prog}: unknown command {argv[0]!r}\n" if argv and not wants_help else ""
        usage = "\n".join([f"{wrong}usage: {prog} COMMAND [RECIPE.yaml] [--key value ...]", *lines])
        print(
            f"{usage}\n  {prog} COMMAND --help explains its keys",
            file=sys.stdout if wants_help else sys.stderr,
        )
        return 0 if wants_help else 2
    command, function, positionals = commands[argv[0]]
    try:
        return function(parse_command(command, f"{prog} {argv[0]}", argv[1:], positionals))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{prog} {argv[0]}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough; what Python would still flush goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # no permission, disk full, a file where a folder should be
        print(f"{prog} {argv[0]}: {error}", file=sys.stderr)
        return 2
    except (WorkersDiedError, FloatingPointError) as error:
        print(f"{prog} {argv[0]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{prog} {argv[0]}: interrupted; give the same command again to go on", file=sys.stderr)
        return 130
