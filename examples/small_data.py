"""The data set of the examples: 18 synthetic clips, created once, in `examples_out/` of the current folder."""

from pathlib import Path

from epam_data.build.build import build
from epam_data.build.plan import BuildPlan
from epam_data.readers import RawSettings
from epam_data.samples.settings import PrepareSettings
from epam_data.shards.settings import ShardSettings
from epam_data.stream import StreamSettings
from epam_data.synth import SynthSettings, synthesise

CLIPS = StreamSettings(batch_size=4, rgb_frames=2, pose_frames=6, workers=0)
"""Small clips, loaded in this process. Published EPAM-Net takes 16 RGB and 48 pose frames."""


def small_shards(folder: Path = Path("examples_out")) -> Path:
    """The folder of shards with 12 training and 6 validation clips: frames of 128 pixels, heatmaps of 32."""
    shards = folder / "shards"
    if not (shards / "manifest.json").exists():
        size = SynthSettings(train_clips=12, val_clips=6, height_px=128, width_px=160, min_frames=24, max_frames=32)
        pickle = synthesise(folder / "raw", size, num_workers=0)
        plan = BuildPlan(
            dataset="synthetic",
            raw=RawSettings(videos=folder / "raw" / "videos", skeletons=pickle, protocol="xsub"),
            prepare=PrepareSettings(rgb_size_px=128, heatmap_size_px=32),
            shard=ShardSettings(samples_per_shard=6),
            out=shards,
        )
        build(plan)
    return shards


if __name__ == "__main__":
    print(f"shards: {small_shards()}")
