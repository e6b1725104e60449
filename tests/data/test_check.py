import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from epam_data.check import CheckSettings, check, deep_keys, heatmap_error
from epam_data.codec import HEATMAP_TOLERANCE, MEMBERS, decode, encode
from epam_data.index import INDEX, MANIFEST, load_index, load_manifest
from epam_data.shard import read_shard

ALL = CheckSettings(sample=-1)


@pytest.fixture
def shards(ntu60_shards: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(ntu60_shards, tmp_path / "shards", ignore=shutil.ignore_patterns(".build")))


def findings(root: Path) -> str:
    return "\n".join(f"{f.shard}|{f.key}|{f.what}" for f in check(root, ALL, num_workers=0).findings)


def first_sample(root: Path) -> tuple[str, dict[str, bytes]]:
    key, _, members = next(read_shard(root / "train-000000.tar"))
    return key, members


def rewrite(root: Path, change) -> None:
    """Write the first shard anew with its members changed, sizes and all."""
    path = root / "train-000000.tar"
    samples = list(read_shard(path))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (key, _, members) in enumerate(samples):
            for ending, data in (change(members) if number == 0 else members).items():
                header = tarfile.TarInfo(f"{key}.{ending}")
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))


def changed_json(members: dict[str, bytes], **values) -> dict[str, bytes]:
    return {**members, "json": json.dumps({**json.loads(members["json"]), **values}).encode()}


def test_good_shards_raise_no_alarm(ntu60_shards: Path, ma52_shards: Path):
    for root, num_samples in ((ntu60_shards, 19), (ma52_shards, 8)):
        report = check(root, ALL, num_workers=0)
        assert report.findings == ()
        assert report.num_samples == report.num_deep == num_samples
        assert 0 < report.heatmap_error <= HEATMAP_TOLERANCE + 1e-5


def test_workers_find_the_same(shards: Path):
    path = shards / "val-000000.tar"
    path.write_bytes(path.read_bytes()[:-700] + bytes(700))
    alone, together = (check(shards, ALL, num_workers=workers) for workers in (0, 2))
    assert alone.findings == together.findings
    assert alone.heatmap_error == together.heatmap_error


def test_a_flipped_bit_is_found(shards: Path):
    path = shards / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "train-000000||its sha256 is not the manifest's" in findings(shards)


def test_a_missing_shard_is_found(shards: Path):
    (shards / "train-000001.tar").unlink()
    assert "train-000001||the shard is missing" in findings(shards)


def test_a_truncated_shard_is_found(shards: Path):
    path = shards / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    found = findings(shards)
    assert "has 3000 bytes, the manifest says" in found
    assert "holds 0 samples, the index has 4" in found


def test_an_unlisted_shard_is_found(shards: Path):
    shutil.copy(shards / "train-000000.tar", shards / "train-000099.tar")
    assert "train-000099||a shard that the manifest does not list" in findings(shards)


def test_another_index_is_found(shards: Path):
    with (shards / INDEX).open("ab") as file:
        file.write(b"x")
    assert "index.h5 is not the one that the manifest was written with" in findings(shards)


def test_a_wrong_count_and_a_repeated_key_are_found(shards: Path):
    manifest = json.loads((shards / MANIFEST).read_text())
    manifest["shards"][0]["num_samples"] = 5
    (shards / MANIFEST).write_text(json.dumps(manifest))
    assert "train-000000||the manifest counts 5 samples, the index 4" in findings(shards)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 60}, "label must be in 0..59, got 60"),
        ({"coarse_label": 7}, "coarse label of class"),
        ({"num_frames": 3}, "frame_offsets must be 4 numbers"),
        ({"split": "val"}, "of split val"),
        ({"key": "other"}, "KEY.json says other"),
        ({"schema": 9}, "shard schema 9 cannot be read"),
        ({"video_frames": 5}, "num_frames must be min(5,"),
        ({"rgb_size_px": 32}, "rgb_size_px must be 64, as in the manifest, got 32"),
        ({"heatmap_size_px": 8}, "heatmap_size_px must be 16, as in the manifest, got 8"),
        ({"sigma_px": 0.7}, "sigma_px must be 0.6, as in the manifest, got 0.7"),
        ({"skeleton": "other"}, "skeleton must be coco17, as in the manifest, got other"),
        ({"label": None}, "the label is hidden, so the coarse label must be"),
    ],
)
def test_wrong_json_is_found_and_named(shards: Path, change: dict[str, object], message: str):
    key, _ = first_sample(shards)
    rewrite(shards, lambda members: changed_json(members, **change))
    assert any(line.startswith(f"train-000000|{key}|") and message in line for line in findings(shards).splitlines())


def test_damaged_members_are_found_and_named(shards: Path):
    key, members = first_sample(shards)
    for ending in MEMBERS[1:]:
        broken = {**members, ending: b"\0" * 16 + members[ending][16:]}
        rewrite(shards, lambda _, broken=broken: broken)
        assert f"train-000000|{key}|" in findings(shards), ending


def test_a_heatmap_of_other_keypoints_is_found(shards: Path):
    _, members = first_sample(shards)
    sample = decode(members)
    moved = sample.keypoints.copy()
    moved[..., 0] += 2
    other = encode(type(sample)(info=sample.info, keypoints=moved, heatmap=sample.heatmap, frames=sample.frames))
    assert heatmap_error(sample, load_manifest(shards)) <= HEATMAP_TOLERANCE + 1e-5
    rewrite(shards, lambda _: other)
    assert "a heatmap differs from the reference by" in findings(shards)


def test_swapped_members_are_found(shards: Path):
    rewrite(shards, lambda members: dict(reversed(members.items())))
    assert "expected KEY.json, got" in findings(shards)


def test_the_deep_subset_is_seeded(ntu60_shards: Path):
    index = load_index(ntu60_shards)
    some = CheckSettings(sample=5)
    assert deep_keys(index, some) == deep_keys(index, some)
    assert len(deep_keys(index, some)) == 5
    assert deep_keys(index, some) != deep_keys(index, CheckSettings(sample=5, seed=1))
    assert len(deep_keys(index, CheckSettings(sample=0))) == 0
    assert deep_keys(index, ALL) == frozenset(index.row_of_key)


def test_no_shard_directory_and_bad_settings_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds no manifest\.json"):
        check(tmp_path, ALL, num_workers=0)
    with pytest.raises(ValueError, match=r"check\.sample must be >= -1, got -2"):
        CheckSettings(sample=-2)
