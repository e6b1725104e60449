import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from epam_data.cli import COMMANDS as DATA_COMMANDS
from epam_data.commands import program
from epam_data.commands.program import Entry, run_command
from epam_data.system.executors import WorkersDiedError
from epam_model.cli import COMMANDS as MODEL_COMMANDS


@dataclass(frozen=True, kw_only=True)
class BakeCommand:
    """Bake a cake from raw eggs."""

    out: Path
    """Where to."""
    layers: int = 3


def bake_command(command: BakeCommand) -> int:
    """Replaced by the tests."""
    raise NotImplementedError


HERE = "tests.data.commands.test_program"
TABLE = {"bake": Entry(summary="Bake a cake.", command=f"{HERE}:BakeCommand", function=f"{HERE}:bake_command")}
GOOD = ("bake", "--out", "o")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    def run_with(function, *argv: str) -> int:
        monkeypatch.setattr(Entry, "load", lambda self: (BakeCommand, function))
        return run_command("kitchen", TABLE, argv)

    return run_with


def raising(error: BaseException):
    def function(command: BakeCommand) -> int:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("an egg is rotten"), 2, "kitchen bake: an egg is rotten\n"),
        (OSError(28, "No space left on device"), 2, "kitchen bake: [Errno 28] No space left on device\n"),
        (FloatingPointError("the loss is not finite"), 1, "kitchen bake: the loss is not finite\n"),
        (WorkersDiedError("all cooks left"), 1, "kitchen bake: all cooks left\n"),
        (KeyboardInterrupt(), 130, "\nkitchen bake: interrupted; rerun the same command to continue\n"),
        (KeyboardInterrupt("warm it up"), 130, "\nkitchen bake: interrupted; warm it up\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(run, capsys, error: BaseException, code: int, said: str):
    assert run(raising(error), *GOOD) == code
    assert capsys.readouterr().err == said


def test_a_bug_is_no_line():
    with pytest.raises(NotImplementedError):
        run_command("kitchen", TABLE, GOOD)


def test_the_function_decides_about_the_exit_code(run):
    assert run(lambda command: command.layers, *GOOD, "--layers", "7") == 7


def test_unusable_words_never_reach_the_function(run, capsys):
    assert run(raising(AssertionError()), "bake", "--outt", "o") == 2
    assert "kitchen bake: unknown key 'outt'; did you mean 'out'?" in capsys.readouterr().err
    assert run(raising(AssertionError()), "cook") == 2
    assert "kitchen: unknown command 'cook'" in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), ([], 2)])
def test_the_help_lists_the_commands(run, capsys, argv: list[str], code: int):
    assert run(raising(AssertionError()), *argv) == code
    captured = capsys.readouterr()
    assert "  bake       Bake a cake.\n" in (captured.err if code else captured.out)


def test_the_help_shows_the_options_of_every_command(run, capsys):
    run(raising(AssertionError()), "--help")
    assert "--verbose logs details, --quiet only warnings" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run(raising(AssertionError()), "bake", "--help")
    assert "[--verbose | --quiet]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ([], "info\nwarning\n"),
        (["--quiet"], "warning\n"),
        (["--verbose"], "BakeCommand(out=PosixPath('o'), layers=3)\ndebug\ninfo\nwarning\n"),
    ],
)
@pytest.mark.parametrize("package", program.PACKAGES)
def test_what_is_logged_is_shown_by_level_as_plain_lines(run, capsys, option: list[str], shown: str, package: str):
    def bake(command: BakeCommand) -> int:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(f"{package}.oven").log(level, logging.getLevelName(level).lower())
        return 0

    assert run(bake, *GOOD, *option) == 0
    assert capsys.readouterr().err == shown
    assert run(lambda command: 0, *GOOD) == 0
    logging.getLogger(package).info("nobody sees it behind a command")
    assert capsys.readouterr().err == "" and not logging.getLogger(package).handlers


def test_a_function_may_see_the_words(monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    monkeypatch.setattr(Entry, "load", lambda self: (BakeCommand, lambda command, argv: seen.extend(argv) or 0))
    entry = Entry(summary="Bake.", command="", function="", takes_argv=True)
    assert run_command("kitchen", {"bake": entry}, [*GOOD, "--quiet"]) == 0
    assert seen == [*GOOD, "--quiet"]


@pytest.mark.parametrize("name", [*DATA_COMMANDS, *MODEL_COMMANDS])
def test_the_table_is_true(name: str):
    entry = {**DATA_COMMANDS, **MODEL_COMMANDS}[name]
    command, function = entry.load()
    assert (command.__doc__ or "").splitlines()[0] == entry.summary
    assert function.__name__ == f"{name}_command"
    assert set(entry.positionals) <= set(command.__dataclass_fields__)


def test_texts_of_strangers_move_no_cursor(run, capsys):
    def bake(command: BakeCommand) -> int:
        logging.getLogger("epam_data").warning("%s is damaged", "\x1b[2Jclip")
        raise ValueError("\x1b]0;title\x07\nis no name")

    assert run(bake, *GOOD) == 2
    assert capsys.readouterr().err == "\\x1b[2Jclip is damaged\nkitchen bake: \\x1b]0;title\\x07\nis no name\n"
