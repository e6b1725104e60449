"""Builds to S3 while the server fails: nothing lost, nothing half visible, the manifest last."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from epam_data.build.output import UrlOutput
from tests.data.raw_data import folder_bytes, write_ntu60
from tests.soak.test_build_kills import RECIPE

pytest.importorskip("moto")
s3fs = pytest.importorskip("s3fs")
faulty_s3 = pytest.importorskip("tests.soak.faulty_s3")
pytestmark = pytest.mark.soak

URL = f"s3://{faulty_s3.BUCKET}/sets/ntu60"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("s3")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(raw=write_ntu60(folder / "raw", num_train=16, num_val=5)))
    return path


@pytest.fixture(scope="module")
def expected(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("local")
    subprocess.run(command(recipe, str(out)), check=True, capture_output=True)
    return folder_bytes(out)


@pytest.fixture
def server(seed: int) -> Iterator[Any]:
    with faulty_s3.FaultyS3(seed) as running:
        fs = filesystem(running)
        fs.mkdir(faulty_s3.BUCKET)
        yield running
        running.fault_rate = 0.0
        fs.rm(faulty_s3.BUCKET, recursive=True)


def filesystem(server: Any) -> Any:
    return s3fs.S3FileSystem(
        key="test", secret="test", endpoint_url=server.endpoint, use_listings_cache=False, skip_instance_cache=True
    )


def command(recipe: Path, out: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "epam_data.cli", "build", str(recipe), "--out", out, "--workers", "2", *more]


def start(server: Any, recipe: Path, work: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(recipe, URL, "--work", str(work)),
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def published(server: Any) -> dict[str, bytes]:
    fs = filesystem(server)
    prefix = URL.removeprefix("s3://")
    return {path.removeprefix(f"{prefix}/"): fs.cat_file(path) for path in fs.find(prefix) if "/.build/" not in path}


def test_a_server_that_fails_costs_nothing(server: Any, recipe: Path, expected: dict[str, bytes], tmp_path: Path):
    server.fault_rate = 0.25
    process = start(server, recipe, tmp_path / "work")
    text, _ = process.communicate(timeout=300)
    server.fault_rate = 0.0
    print(f"{server.faults} faults")
    assert process.returncode == 0, text
    assert server.faults >= 3  # of some forty requests
    assert published(server) == expected
    assert server.written[-1].endswith("/manifest.json")
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["skeletons.h5", "tasks.json"]


def test_killed_and_begun_again(server: Any, recipe: Path, expected: dict[str, bytes], tmp_path: Path):
    server.fault_rate = 0.05
    rng = random.Random(server.seed)
    for _ in range(4):
        finished = {name.rpartition("/")[2].removesuffix(".json") for name in server.written if "/receipts/" in name}
        before = len(server.written)
        process = start(server, recipe, tmp_path / "work")
        time.sleep(rng.uniform(2, 8))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        shards = {name.rpartition("/")[2] for name in server.written[before:] if name.endswith(".tar")}
        assert not shards & {f"{name}.tar" for name in finished}, "a finished shard was uploaded again"
        visible = published(server)
        assert {name: visible[name] for name in visible if name.endswith(".tar")}.items() <= expected.items()
        assert "manifest.json" not in visible or visible == expected
    process = start(server, recipe, tmp_path / "work")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert published(server) == expected


def test_an_object_that_was_replaced_is_built_again(
    server: Any, recipe: Path, expected: dict[str, bytes], tmp_path: Path
):
    assert start(server, recipe, tmp_path / "work").wait(timeout=300) == 0
    name = next(name for name in expected if name.endswith(".tar"))
    damaged = bytearray(expected[name])
    damaged[700] ^= 1
    filesystem(server).pipe_file(f"{URL}/{name}", bytes(damaged))
    process = start(server, recipe, tmp_path / "work")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "21 clips in 8 shards (7 reused)" in text, text
    assert published(server) == expected


def test_a_large_shard_goes_in_parts(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # of an earlier seed's server
    data = random.Random(0).randbytes(40_000_000)
    output = UrlOutput(URL, tmp_path / "staging")
    output.staging.mkdir(parents=True)
    (output.staging / "train-000000.tar").write_bytes(data)
    server.fault_rate = 0.2
    stamp = output.publish("train-000000.tar")
    assert output.is_intact("train-000000.tar", num_bytes=len(data), sha256="", stamp=stamp)
    server.fault_rate = 0.0
    # A lost answer to the last part's request makes the client write the object again: what counts is what it holds.
    assert set(server.written) == {"sets/ntu60/train-000000.tar"} and published(server) == {"train-000000.tar": data}


def test_a_server_that_is_down_is_named(server: Any, recipe: Path, tmp_path: Path):
    server.fault_rate = 1.0
    process = start(server, recipe, tmp_path / "work")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 2, text
    assert f"epam-data build: {URL}/.build/inputs.json: could not be read in 5 attempts" in text
