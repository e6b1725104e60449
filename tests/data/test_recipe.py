from dataclasses import dataclass, field
from pathlib import Path

import pytest

from epam_data.readers import RawSettings
from epam_data.recipe import FLAT, ConfigError, parse_command, recipe_keys
from epam_data.samples.settings import PrepareSettings
from epam_data.system.checked_fields import Factor
from tests.paths import PIPELINES


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
    only: tuple[str, ...] = ()
    """These eggs: 100 % of them."""
    size: int | str | None = None
    heat: float = 180.0
    weights: tuple[Factor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Oven:
    """An oven."""

    kind: str = "gas"
    """Kind of oven."""
    shelves: int = 1

    def __post_init__(self) -> None:
        if self.shelves < 0:
            raise ValueError(f"shelves must be >= 0, got {self.shelves}")


@dataclass(frozen=True, kw_only=True)
class Party:
    """Bake for a party."""

    bake: Bake = field(metadata=FLAT)
    oven: Oven = field(default_factory=lambda: Oven(kind="electric", shelves=2), metadata=FLAT)


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
        "bake: raw.videos is required: give --raw.videos or set it in the recipe",
        "bake: raw.skeletons is required: give --raw.skeletons or set it in the recipe",
        "bake: out is required: give --out or set it in the recipe",
        "bake: prepare.box_padding must be float in 0..100, got 'much'",
        "bake: layers must be int, got 'two'",
    ]


def test_values_out_of_range_come_with_all_other_errors(recipe):
    path = recipe("prepare: {rgb_size_px: 2}\n")
    with pytest.raises(ConfigError, match=r"^bake: prepare\.rgb_size_px must be in 8\.\.4096, got 2$"):
        parse(path, *RAW, "--out", "o")
    with pytest.raises(ConfigError) as caught:
        parse(path, *RAW, "--heat=hot", "--outt", "o", "--size", "[1]")
    assert str(caught.value).splitlines() == [
        "bake: unknown key 'outt'; did you mean 'out'?",
        "bake: out is required: give --out or set it in the recipe",
        "bake: prepare.rgb_size_px must be in 8..4096, got 2",
        "bake: heat must be float, got 'hot'",
    ]


def test_ranges_and_choices_are_refused_all_at_once_and_each_once(recipe):
    path = recipe("prepare: {rgb_size_px: 2, sigma_px: .nan, heatmap_kind: bones, decoder: vlc}\n")
    with pytest.raises(ConfigError) as caught:
        parse(
            path, *RAW, "--out", "o", "--prepare.min_overlap", "1.5", "--prepare.decoder", "7", "--weights", "1", "-2"
        )
    assert str(caught.value).splitlines() == [
        "bake: prepare.rgb_size_px must be in 8..4096, got 2",
        "bake: prepare.heatmap_kind must be one of joints, limbs, got 'bones'",
        "bake: prepare.sigma_px must be in 0.001..1000000, got nan",
        "bake: prepare.min_overlap must be in 0..1, got 1.5",
        "bake: prepare.decoder must be one of pyav, decord, got '7'",
        "bake: weights must be >= 0 and finite, got -2",
    ]
    with pytest.raises(ConfigError, match=r"^bake: prepare\.rgb_size_px must be int in 8\.\.4096, got 'two'$"):
        parse(*RAW, "--out", "o", "--prepare.rgb_size_px", "two")


def test_a_wrong_value_in_a_list_or_of_a_union_is_one_error(recipe):
    with pytest.raises(ConfigError) as caught:
        parse(recipe("only: [a, [b]]\nsize: {a: 1}\n"), *RAW, "--out", "o")
    assert str(caught.value).splitlines() == [
        "bake: unknown key 'size.a'; did you mean 'size'?",
        "bake: only must be tuple[str, ...], got ['a', ['b']]",
    ]
    with pytest.raises(ConfigError, match=r"^bake: size must be int \| str \| null, got \[1\]$"):
        parse(recipe("size: [1]\n"), *RAW, "--out", "o")


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--only", "a", "b"], "only", ("a", "b")),
        (["--only=a"], "only", ("a",)),
        (["--only", "[a, b]"], "only", ("a", "b")),
        (["--size", "1%"], "size", "1%"),
        (["--size", "null"], "size", None),
        (["--heat", "5e-5"], "heat", 5e-5),
        (["--heat", "-3"], "heat", -3.0),
        (["--fast"], "fast", True),
        (["--fast", "false"], "fast", False),
        (["--fast=True"], "fast", True),
        (["--prepare.rgb-size-px", "64"], "prepare", PrepareSettings(rgb_size_px=64)),
    ],
)
def test_how_values_are_written(words: list[str], field: str, value: object):
    assert getattr(parse(*RAW, *words, "--out", "o"), field) == value


