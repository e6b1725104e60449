from dataclasses import dataclass, field
from pathlib import Path

import pytest

from epam_data.readers import RawSettings
from epam_data.recipe import ConfigError, parse_command, run_command
from epam_data.samples.settings import PrepareSettings


@dataclass(frozen=True, kw_only=True)
class Bake:
    """Bake a cake from raw eggs."""

    raw: RawSettings
    out: Path
    """Where to."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    fast: bool = False
    """Be quick."""
    layers: int = 3


RAW = ("--raw.videos", "v", "--raw.skeletons=s.pkl")


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "cake.yaml"
        path.write_text(text)
        return str(path)

    return write


def parse(*argv: str, positionals: tuple[str, ...] = ()) -> Bake:
    return parse_command(Bake, "bake", argv, positionals)


def test_the_recipe_is_under_the_command_line(recipe):
    path = recipe("prepare: {sigma_px: 0.7, rgb_size_px: 64}\nraw: {protocol: xsub}\n")
    command = parse(path, *RAW, "--out", "here", "--prepare.rgb_size_px", "96", "--fast")
    assert command == Bake(
        raw=RawSettings(videos=Path("v"), skeletons=Path("s.pkl"), protocol="xsub"),
        out=Path("here"),
        prepare=PrepareSettings(sigma_px=0.7, rgb_size_px=96),
        fast=True,
    )


def test_words_without_a_key_fill_the_positional_fields():
    assert parse("here", *RAW, positionals=("out",)).out == Path("here")
    assert parse(*RAW, "here", "--fast", "false", positionals=("out",)).fast is False


def test_sections_of_other_commands_are_passed_over(recipe):
    assert parse(recipe("model: {anything: 1}\ntrain: {x: 2}\n"), *RAW, "--out", "o").layers == 3


def test_all_errors_come_at_once_with_the_nearest_names(recipe):
    path = recipe("prepare: {rgb_sise_px: 64, box_padding: much}\nmodle: {a: 1}\n")
    with pytest.raises(ConfigError) as caught:
        parse(path, "--prepare.sigma", "1", "--layers", "two")
    assert str(caught.value).splitlines() == [
        "bake: unknown key 'prepare.rgb_sise_px'; did you mean 'prepare.rgb_size_px'?",
        "bake: unknown key 'modle'; did you mean 'model'?",
        "bake: unknown key 'prepare.sigma'; did you mean 'prepare.sigma_px'?",
        "bake: prepare.box_padding must be float, got 'much'",
        "bake: layers must be int, got 'two'",
        "bake: raw.videos is required: give --raw.videos or set it in the recipe",
        "bake: raw.skeletons is required: give --raw.skeletons or set it in the recipe",
        "bake: out is required: give --out or set it in the recipe",
    ]


def test_values_out_of_range_come_all_at_once(recipe):
    path = recipe("prepare: {rgb_size_px: 2}\n")
    with pytest.raises(ConfigError, match=r"^bake: prepare\.rgb_size_px must be >= 8, got 2$"):
        parse(path, *RAW, "--out", "o")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("nowhere.yaml",), r"nowhere\.yaml: no such recipe"),
        (("--out",), r"--out needs a value"),
        (("--out", "--fast"), r"--out needs a value"),
        (("word",), r"unexpected argument 'word'; options are written --key value"),
    ],
)
def test_unusable_command_lines_are_refused(argv: tuple[str, ...], message: str):
    with pytest.raises(ConfigError, match=message):
        parse(*argv)


def test_an_empty_section_says_nothing(recipe):
    assert parse(recipe("prepare:\n  # sigma_px: 0.7\n"), *RAW, "--out", "o").prepare == PrepareSettings()


@pytest.mark.parametrize(
    ("text", "message"), [("- a\n- b\n", r"a recipe is a table of sections, got list"), ("a: [", r"no YAML")]
)
def test_unusable_recipes_are_refused(recipe, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        parse(recipe(text))


def test_help_explains_every_key(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for piece in ("Bake a cake from raw eggs", "--prepare.sigma_px", "Standard deviation of the Gaussians", "Be quick"):
        assert piece in text


def test_exit_codes(capsys):
    def fail(command: Bake) -> int:
        raise ValueError("an egg is rotten")

    def interrupt(command: Bake) -> int:
        raise KeyboardInterrupt

    def full(command: Bake) -> int:
        raise OSError(28, "No space left on device")

    def run(function, *argv: str) -> int:
        return run_command("kitchen", {"bake": (Bake, function, ())}, argv)

    good = ("bake", *RAW, "--out", "o")
    assert run(lambda command: 1, *good) == 1
    assert run(fail, *good) == 2
    assert capsys.readouterr().err == "kitchen bake: an egg is rotten\n"
    assert run(full, *good) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert run(interrupt, *good) == 130
    assert "interrupted; give the same command again to go on" in capsys.readouterr().err
    assert run(fail, "bake", "--outt", "o", *RAW) == 2
    assert "unknown key 'outt'; did you mean 'out'?" in capsys.readouterr().err
    assert run(fail, "cook") == 2
    assert "kitchen: unknown command 'cook'" in capsys.readouterr().err
    assert run(fail, "--help") == 0
    assert "Bake a cake" in capsys.readouterr().out
