"""Files of strangers, kind by kind, through the commands: what each costs, and what the one line says.

One small case for each kind. The rooms' own tests try its neighbours, `tests/soak/test_fuzz.py` what nobody thought of.
"""

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from epam_data.cli import main as data_main
from epam_data.shards.layout import INDEX, MANIFEST
from epam_model.cli import main as model_main
from tests.data.damage import change_bytes, change_manifest, rewrite_first
from tests.data.people import write_people
from tests.data.raw_data import SMALL_HW, annotation, ntu_name, person, write_pickle, write_recording
from tests.data.stream.test_strangers import heatmap_bomb, huge_head, nested
from tests.paths import ROOT

RECIPE = "dataset: ntu60\nraw: {protocol: xsub}\nprepare: {rgb_size_px: 64, heatmap_size_px: 16}\n"
HEIGHT, WIDTH = SMALL_HW
FIRST = ntu_name(1, 1)


# Clips. One build has all of them, beside two good ones.

NESTED: Any = []
for _ in range(300):
    NESTED = [NESTED]

RECORDS: dict[str, tuple[dict[str, Any], str]] = {  # fields of the record -> what problems.jsonl says
    "a huge label": ({"label": 10**30}, "label must be from 0 to 2147483647, got a number outside"),
    "an infinite label": ({"label": float("inf")}, "label must be an integer, got inf"),
    "a name that is a list": ({"frame_dir": ["x"]}, "frame_dir must be text, got list"),
    "half a character": ({"frame_dir": "S\udc80"}, r"'S\udc80': frame_dir holds half of a character"),
    "a long name": ({"frame_dir": "x" * 5000}, "frame_dir must have 1 to 1024 characters, got 5000"),
    "a name outside": ({"frame_dir": "../../etc/passwd"}, "../../etc/passwd: expected a name like"),
    "a control character": ({"frame_dir": "a\x1b[2J"}, r"'a\x1b[2J': frame_dir holds a control character"),
    "a size as text": ({"img_shape": "12"}, "img_shape must be (H, W), got '12'"),
    "lists in lists": ({"keypoint": NESTED}, "keypoint must be an array, got lists nested too deeply"),
    "objects": ({"keypoint": np.array([None, "x"], object)}, "keypoint must hold numbers, got object"),
    "fractions": ({"keypoint": person(20)[None] / (WIDTH, HEIGHT)}, "which look like fractions of the image"),
    "exchanged sides": ({"img_shape": (WIDTH, HEIGHT)}, "has height and width exchanged, taken as (96, 128)"),
    "another shape": ({"img_shape": (HEIGHT, 3 * WIDTH)}, "= (96, 384) does not fit the video, which is (96, 128)"),
}


def playlist(path: Path) -> None:
    path.write_text(f"ffconcat version 1.0\nfile {FIRST}_rgb.avi\n")


def web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html></html>")


def with_another_ending(path: Path) -> None:
    shutil.copy(path.with_name(f"{FIRST}_rgb.avi"), path.with_suffix(".MKV"))


