"""EPAM-Net and PCAN inside MMAction2 1.x: `custom_imports = dict(imports=["epam_model.mmaction"])` in a config.

Registers, without changing MMAction2: the backbones `EPAMBackbone` and `PCANRGBPoseConv3D`, the recogniser
`EPAMRecognizer`, the head `PCANRGBPoseHead` and the data set `ShardDataset`. `epam_model.mmaction.replace` also
replaces MMAction2's own `RGBPoseHead` by this head. Networks, losses and shards are those of this package.
"""

from epam_model.mmaction.missing_module import add_missing_drn

add_missing_drn()  # before anything imports mmaction.models

from epam_model.mmaction.backbones import EPAMBackbone, PCANRGBPoseConv3D  # noqa: E402
from epam_model.mmaction.heads import PCANRGBPoseHead  # noqa: E402
from epam_model.mmaction.recognizers import EPAMRecognizer  # noqa: E402
from epam_model.mmaction.resume import allow_mmengine_log  # noqa: E402
from epam_model.mmaction.shard_dataset import ShardDataset  # noqa: E402

allow_mmengine_log()
__all__ = ["EPAMBackbone", "EPAMRecognizer", "PCANRGBPoseConv3D", "PCANRGBPoseHead", "ShardDataset"]
