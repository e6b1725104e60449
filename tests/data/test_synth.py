import pickle
from pathlib import Path

import av
import numpy as np
import pytest

from epam_data.readers import RawSettings, find_reader
from epam_data.synth import SynthSettings, clip_names, figure_motion, synthesise

TINY = SynthSettings(train_clips=6, val_clips=6, height_px=96, width_px=128, min_frames=20, max_frames=24)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("synth"), TINY, num_workers=0)


def test_videos_hold_the_frames_that_the_pickle_announces(made: Path):
    content = pickle.loads(made.read_bytes())
    assert len(content["annotations"]) == 12
    for annotation in content["annotations"]:
        video = made.parent / "videos" / f"{annotation['frame_dir']}_rgb.avi"
        with av.open(str(video)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert sum(1 for _ in container.decode(video=0)) == annotation["total_frames"]
        assert annotation["keypoint"].shape == (1, annotation["total_frames"], 17, 2)
        assert annotation["keypoint"].dtype == annotation["keypoint_score"].dtype == np.float16


def test_the_synthetic_reader_reads_every_clip(made: Path):
    raw = RawSettings(videos=made.parent / "videos", skeletons=made, protocol="xsub")
    clips = list(find_reader("synthetic").read(raw))
    assert sorted(clip.name for clip in clips) == sorted(clip_names(TINY))
    assert {clip.label for clip in clips} == set(range(6))


def test_the_same_seed_makes_the_same_bytes(made: Path, tmp_path: Path):
    again = synthesise(tmp_path, TINY, num_workers=2)
    assert again.read_bytes() == made.read_bytes()
    for video in (made.parent / "videos").iterdir():
        assert (tmp_path / "videos" / video.name).read_bytes() == video.read_bytes()


def test_subjects_of_train_and_val_differ_and_classes_are_balanced():
    names = clip_names(SynthSettings())
    assert len(set(names)) == len(names) == 240
    train, val = names[:180], names[180:]
    assert not {name[8:12] for name in train} & {name[8:12] for name in val}
    for part, count in ((train, 30), (val, 10)):
        assert all(sum(name.endswith(f"A{label:03d}") for name in part) == count for label in range(1, 7))


def test_joints_lie_on_the_figure(made: Path):
    """A glove is bright yellow at the wrist that the annotation reports."""
    content = pickle.loads(made.read_bytes())
    seen = 0
    for annotation in content["annotations"]:
        video = made.parent / "videos" / f"{annotation['frame_dir']}_rgb.avi"
        with av.open(str(video)) as container:
            frame = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
        for joint in (9, 10):
            x, y = annotation["keypoint"][0, 0, joint].astype(float).round().astype(int)
            if annotation["keypoint_score"][0, 0, joint] > 0 and 0 <= x < 128 and 0 <= y < 96:
                red, green, blue = frame[y, x]
                assert red > blue + 60 and green > blue + 60, annotation["frame_dir"]
                seen += 1
    assert seen >= 12


@pytest.mark.parametrize("label", range(6))
def test_motion_keeps_the_length_of_every_bone(label: int):
    joints = figure_motion(label, 30, np.random.default_rng(1), np.random.default_rng(2))
    for a, b in ((5, 7), (7, 9), (11, 13), (13, 15), (6, 8), (14, 16)):
        length = np.linalg.norm(joints[:, a] - joints[:, b], axis=-1)
        np.testing.assert_allclose(length, length[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_clips": 7}, r"synth\.train_clips must be a multiple of 6 and in 6\.\.1000000, got 7"),
        ({"height_px": 65}, r"synth\.height_px must be a multiple of 2 and in 64\.\.4096, got 65"),
        ({"min_frames": 90}, r"synth\.min_frames must be <= max_frames 80, got 90"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        SynthSettings(**changes)