VIDEOS: dict[str, tuple[Callable[[Path], Any], str]] = {  # makes the video -> what problems.jsonl says
    "a playlist": (playlist, "a list of other files (concat), expected a video; nothing that it names was opened"),
    "a pipe": (os.mkfifo, "not a regular file, expected a video"),
    "a web page": (web_page, "not a readable video"),
    "an empty file": (Path.touch, "an empty file, expected a video"),
    "another ending": (with_another_ending, "_rgb.MKV is there: rename or convert it to"),
}


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """(action, reason) of each clip, by its name or its place in the pickle."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "recipe.yaml").write_text(RECIPE)
    records = []
    for number, what in enumerate(("good", "good too", *RECORDS, *VIDEOS), 1):
        name, keypoints = ntu_name(number, 1), person(20, seed=number)
        video = folder / "videos" / f"{name}_rgb.avi"
        if what in VIDEOS:
            VIDEOS[what][0](video)
        else:
            write_recording(video, keypoints)
        records.append({**annotation(name, 0, keypoints[None]), **RECORDS.get(what, ({}, ""))[0]})
    names = [record["frame_dir"] for record in records if isinstance(record["frame_dir"], str)]
    usable = [name for name in names if 0 < len(name) < 1000 and name.isprintable()]
    write_pickle(folder / "s.pkl", {"split": {"xsub_train": usable}, "annotations": records})
    words = ["--raw.videos", folder / "videos", "--raw.skeletons", folder / "s.pkl", "--out", folder / "out"]
    assert data_main(["build", str(folder / "recipe.yaml"), *map(str, words), "--workers", "0"]) == 1
    lines = map(json.loads, (folder / "out" / "problems.jsonl").read_text().splitlines())
    assert data_main(["check", str(folder / "out"), "--workers", "0"]) == 0
    assert json.loads((folder / "out" / MANIFEST).read_text())["shards"][0]["num_samples"] == 3
    return {line["name"]: (line["action"], line["reason"]) for line in lines}


@pytest.mark.parametrize("what", [*RECORDS, *VIDEOS])
def test_a_bad_clip_costs_itself(problems: dict[str, tuple[str, str]], what: str) -> None:
    place = [*RECORDS, *VIDEOS].index(what) + 2
    possible = (ntu_name(place + 1, 1), f"s.pkl: annotation {place}", str(RECORDS.get(what, ({},))[0].get("frame_dir")))
    action, reason = next(problems[name] for name in possible if name in problems)
    expected = {**RECORDS, **VIDEOS}[what][1]
    assert expected in reason and any(name in reason for name in possible)
    assert action == ("mended" if what == "exchanged sides" else "skipped")
    assert len(problems) == len(RECORDS) + len(VIDEOS)


# Files of skeletons and recipes, given to `epam-data build`


class Runs:
    """Its pickle makes a folder where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def records(**changes: Any) -> dict[str, Any]:
    return {"split": {"xsub_train": [FIRST]}, "annotations": [annotation(FIRST, 0, person(20)[None])], **changes}


def forged(folder: Path) -> bytes:
    """An array of numbers whose dtype says that they are pointers to objects."""
    return pickle.dumps(records(), 4).replace(b"\x8c\x02f4", b"\x8c\x02O8")


def two_pickles(folder: Path) -> bytes:
    return pickle.dumps(records(), 4) * 2


PICKLES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "code": (lambda folder: pickle.dumps(Runs(folder / "ran")), r"s\.pkl: refused the global \w+\.mkdir"),
    "a forged dtype": (forged, r"s\.pkl: |keypoint"),
    "two pickles": (two_pickles, r"s\.pkl: "),
    "text": (lambda _: b"hello", r"s\.pkl: "),
    "split of a wrong type": (lambda _: pickle.dumps(records(split=[1])), r"s\.pkl: split must be a dict, got list"),
    "annotations of a wrong type": (
        lambda _: pickle.dumps(records(annotations=3)),
        "annotations must be a list, got int",
    ),
    "all refused": (
        lambda _: pickle.dumps(records(annotations=[annotation(FIRST, 0, person(20)[None], label=-5)])),
        "label must be from 0 to",
    ),
}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]\n" for name in "bcdefghi"
)
RECIPES: dict[str, tuple[bytes, str]] = {
    "a key twice": (b"shard:\n  jpeg_quality: 1\n  jpeg_quality: 2\n", "line 3.*the key 'jpeg_quality' stands twice"),
    "a bomb": (BOMB.encode(), "holds more than 20000 values"),
    "a python tag": (b"a: !!python/object/apply:os.system [x]\n", "line 1, column 4: not valid YAML"),
    "GBK": ("类别: 挥手\n".encode("gbk"), "not UTF-8 at byte 0, it may be GB18030"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "it seems to be UTF-16"),
    "a list": (b"- a\n- b\n", "a recipe must be a table of sections, got list"),
    "nothing but brackets": (b"[" * 5000, "nested too deeply"),
    "code of this folder": (b"dataset: planted:READER\n", "planted.* cannot be imported.*--allow-code-here"),
}


