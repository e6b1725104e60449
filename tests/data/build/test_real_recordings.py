"""Shards of real NTU RGB+D and MA-52 recordings, where the sibling folder `shared/samples` holds some."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from epam_data.build.build import build
from epam_data.build.plan import BuildPlan
from epam_data.check.check import CheckSettings, check
from epam_data.check.rules.motion import motion_of
from epam_data.readers import RawSettings, find_reader
from epam_data.samples.geometry import to_heatmap_pixels
from epam_data.samples.settings import PrepareSettings
from epam_data.samples.video import decode_crop
from epam_data.schema import Clip, Sample
from epam_data.shards.codec import HEATMAP_TOLERANCE, decode
from epam_data.shards.manifest import load_manifest
from epam_data.shards.reader import read_shard
from epam_data.shards.settings import ShardSettings
from epam_data.skeleton import joint_is_missing
from epam_data.stream import BatchFinisher, Stream, StreamSettings
from epam_data.system.executors import ExecutorSettings
from tests.data.raw_data import folder_bytes
from tests.data.samples.test_heatmap import reference_joints
from tests.paths import SHARED

SAMPLES = SHARED / "samples"

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the real recordings (shared/samples) are not beside the repository"
)

RAW = {
    "ntu60": RawSettings(
        videos=SAMPLES / "ntu60" / "videos", skeletons=SAMPLES / "ntu60" / "ntu60_hrnet.pkl", protocol="xsub"
    ),
    "ma52": RawSettings(videos=SAMPLES / "ma52" / "raw_videos", skeletons=SAMPLES / "ma52"),
}
FRAMES = {  # frames of each skeleton; the videos have as many
    "S001C001P001R001A001": 103,
    "0078_01_0005": 60,
    "0020_01_0008": 56,
    "0010_02_0101": 47,
    "0030_01_0002": 75,
}
SETTINGS = {
    "epam": PrepareSettings(),
    "rgbpose": PrepareSettings(rgb_size_px=256, heatmap_size_px=64, sigma_px=0.7, pad_image=True),
}


def plan_of(dataset: str, setting: str, out: Path) -> BuildPlan:
    return BuildPlan(
        dataset=dataset, raw=RAW[dataset], prepare=SETTINGS[setting], shard=ShardSettings(samples_per_shard=2), out=out
    )


@dataclass(frozen=True)
class Built:
    """One data set in one setting."""

    dataset: str
    setting: str
    out: Path
    samples: list[Sample]
    clips: dict[str, Clip]  # by key


@pytest.fixture(scope="module", params=[(d, s) for d in RAW for s in SETTINGS], ids=lambda param: "-".join(param))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    dataset, setting = request.param
    out = tmp_path_factory.mktemp(f"{dataset}_{setting}")
    report = build(plan_of(dataset, setting, out))
    assert not report.problems, report.problems
    shards = [out / f"{entry.name}.tar" for entry in load_manifest(out).shards]
    samples = [decode(members) for shard in shards for _, _, members in read_shard(shard)]
    clips = {clip.key: clip for clip in find_reader(dataset).read(RAW[dataset]) if isinstance(clip, Clip)}
    return Built(dataset=dataset, setting=setting, out=out, samples=samples, clips=clips)


def visible_joints(built: Built, size_px: int) -> Iterator[tuple[Sample, np.ndarray, np.ndarray]]:
    """Each sample with its keypoints in a crop of `size_px` and which of them are visible."""
    for sample in built.samples:
        clip, info = built.clips[sample.info.key], sample.info
        points = to_heatmap_pixels(clip.keypoints, clip.image_size, info.video_size, info.box, (size_px, size_px))
        yield sample, points, ~joint_is_missing(clip.keypoints, clip.scores)


def test_every_clip_is_there_with_all_its_frames(built: Built) -> None:
    expected = {key: count for key, count in FRAMES.items() if key.startswith("S") == (built.dataset == "ntu60")}
    assert {sample.info.key: sample.info.num_frames for sample in built.samples} == expected
    for sample in built.samples:
        info = sample.info
        assert info.video_frames == info.skeleton_frames == info.num_frames
        assert info.video_size == info.image_size == built.clips[info.key].image_size
        assert info.label == built.clips[info.key].label
        settings = SETTINGS[built.setting]
        assert sample.frames.shape == (info.num_frames, settings.rgb_size_px, settings.rgb_size_px, 3)
        assert sample.heatmap.shape[2:] == (settings.heatmap_size_px,) * 2


def test_the_box_holds_the_person_and_little_else(built: Built) -> None:
    for sample, points, visible in visible_joints(built, 100):
        inside = points[visible]
        (left, top), (right, bottom) = inside.min(axis=0), inside.max(axis=0)
        x1, y1, x2, y2 = sample.info.box
        height, width = sample.info.video_size
        if built.setting == "epam":
            assert x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
            assert left >= 0 and top >= 0 and right <= 100 and bottom <= 100
        else:
            assert abs((x2 - x1) - (y2 - y1)) <= 2, "square"
            # 25 % of the half sides: the person takes 1 / 1.25 of the larger side.
            assert max(right - left, bottom - top) == pytest.approx(80, abs=1)
            assert (left + right) / 2 == pytest.approx(50, abs=1)
            assert (top + bottom) / 2 == pytest.approx(50, abs=1)


def test_frames_show_the_recording(built: Built) -> None:
    """The stored frames equal the decoder's within the JPEG's loss, and are no blank or shifted pictures."""
    for sample in built.samples:
        info = sample.info
        ending = f"{info.name}_rgb.avi" if built.dataset == "ntu60" else f"{info.name}.mp4"
        frames, count = decode_crop(RAW[built.dataset].videos / ending, info.box, info.rgb_size_px, 4)
        assert count == info.num_frames
        error = np.abs(sample.frames[:4].astype(int) - frames).mean()
        assert error < 4 and frames.std() > 20


def test_heatmaps_peak_at_the_keypoints(built: Built) -> None:
    """A channel's peak lies within half a pixel of its joint, for those well inside, of one-person clips."""
    for sample, points, visible in visible_joints(built, SETTINGS[built.setting].heatmap_size_px):
        size = sample.info.heatmap_size_px
        assert len(points) == 1
        inside = visible[0] & (points[0] >= 1).all(axis=-1) & (points[0] <= size - 2).all(axis=-1)
        scores = built.clips[sample.info.key].scores[0]
        strong = np.argwhere(inside & (scores > 0.3))
        assert len(strong) > 0.5 * visible.sum()
        for frame, joint in strong:
            channel = sample.heatmap[frame, joint]
            row, column = np.unravel_index(channel.argmax(), channel.shape)
            x, y = points[0, frame, joint]
            assert abs(column - x) <= 0.51 and abs(row - y) <= 0.51, (sample.info.key, frame, joint)