def test_numbers_of_a_recipe_may_be_written_as_text(recipe):
    assert parse(recipe("heat: 5e-5\n"), *RAW, "--out", "o").heat == 5e-5  # which YAML takes for a string


def test_a_flag_does_not_take_the_word_behind_it():
    assert parse(*RAW, "--fast", "here", positionals=("out",)) == parse(*RAW, "--out", "here", "--fast")


def test_positional_words_may_stand_apart():
    command = parse_command(Bake, "bake", ["1", *RAW, "o"], ("layers", "out"))
    assert (command.layers, command.out) == (1, Path("o"))


def test_keys_of_a_flat_section_have_no_prefix_and_keep_its_defaults(recipe):
    path = recipe("shelves: 4\n")
    party = parse_command(Party, "party", [path, *RAW, "--out", "o", "--layers", "2"])
    assert party == Party(bake=parse(*RAW, "--out", "o", "--layers", "2"), oven=Oven(kind="electric", shelves=4))
    assert recipe_keys(Party)["kind"].default == "electric"
    with pytest.raises(ConfigError, match=r"^party: shelves must be >= 0, got -1$"):
        parse_command(Party, "party", [*RAW, "--out", "o", "--shelves", "-1"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("nowhere.yaml",), r"nowhere\.yaml: no such recipe; epam comes with demo\.yaml, ma52\.yaml, "),
        (("elsewhere/pipelines/demo.yaml",), r"^elsewhere/pipelines/demo\.yaml: no such recipe"),
        (("--out",), r"--out needs a value"),
        (("--out", "--fast"), r"--out needs a value"),
        (("word",), r"unexpected argument 'word'; options are written --key value"),
    ],
)
def test_unusable_command_lines_are_refused(argv: tuple[str, ...], message: str):
    with pytest.raises(ConfigError, match=message):
        parse(*argv)


@pytest.mark.parametrize("name", ["demo.yaml", "pipelines/demo.yaml"])
def test_a_recipe_that_epam_comes_with_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
):
    monkeypatch.chdir(tmp_path)
    assert parse(name, *RAW, "--out", "o").raw.protocol == "xsub"
    assert caplog.messages == [f"recipe: {PIPELINES / 'demo.yaml'}"], "so that nobody takes it for a file of their own"
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raw: {protocol: xview}\n")
    assert parse(name, *RAW, "--out", "o").raw.protocol == "xview", "a file of that name comes first"


def test_a_section_is_no_value(recipe):
    with pytest.raises(ConfigError, match=r"^bake: prepare is a section, got the value 5$"):
        parse(recipe("prepare: 5\n"), *RAW, "--out", "o", "--prepare.sigma_px", "1")


def test_an_empty_section_sets_nothing(recipe):
    assert parse(recipe("prepare:\n  # sigma_px: 0.7\n"), *RAW, "--out", "o").prepare == PrepareSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", r"a recipe must be a table of sections, got list"), ("a: [", r"not valid YAML")],
)
def test_unusable_recipes_are_refused(recipe, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        parse(recipe(text))


def test_help_explains_every_key(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for piece in ("--prepare.rgb_size_px int in 8..4096 Height", "--prepare.decoder pyav|decord Video decoder"):
        assert piece in text
    for piece in (
        "--prepare.min_overlap float in 0..1 Skip",
        "--only tuple[str, ...] These",
        "--size int | str | null",
    ):
        assert piece in text
    for piece in ("Bake a cake from raw eggs", "--prepare.sigma_px", "Standard deviation of the Gaussians", "Be quick"):
        assert piece in text
    assert "These eggs: 100 % of them. (default: none)" in text and "--out Path Where to. (required)" in text
    assert "(default: 0.6)" in text and "--fast true|false Be quick. (default: false)" in text


def test_nothing_at_all_shows_the_help(capsys):
    with pytest.raises(SystemExit) as caught:
        parse()
    assert caught.value.code == 2 and "--prepare.sigma_px" in capsys.readouterr().out


def test_a_tilde_is_the_home_folder(recipe, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    made = parse(recipe("raw:\n  videos: ~/videos\n  skeletons: ~s.pkl\nout: ~/shards\n"))
    assert (made.raw.videos, made.raw.skeletons) == (Path("/home/ada/videos"), Path("~s.pkl"))
    assert str(made.out) == "/home/ada/shards"