def build_words(folder: Path) -> list[str]:
    places = {"raw.videos": folder, "raw.skeletons": folder / "s.pkl", "out": folder / "out"}
    return ["--workers", "0", *(word for key, value in places.items() for word in (f"--{key}", str(value)))]


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says on the terminal, if it is one line that cannot do anything to it."""
    text = capsys.readouterr().err.rstrip("\n").replace("\n  ", " ")  # reasons and their counts, if there are several
    assert text and text.isprintable() and "Traceback" not in text and len(text) < 2000, text
    return text


@pytest.mark.parametrize("what", PICKLES)
def test_a_skeleton_file_that_cannot_be_used_is_named(what: str, tmp_path: Path, capsys) -> None:
    make, message = PICKLES[what]
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "s.pkl").write_bytes(make(tmp_path))
    assert data_main(["build", str(tmp_path / "recipe.yaml"), *build_words(tmp_path)]) == 2
    assert re.search(message, only_line(capsys)) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", RECIPES)
def test_a_recipe_that_cannot_be_used_is_named(what: str, tmp_path: Path, capsys, monkeypatch) -> None:
    data, message = RECIPES[what]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted.py").write_text("import os\nos.mkdir('ran')\n")
    (tmp_path / "recipe.yaml").write_bytes(data)
    words = build_words(tmp_path) if what == "code of this folder" else []
    assert data_main(["build", str(tmp_path / "recipe.yaml"), *words]) == 2
    assert re.search(message, only_line(capsys)) and not (tmp_path / "ran").exists()
    if what != "code of this folder":
        assert data_main(["check", str(tmp_path / "recipe.yaml"), "--shards", "x"]) == 2


# Shards


@pytest.fixture(scope="module")
def good_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("shards") / "good")


def rename_shard(root: Path) -> None:
    shards = json.loads((root / MANIFEST).read_text())["shards"]
    change_manifest(root, shards=[{**shards[0], "name": "../../x"}, *shards[1:]])


def link_column(root: Path) -> None:
    with h5py.File(root / INDEX, "r+") as file:
        del file["label"]
        file["label"] = h5py.ExternalLink("/etc/passwd", "label")
    change_manifest(root, index_sha256=hashlib.sha256((root / INDEX).read_bytes()).hexdigest())


def make_pipe(root: Path) -> None:
    (root / "val-000000.tar").unlink()
    os.mkfifo(root / "val-000000.tar")


Damage = Callable[[Path], Any]
SHARDS: dict[str, tuple[Damage, int, str]] = {  # damage -> exit code of `check`, and what it says
    "a name that leads out": (rename_shard, 2, r"shards\[0\]\.name"),
    "a manifest of brackets": (
        lambda root: (root / MANIFEST).write_bytes(b"[" * 100_000),
        2,
        r"manifest\.json: expected object",
    ),
    "a column of another file": (link_column, 2, r"index\.h5: .*label must be in the file itself, got a ExternalLink"),
    "an index of noise": (
        lambda root: change_bytes(root / INDEX, lambda data: data.__setitem__(slice(0, 99), b"x" * 99)),
        2,
        r"index\.h5: not a readable index",
    ),
    "a pipe as a shard": (make_pipe, 1, r"val-000000: .*[Nn]ot a regular file"),
    "a heatmap that unpacks to 400 MB": (lambda root: rewrite_first(root, heatmap_bomb), 1, "train-0: .*heatmap"),
    "brackets in KEY.json": (lambda root: rewrite_first(root, nested), 1, "train-0: .*KEY.json"),
    "a KEY.json of 9 MB": (lambda root: rewrite_first(root, huge_head), 1, "train-0: .*KEY.json: has 9"),
}


@pytest.mark.parametrize("what", SHARDS)
def test_a_bad_shard_is_named(what: str, good_shards: Path, tmp_path: Path, capsys) -> None:
    damage, code, message = SHARDS[what]
    root = Path(shutil.copytree(good_shards, tmp_path / "shards"))
    damage(root)
    assert data_main(["check", str(root), "--workers", "0", "--check.sample", "4", "--quiet"]) == code
    said = capsys.readouterr()
    assert re.search(message, said.err if code == 2 else said.out) and "Traceback" not in said.err
    assert len(said.err.splitlines()) == (1 if code == 2 else 0)


def test_names_of_classes_do_nothing_to_a_terminal_a_spreadsheet_or_a_plot(good_shards: Path, tmp_path: Path, capsys):
    root = Path(shutil.copytree(good_shards, tmp_path / "shards"))
    classes = ["\x1b]0;x\x07\x1b[2J", "$x^{", "=HYPERLINK(1)", "a_b", "<script>alert(1)</script>", "\u202eabc"]
    change_manifest(root, classes=classes)
    assert (
        data_main(["check", str(root), "--workers", "0", "--report", str(tmp_path / "report"), "--check.sample", "2"])
        == 1
    )
    said = capsys.readouterr()
    assert all(character.isprintable() for character in f"{said.out}{said.err}".replace("\n", ""))
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<script>alert" not in page and "\x1b" not in page


# Checkpoints


def saved(path: Path, value: Any) -> None:
    torch.save(value, path)


CHECKPOINTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (
        lambda path: path.write_text("hello there\n"),
        "not a checkpoint but text, which begins with 'hello there",
    ),
    "a web page": (web_page, "not a checkpoint but a web page"),
    "a pointer of Git LFS": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        "a pointer of Git LFS",
    ),
    "code": (lambda path: saved(path, {"a": Runs(path.with_name("ran"))}), r"refused, its pickle uses \w+\.mkdir"),
    "names that are numbers": (lambda path: saved(path, {1: torch.zeros(3)}), "contains no weights by name"),
    "another number of axes": (
        lambda path: saved(path, {"backbone.rgb_backbone.stem.spatial.weight": torch.zeros(3)}),
        "do not fit|names do",
    ),
    "not finite": (lambda path: saved(path, {"a": torch.tensor([float("nan")])}), "'a' is not finite"),
    "few numbers, repeated": (
        lambda path: saved(path, {"a": torch.zeros(1).expand(10**6, 10**7)}),
        "'a' is a tensor of",
    ),
    "sparse": (lambda path: saved(path, {"a": torch.eye(2).to_sparse()}), "'a' is a nested or sparse tensor"),
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_used_is_named(what: str, tmp_path: Path, capsys) -> None:
    make, message = CHECKPOINTS[what]
    make(tmp_path / "c.pt")
    words = ["--source", str(tmp_path / "c.pt"), "--out", str(tmp_path / "o.pt")]
    assert model_main(["convert", *words]) == 2
    line = only_line(capsys)
    assert str(tmp_path / "c.pt") in line and re.search(message, line)
    assert not (tmp_path / "o.pt").exists() and not (tmp_path / "ran").exists()


# The current folder, and folders that cannot be written


SCRIPT = """
import sys
from epam_data.cli import main
from epam_data.stream import Stream, StreamSettings
if __name__ == "__main__":
    words = "--raw.videos . --raw.skeletons s.pkl --out out --workers 2 --shard.samples_per_shard 1".split()
    assert main(["build", "recipe.yaml", *words]) == 0
    settings = StreamSettings(rgb_frames=2, pose_frames=2, batch_size=8, workers=2)
    assert sum(map(len, Stream(sys.argv[1], split="val", settings=settings, training=False).epoch(0))) == 29
