"""The manifest: what was written is read; what is damaged is named."""

import hashlib
import json
import os
import random
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from fsspec.implementations.local import LocalFileSystem

from epam_data.samples.settings import PrepareSettings
from epam_data.shards import manifest as manifest_module
from epam_data.shards.codec import MemberCodecs
from epam_data.shards.layout import INDEX, MANIFEST
from epam_data.shards.manifest import Manifest, ShardEntry, load_manifest
from epam_data.shards.settings import ShardSettings
from epam_data.skeleton import COCO17
from epam_data.taxonomy import TAXONOMIES
from tests.data.raw_data import SMALL


def manifest(**changes: object) -> Manifest:
    values = {
        "dataset": "ntu60",
        "protocol": "xsub",
        "skeleton": "coco17",
        "joints": ("nose", "eye"),
        "taxonomy": "ntu60",
        "classes": ("drink", "sit"),
        "groups": ("g",),
        "coarse_of": (0, 0),
        "prepare": PrepareSettings(rgb_size_px=256),
        "shard": ShardSettings(zstd_level=7),
        "sources": {"all.pkl": "ab"},
        "versions": {"av": "1"},
        "problems": {"skipped": 2},
        "index_sha256": "cd" * 32,
        "shards": (ShardEntry(name="train-000000", split="train", num_samples=2, num_bytes=10240, sha256="ef" * 32),),
    }
    return Manifest(**{**values, **changes})


def test_the_manifest_survives(tmp_path: Path) -> None:
    for one in (manifest(), manifest(protocol=None, shards=())):
        (tmp_path / MANIFEST).write_bytes(one.to_json())
        assert load_manifest(tmp_path) == one
        assert json.loads(one.to_json())["schema"] == 1
        assert replace(one).to_json() == one.to_json()


def test_shards_of_a_split_are_numbered_among_all() -> None:
    first = manifest().shards[0]
    splits = manifest(shards=tuple(replace(first, split=split) for split in ("train", "val", "train")))
    assert [splits.shards_of(split) for split in ("train", "val", "test")] == [[0, 2], [1], []]


def test_the_file_is_indented_by_one_space() -> None:
    """So that its bytes stay those of earlier builds."""
    text = manifest().to_json().decode()
    assert text == json.dumps(json.loads(text), indent=1) + "\n"


def test_a_later_field_is_ignored(tmp_path: Path) -> None:
    values = {**json.loads(manifest().to_json()), "added_later": 1}
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    assert load_manifest(tmp_path) == manifest()


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path, tmp_path / "none", tmp_path / "file"):
        message = f"{root}: no manifest.json found; not a shard directory, or its build is not finished"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            load_manifest(root)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b'"text"', b"\xff\xfe\x00"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(
        ValueError, match=f"^{re.escape(str(tmp_path / MANIFEST))}: (not JSON \\(|expected object, got )"
    ):
        load_manifest(tmp_path)


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_another_schema_is_refused(tmp_path: Path, version: object) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({**json.loads(manifest().to_json()), "schema": version}))
    message = f"{tmp_path}: shard schema {version!r} cannot be read, this code reads 1..1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_manifest(tmp_path)


def test_an_incomplete_manifest_is_refused(tmp_path: Path) -> None:
    values = json.loads(manifest().to_json())
    del values["joints"]
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / MANIFEST))}: lacks joints$"):
        load_manifest(tmp_path)


