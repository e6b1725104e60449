"""EPAM-Net and PCAN inside MMAction2 1.x: `custom_imports = dict(imports=["epam_model.mmaction"])` in a config.

Registers, without an edit of MMAction2: the backbones `EPAMBackbone` and `PCANRGBPoseConv3D`, the recogniser
`EPAMRecognizer`, the head `PCANRGBPoseHead` and the data set `ShardDataset`. `epam_model.mmaction.replace` also puts
the head in the place of MMAction2's own `RGBPoseHead`. Networks, losses and shards are those of the whole package.
"""

from epam_model.mmaction.missing_module import stand_in_for_drn

stand_in_for_drn()  # before anything imports mmaction.models

from epam_model.mmaction.backbones import EPAMBackbone, PCANRGBPoseConv3D  # noqa: E402
from epam_model.mmaction.heads import PCANRGBPoseHead  # noqa: E402
from epam_model.mmaction.recognizers import EPAMRecognizer  # noqa: E402
from epam_model.mmaction.resume import let_torch_read_the_log  # noqa: E402
from epam_model.mmaction.shard_dataset import ShardDataset  # noqa: E402

let_torch_read_the_log()

__all__ = ["EPAMBackbone", "EPAMRecognizer", "PCANRGBPoseConv3D", "PCANRGBPoseHead", "ShardDataset"]