"""
PLANTED = ("zstandard", "simplejpeg", "av", "h5py", "json", "signal", "msgspec", "epam_data", "multiprocessing", "ast")


def test_nothing_of_the_current_folder_runs(good_shards: Path, tmp_path: Path) -> None:
    """A build and a stream with workers, in a folder of videos where somebody also left Python files."""
    here, script = tmp_path / "here", tmp_path / "elsewhere" / "run.py"
    names = [ntu_name(number, 1) for number in (1, 2)]
    clips = [annotation(name, 0, person(20, seed=number)[None]) for number, name in enumerate(names)]
    for number, name in enumerate(names):
        write_recording(here / f"{name}_rgb.avi", person(20, seed=number))
    write_pickle(here / "s.pkl", {"split": {"xsub_train": names}, "annotations": clips})
    (here / "recipe.yaml").write_text(RECIPE)
    for name in PLANTED:
        (here / f"{name}.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    script.parent.mkdir()
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(good_shards)]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.soak  # matplotlib and numba make their caches again
def test_no_home_and_a_package_that_cannot_be_written(good_shards: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": "/nonexistent", "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        environment.pop(name, None)
    words = ["check", str(good_shards), "--report", str(tmp_path / "report"), "--check.sample", "2", "--workers", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "epam_data.cli", *words], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode in (0, 1) and (tmp_path / "report" / "index.html").exists(), done.stderr
    assert "Traceback" not in done.stderr