def test_the_manifest_of_a_build(ntu60_shards: Path) -> None:
    built = load_manifest(ntu60_shards)
    assert (built.dataset, built.protocol, built.skeleton) == ("ntu60", "xsub", "coco17")
    assert built.joints == COCO17.joints and built.classes == TAXONOMIES["ntu60"].classes
    assert built.coarse_of == TAXONOMIES["ntu60"].coarse_of and built.groups == TAXONOMIES["ntu60"].groups
    assert [(shard.name, shard.num_samples) for shard in built.shards] == [
        *((f"train-{number:06d}", size) for number, size in enumerate((4, 4, 4, 2))),
        *((f"val-{number:06d}", size) for number, size in enumerate((4, 1))),
    ]
    for shard in built.shards:
        data = (ntu60_shards / f"{shard.name}.tar").read_bytes()
        assert (shard.num_bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert built.index_sha256 == hashlib.sha256((ntu60_shards / INDEX).read_bytes()).hexdigest()
    assert {"epam", "numpy", "av"} <= set(built.versions)
    assert str(ntu60_shards) not in (ntu60_shards / MANIFEST).read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": None}, "shards: expected array, got None$"),
        ({"shards": [{"name": "a"}]}, r"shards\[0\]: lacks split$"),
        ({"classes": ["drink", 3]}, r"classes\[1\]: expected str, got 3$"),
        ({"problems": {"skipped": "x"}}, r"problems\[\.\.\.\]: expected int, got \{'skipped': 'x'\}$"),
        ({"problems": {"skipped": True}}, r"problems\[\.\.\.\]: expected int, got \{'skipped': True\}$"),
        ({"prepare": []}, r"prepare: expected object, got \[\]$"),
        ({"prepare": {"sigma_px": "wide"}}, "prepare.sigma_px: expected float, got wide$"),
        ({"prepare": {"decoder": "vlc"}}, "prepare.decoder: expected one of pyav, decord, got 'vlc'$"),
        ({"prepare": {"rgb_size_px": 4}}, "prepare.rgb_size_px must be in 8..4096, got 4$"),
        ({"shard": {"jpeg_quality": 101}}, "shard.jpeg_quality must be in 1..100, got 101$"),
        ({"codecs": {"frames": "rgb.avi"}}, "codecs.frames must be one of rgb.mjpeg, got 'rgb.avi'$"),
        ({"codecs": {"info": "xml"}}, "codecs.info must be one of json, got 'xml'$"),
        ({"protocol": 3}, r"protocol: expected str \| null, got 3$"),
        ({"coarse_of": [0, 10**9]}, "coarse_of: 'sit' must be in a group of 0..0, got 1000000000$"),
        ({"coarse_of": [-5, 0]}, "coarse_of: 'drink' must be in a group of 0..0, got -5$"),
        ({"dataset": "x" * 201}, r"dataset must have 200 or fewer characters, got 201: 'x+"),
        ({"coarse_of": [0]}, "2 classes need a group each, 1 have one"),
    ],
)
def test_a_manifest_of_other_types_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({**json.loads(manifest().to_json()), **change}))
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / MANIFEST))}: {message}"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("section", ["prepare", "shard"])
def test_a_setting_may_be_absent_or_new_but_not_both(tmp_path: Path, section: str) -> None:
    """Both at once is a damaged name, which would pass as the default of the setting."""
    values, name = json.loads(manifest().to_json()), "use_scores" if section == "prepare" else "shuffle_seed"
    older = {key: value for key, value in values[section].items() if key != name}
    for settings in (older, {**values[section], "of_a_later_day": 1}):
        (tmp_path / MANIFEST).write_text(json.dumps({**values, section: settings}))
        assert load_manifest(tmp_path) == manifest()
    (tmp_path / MANIFEST).write_text(json.dumps({**values, section: {**older, "damaged": 1}}))
    message = f"{tmp_path / MANIFEST}: {section} lacks {name}, and has damaged instead"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_manifest(tmp_path)


def test_the_manifest_names_the_codecs(tmp_path: Path) -> None:
    values = json.loads(manifest().to_json())
    names = {"info": "json", "keypoints": "keypoints.npy", "heatmap": "heatmap.npy.zst", "frames": "rgb.mjpeg"}
    assert values.pop("codecs") == names
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    assert load_manifest(tmp_path).codecs == MemberCodecs(**names), "older shards do not name them"


def test_settings_are_those_of_the_build(ntu60_shards: Path) -> None:
    built = load_manifest(ntu60_shards)
    assert built.prepare == SMALL and built.shard.samples_per_shard == 4
    assert built.num_channels == 17
    assert replace(built, prepare=replace(built.prepare, heatmap_kind="limbs")).num_channels == len(COCO17.limbs)


def test_only_a_layout_of_ones_own_stands_in_the_manifest(tmp_path: Path) -> None:
    assert not {"flip_pairs", "limbs"} & json.loads(manifest().to_json()).keys()
    assert manifest().layout is COCO17
    hand = {"skeleton": "hand", "joints": ("wrist", "left_tip", "right_tip")}
    own = manifest(**hand, flip_pairs=((1, 2),), limbs=())
    (tmp_path / MANIFEST).write_bytes(own.to_json())
    assert load_manifest(tmp_path) == own
    assert (own.layout.name, own.layout.joints, own.layout.flip_order) == (*hand.values(), (0, 2, 1))
    neither = "skeleton must be one of coco17, ma52_28, or come with flip_pairs and limbs, got 'hand'$"
    for changes, message in (
        ({"limbs": None}, neither),
        ({"flip_pairs": None}, neither),
        ({"flip_pairs": ((1, 3),)}, r"hand: flip pairs must be disjoint and joints in 0\.\.2$"),
    ):
        (tmp_path / MANIFEST).write_bytes(replace(own, **changes).to_json())
        with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / MANIFEST))}: {message}"):
            load_manifest(tmp_path)


