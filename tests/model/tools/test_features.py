from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_model.build import build_model
from epam_model.networks.settings import ModelSettings
from epam_model.tools import features
from epam_model.tools.features import extract, model_outputs

STREAM = StreamSettings(batch_size=3, rgb_frames=2, pose_frames=6, workers=0)
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return build_model(ModelSettings(), num_classes=6, num_joints=17)


def run(model: torch.nn.Module, shards: Path, out: Path, **options) -> int:
    stream = Stream(shards, split="val", settings=STREAM, training=False)
    finisher = BatchFinisher.for_shards(stream.manifest)
    return extract(model, stream, finisher, CPU, out, **{"identity": {"weights": "a"}, **options})


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path, "r") as file:
        return {name: file[name][:] for name in file}


def test_a_row_per_clip_with_what_the_model_says(model, shards: Path, tmp_path: Path):
    assert run(model, shards, tmp_path / "f.h5") == 0
    table = read(tmp_path / "f.h5")
    shapes = {name: values.shape for name, values in table.items()}
    assert shapes == {
        "key": (7,),
        "label": (7,),
        "rgb_logits": (7, 6),
        "pose_logits": (7, 6),
        "rgb_features": (7, 432),
        "pose_features": (7, 216),
        "attention": (7, 2, 1, 1),
    }
    assert [key.decode() for key in table["key"]] == [f"val-{number}" for number in range(7)]
    assert table["label"].tolist() == [0, 1, 2, 3, 4, 5, 0]
    logits = table["rgb_features"] @ model.head.rgb.fc.weight.detach().numpy().T
    np.testing.assert_allclose(table["rgb_logits"], logits, atol=1e-5)  # the classifier's bias starts at zero
    assert ((table["attention"] > 0) & (table["attention"] < 1)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]
    with h5py.File(tmp_path / "f.h5", "r") as file:
        assert file["rgb_features"].compression == "gzip" and '"weights": "a"' in file.attrs["identity"]


def test_full_features_pool_to_the_pooled_ones(model, shards: Path, tmp_path: Path):
    run(model, shards, tmp_path / "full.h5", kind="full")
    run(model, shards, tmp_path / "pooled.h5")
    full, pooled = read(tmp_path / "full.h5"), read(tmp_path / "pooled.h5")
    assert full["pose_features"].shape == (7, 216, 6, 1, 1)
    np.testing.assert_allclose(full["pose_features"].mean(axis=(2, 3, 4)), pooled["pose_features"], rtol=1e-5)


def test_an_interrupted_call_goes_on_and_ends_in_the_same_file(model, shards: Path, tmp_path: Path, monkeypatch):
    run(model, shards, tmp_path / "whole.h5")
    columns, calls = features._columns, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return columns(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features, "_columns", interrupted)
        run(model, shards, tmp_path / "cut.h5")
    assert not (tmp_path / "cut.h5").exists()
    with pytest.raises(ValueError, match=r"cut\.h5\.parts: contains parts of another computation"):
        run(model, shards, tmp_path / "cut.h5", identity={"weights": "b"})
    assert run(model, shards, tmp_path / "cut.h5") == 6  # two batches of three were there
    whole, cut = read(tmp_path / "whole.h5"), read(tmp_path / "cut.h5")
    assert whole.keys() == cut.keys() and all((whole[name] == cut[name]).all() for name in whole)
    assert not (tmp_path / "cut.h5.parts").exists()


@torch.no_grad()
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"streams": "pose"}, {"pose_logits", "pose_features"}),
        ({"network": "rgbpose_conv3d"}, {"rgb_logits", "pose_logits", "rgb_features", "pose_features"}),
    ],
)
def test_models_without_attention_have_no_map(settings, names):
    other = build_model(ModelSettings(**settings), num_classes=6, num_joints=17).eval()
    assert model_outputs(other, torch.rand(1, 3, 2, 32, 32), torch.rand(1, 17, 8, 8, 8)).keys() == names


def test_errors(model, shards: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="kind must be one of pooled, full, got 'mean'"):
        run(model, shards, tmp_path / "f.h5", kind="mean")
    (tmp_path / "f.h5").touch()
    with pytest.raises(ValueError, match=r"f\.h5: already exists"):
        run(model, shards, tmp_path / "f.h5")
