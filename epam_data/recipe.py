"""Recipes: a YAML file and overrides from the command line become one typed, checked dataclass per command.

A command is a frozen dataclass: its fields are options and sections of a recipe (dataclasses themselves). argparse
reads the command line, pydantic checks all values, and the docstrings under the fields are the help.
"""

from __future__ import annotations

import difflib
import logging
from argparse import SUPPRESS, ArgumentError, ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from epam_data.system.checked_fields import allowed, field_kinds
from epam_data.system.printable import brief

_log = logging.getLogger(__name__)

Command = TypeVar("Command")

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
"""What a recipe may contain. Each command checks and uses its own sections and ignores the others."""

FLAT = {"flat": True}
"""`field(metadata=FLAT)`: the keys of this section are written without its name, as `--workers`."""


class ConfigError(ValueError):
    """A recipe or a command line that cannot be used; the message lists every error, one a line."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A value that a recipe or the command line can set."""

    owner: type[Any]  # the dataclass whose field it is
    path: tuple[str, ...]  # names of the fields that lead to it from the command
    kind: Any  # its type
    default: Any  # MISSING: it is required

    @property
    def type_name(self) -> str:
        """Its type as users read it."""
        return _type_name(self.kind)


def _type_name(kind: Any) -> str:
    """As "int >= 1", "cpu|cuda", "tuple[float, ...]", "str | None"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "|".join(map(str, parts))
    if origin is Annotated:
        return f"{_type_name(parts[0])} {allowed(kind)}"
    if kind in (bool, NoneType, Ellipsis):
        return {bool: "true|false", NoneType: "null", Ellipsis: "..."}[kind]
    names = [_type_name(part) for part in parts]
    if origin in (tuple, list):
        return f"{origin.__name__}[{', '.join(names)}]"
    return " | ".join(names) or str(kind.__name__)


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
    keys = recipe_keys(command)
    words = "".join(f"[{name.upper()}] " for name in positionals)
    parser = ArgumentParser(
        usage=f"{prog} [RECIPE.yaml] {words}[--key value ...] [--verbose | --quiet]",
        description=command.__doc__,
        argument_default=SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
    )
    wants_help = bool({"-h", "--help"} & set(argv))
    if wants_help or (not argv and any(key.default is MISSING for key in keys.values())):
        _print_help(parser, keys)
        raise SystemExit(0 if wants_help else 2)
    given: dict[str, Any] = {}
    if argv and argv[0].endswith((".yaml", ".yml")):
        given, argv = _recipe_values(argv[0], keys), argv[1:]
    given |= _argv_values(parser, argv, keys, positionals)
    errors = _unknown(given, keys)
    made, refused = _make(command, keys, given)
    if errors + refused:
        raise ConfigError("\n".join(f"{prog}: {error}" for error in errors + refused))
    return made  # type: ignore[no-any-return]


def recipe_keys(command: type[Any], made: Any = None, path: tuple[str, ...] = (), prefix: str = "") -> dict[str, Key]:
    """All keys of a command or a section, by the name that users write, as `prepare.sigma_px`.

    Args:
        command: the dataclass.
        made: for a section: an instance with the defaults; None: those of the class.
        path: for a section: the fields that lead to it.
        prefix: for a section: what its keys begin with.
    """
    keys: dict[str, Key] = {}
    kinds = field_kinds(command)
    for field in fields(command):
        kind, inner = kinds[field.name], (*path, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if made is not None:
            default = getattr(made, field.name)
        if is_dataclass(kind):
            section = None if default is MISSING else default
            keys |= recipe_keys(kind, section, inner, prefix if field.metadata == FLAT else f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            keys[prefix + field.name] = Key(owner=command, path=inner, kind=kind, default=default)
    return keys


def _find_recipe(path: str) -> Path:
    """The file of that name; if there is none, the `NAME.yaml` or `pipelines/NAME.yaml` that epam comes with."""
    named, package = Path(path), Path(__file__).parent
    if named.exists():
        return named
    # A wheel puts the recipes into the package (setup.py); in the repository they lie beside it.
    folder = next((place for place in (package, package.parent) if (place / "pipelines").is_dir()), package)
    found = folder / "pipelines" / named.name
    if named.parent in (Path(), Path("pipelines")) and found.is_file():
        _log.warning("recipe: %s", found)
        return found
    names = ", ".join(sorted(recipe.name for recipe in found.parent.glob("*.yaml")))
    raise ConfigError(f"{path}: no such recipe; epam comes with {names}")


def _recipe_values(path: str, keys: Mapping[str, Key]) -> dict[str, Any]:
    """The values of the recipe that belong to this command, and those that belong to none."""
    from epam_data.system.safe_yaml import load_yaml_file  # slow to import, and --help needs none

    try:
        recipe = load_yaml_file(_find_recipe(path), path) or {}
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    if not isinstance(recipe, dict):
        raise ConfigError(f"{path}: a recipe must be a table of sections, got {type(recipe).__name__}")
    foreign = set(RECIPE_SECTIONS) - {key.partition(".")[0] for key in keys}
    return dict(_flatten({name: value for name, value in recipe.items() if name not in foreign}))


def _flatten(table: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _argv_values(
    parser: ArgumentParser, argv: Sequence[str], keys: Mapping[str, Key], positionals: Sequence[str]
) -> dict[str, Any]:
    for name, key in keys.items():
        parser.add_argument(f"--{name}", nargs="+" if get_origin(key.kind) in (tuple, list) else None)
    try:
        known, others = parser.parse_known_args(_with_values(argv, keys))
    except ArgumentError as error:
        raise ConfigError(f"{error.argument_name} needs a value") from None
    unknown = [word[2:].partition("=")[0] for word in others if word.startswith("--")]
    words = [] if unknown else others  # behind an unknown key, a word may be its value
    if len(words) > len(positionals):
        raise ConfigError(f"unexpected argument {words[len(positionals)]!r}; options are written --key value")
    given = {name: _from_words(value, keys[name].kind) for name, value in vars(known).items()}
    return given | dict(zip(positionals, words, strict=False)) | dict.fromkeys(unknown)


def _with_values(argv: Sequence[str], keys: Mapping[str, Key]) -> list[str]:
    """For argparse, every option has a value: `--resume` becomes `--resume=true`, and `--dry-run` `--dry_run=true`."""
    words: list[str] = []
    flags = {f"--{name}" for name, key in keys.items() if key.kind is bool}
    for word in argv:
        if words and words[-1] in flags:
            is_value = word.lower() in ("true", "false")
            words[-1] += f"={word if is_value else 'true'}"
            if is_value:
                continue
        name, equals, value = word.partition("=")
        words.append(f"--{name[2:].replace('-', '_')}{equals}{value}" if word.startswith("--") else word)
    return [f"{word}=true" if word in flags else word for word in words]


def _from_words(value: str | list[str], kind: Any) -> Any:
    if value == "null" and type(None) in get_args(kind):
        return None
    if isinstance(value, list) and len(value) == 1 and value[0].startswith("["):  # as in a recipe: --key '[a, b]'
        from epam_data.system.safe_yaml import load_yaml

        return load_yaml(value[0], "a list")
    return value


def _unknown(given: dict[str, Any], keys: Mapping[str, Key]) -> list[str]:
    """Take the keys out of `given` that do not exist; returns what is wrong with them."""
    errors = []
    sections = {key.partition(".")[0] for key in keys} | set(RECIPE_SECTIONS)
    for name in [name for name in given if name not in keys]:
        value, section = given.pop(name), name.partition(".")[0]
        if any(key.startswith(f"{name}.") for key in keys):
            if value is not None:  # an empty section (all its lines commented out) sets nothing
                errors.append(f"{name} is a section, got the value {brief(value)}")
            continue
        wrong, known = (name, keys) if section in sections else (section, sections)
        near = difflib.get_close_matches(wrong, sorted(known), n=1, cutoff=0.5)
        errors.append(f"unknown key {wrong!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return errors


def _make(command: type[Any], keys: Mapping[str, Key], given: dict[str, Any]) -> tuple[Any, list[str]]:
    """The command, or None and everything that is wrong with the values."""
    from pydantic import TypeAdapter, ValidationError

    tree: dict[str, Any] = {}
    for name, key in keys.items():
        branch = tree
        for section in key.path[:-1]:
            branch = branch.setdefault(section, {})
        value = given.get(name, key.default)
        if value is not MISSING:
            is_home = isinstance(value, str) and value.startswith("~/")  # a shell expands it, YAML does not
            branch[key.path[-1]] = str(Path(value).expanduser()) if is_home else value
    try:
        return TypeAdapter(command).validate_python(tree), []
    except ValidationError as refused:
        names, errors = {key.path: name for name, key in keys.items()}, []
        for error in refused.errors():
            path = tuple(map(str, error["loc"]))  # of a value, or of a part of it
            name = next((names[path[:end]] for end in range(len(path) + 1) if path[:end] in names), "")
            if not name:  # a section, or the command itself: its own check
                errors.append(str(error["ctx"]["error"]))
            elif error["type"] == "missing":
                errors.append(f"{name} is required: give --{name} or set it in the recipe")
            elif error["type"] == "literal_error":
                errors.append(f"{name} must be {allowed(keys[name].kind)}, got {brief(error['input'])}")
            elif error["type"].startswith(("greater_than", "less_than", "multiple_of")):
                errors.append(f"{name} must be {allowed(keys[name].kind)}, got {error['input']}")
            else:
                errors.append(f"{name} must be {keys[name].type_name}, got {brief(given[name])}")
        return None, list(dict.fromkeys(errors))  # a union reports each of its types


def _print_help(parser: ArgumentParser, keys: Mapping[str, Key]) -> None:
    from docstring_parser import parse_from_object

    owners = {key.owner for key in keys.values()}
    texts = {(owner, each.arg_name): each.description for owner in owners for each in parse_from_object(owner).params}
    groups: dict[str, Any] = {"": parser}
    for name, key in keys.items():
        section = name.rpartition(".")[0]
        if section not in groups:
            about = (key.owner.__doc__ or "").splitlines()[0].rstrip(".")
            groups[section] = parser.add_argument_group(f"{section}: {about}")
        default = " ".join(map(str, key.default)) if isinstance(key.default, tuple | list) else key.default
        default = str(default).lower() if isinstance(default, bool) else default
        note = "required" if key.default is MISSING else f"default: {'none' if default in (None, '') else default}"
        text = f"{texts.get((key.owner, key.path[-1])) or ''} ({note})".strip()
        groups[section].add_argument(f"--{name}", metavar=key.type_name, help=text.replace("%", "%%"))
    parser.print_help()