def test_heatmaps_equal_the_reference(built: Built) -> None:
    settings = SETTINGS[built.setting]
    for sample, points, _ in visible_joints(built, settings.heatmap_size_px):
        clip, info = built.clips[sample.info.key], sample.info
        points = np.where(joint_is_missing(clip.keypoints, clip.scores)[..., None], np.nan, points)
        expected = reference_joints(
            points[:, :8], clip.scores[:, :8], (settings.heatmap_size_px,) * 2, settings.sigma_px
        )
        stored = sample.heatmap[:8] * (info.heatmap_scale / 255)
        assert np.abs(stored - expected).max() <= HEATMAP_TOLERANCE * info.heatmap_scale + 1e-6


def test_keypoints_are_stored_untouched(built: Built) -> None:
    for sample in built.samples:
        clip = built.clips[sample.info.key]
        assert sample.keypoints.dtype == clip.keypoints.dtype == np.float16
        np.testing.assert_array_equal(sample.keypoints[..., :2], clip.keypoints)
        np.testing.assert_array_equal(sample.keypoints[..., 2], clip.scores)


def test_both_decoders_give_equal_frames(built: Built) -> None:
    sample = built.samples[0]
    path = next(RAW[built.dataset].videos.rglob(f"{sample.info.key}*"))
    box = sample.info.box
    one, count = decode_crop(path, box, 64, 20, "pyav")
    other, other_count = decode_crop(path, box, 64, 20, "decord")
    assert count == other_count == sample.info.num_frames
    np.testing.assert_array_equal(one, other)


def test_a_check_raises_no_alarm(built: Built) -> None:
    raw = RAW[built.dataset]
    settings = CheckSettings(sample="all", rgb=True, skeletons=raw.skeletons, videos=raw.videos)
    report = check(built.out, settings, ExecutorSettings())
    assert report.findings == ()
    assert report.num_decoded == len(built.samples)


def test_frames_of_another_moment_are_found(built: Built) -> None:
    """The clip that moves most, its skeleton four frames early or late."""
    samples = {sample.info.key: sample for sample in built.samples}
    if "0078_01_0005" not in samples:
        pytest.skip("the recording of NTU moves little")
    sample = samples["0078_01_0005"]
    for lag in (-5, -4, -3, 3, 4, 5):
        early, late = max(0, lag), max(0, -lag)
        num = sample.info.num_frames
        motion = motion_of(sample.info, sample.keypoints[:, late : num - early], sample.frames[early : num - late])
        assert motion is not None and motion.shifted and abs(motion.lag - lag) <= 1
    together = motion_of(sample.info, sample.keypoints, sample.frames)
    assert together is not None and together.moves and not together.shifted


def test_a_rebuild_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    if built.setting != "epam":
        pytest.skip("one setting shows it")
    build(plan_of(built.dataset, built.setting, tmp_path))
    assert folder_bytes(tmp_path) == folder_bytes(built.out)


def test_a_stream_takes_them(built: Built) -> None:
    """One batch of the published shape, mirrored, straight from the shards."""
    split = "train"
    settings = StreamSettings(batch_size=1, workers=0, flip=1.0)
    stream = Stream(built.out, split=split, settings=settings, training=True)
    batch = next(stream.epoch(0))
    rgb, pose = BatchFinisher.for_shards(stream.manifest)(batch)
    size, heat = SETTINGS[built.setting].rgb_size_px, SETTINGS[built.setting].heatmap_size_px
    joints = len(stream.manifest.joints)
    assert rgb.shape == (1, 3, 16, size, size) and pose.shape == (1, joints, 48, heat, heat)
    assert abs(float(rgb.mean())) < 3 and 0 < float(pose.max()) <= float(batch.heatmap_scale[0]) + 1e-6