def test_classes_need_no_groups(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(manifest(groups=(), coarse_of=()).to_json())
    assert load_manifest(tmp_path).coarse_of == ()


def test_shards_by_url_outlive_a_minute_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / MANIFEST).write_bytes(manifest().to_json())
    assert load_manifest(f"file://{tmp_path}") == manifest()
    waits: list[float] = []

    def fails(*_: object) -> NoReturn:
        raise ConnectionResetError("reset")

    monkeypatch.setattr(LocalFileSystem, "cat_file", fails)
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(random, "uniform", lambda *_: 1.0)
    with pytest.raises(OSError, match=r"could not be read .*\(reset\)$"):
        load_manifest(f"file://{tmp_path}")
    assert 60 < sum(waits) < 90


BAD_NAMES = ["../x", "/etc/x", "a/b", "a\\b", "..", ".", "", "a b", "http://x", "//host/x", "x?y=1#z", "@x", "x\0"]


@pytest.mark.parametrize("name", [*BAD_NAMES, "\x1b[2J", "\ud800", "x" * 81, "é"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    shard = manifest().shards[0]
    for field, what in (("name", r"shards\[0\]\.name"), ("split", "train-000000: split")):
        one = manifest(shards=(replace(shard, **{field: name}),))
        (tmp_path / MANIFEST).write_bytes(one.to_json())
        message = rf"(shards\[0\]\.|{what} must be 1 to 80 characters of \[A-Za-z0-9_-\], got |not JSON)"
        with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / MANIFEST))}: {message}") as caught:
            load_manifest(tmp_path)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_bytes", 10**15, r"train-000000: num_bytes must be in 0\.\.4398046511104, got 1000000000000000$"),
        ("num_bytes", -5, r"num_bytes must be in 0\.\.\d+, got -5$"),
        ("num_samples", 10**12, r"10240 bytes can hold 0\.\.5 samples, got 1000000000000$"),
        ("num_samples", -1, r"10240 bytes can hold 0\.\.5 samples, got -1$"),
        ("sha256", "../../x", r"train-000000: sha256 must be 64 hexadecimal digits, got '\.\./\.\./x'$"),
        ("sha256", "EF" * 32, "sha256 must be 64 hexadecimal digits"),
    ],
)
def test_sizes_and_hashes_of_shards_have_limits(tmp_path: Path, field: str, value: object, message: str) -> None:
    shard = replace(manifest().shards[0], **{field: value})
    (tmp_path / MANIFEST).write_bytes(manifest(shards=(shard,)).to_json())
    with pytest.raises(ValueError, match=message):
        load_manifest(tmp_path)


def test_a_manifest_has_limits_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = json.loads(manifest().to_json())
    for changes, message in (
        ({"index_sha256": "x"}, "index_sha256 must be 64 hexadecimal digits, got 'x'$"),
        ({"joints": ["j"] * 1001}, "joints must be 1000 or fewer, got 1001$"),
        ({"dataset": ["x" * 10**7]}, r"dataset: expected str$"),
    ):
        (tmp_path / MANIFEST).write_text(json.dumps({**values, **changes}))
        with pytest.raises(ValueError, match=f"{MANIFEST}: {message}"):
            load_manifest(tmp_path)
    for deep in (b"[" * 10**6, b'{"later": ' + b"[" * 10**6):
        (tmp_path / MANIFEST).write_bytes(deep)
        with pytest.raises(ValueError, match=r"not JSON|expected object"):
            load_manifest(tmp_path)
    (tmp_path / MANIFEST).write_bytes(manifest().to_json())
    monkeypatch.setattr(manifest_module, "MAX_MANIFEST_BYTES", 100)
    for root, error in ((tmp_path, ValueError), (f"file://{tmp_path}", OSError)):
        with pytest.raises(error, match=r"larger than 100 bytes, the most that is read"):
            load_manifest(root)


def test_a_pipe_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(OSError, match="Not a regular file"):
        load_manifest(tmp_path)
