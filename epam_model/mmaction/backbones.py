"""The backbones for MMAction2: they return six elements, and save weights under the published names."""

from __future__ import annotations

from pathlib import Path

from mmaction.registry import MODELS
from torch import Tensor

from epam_model.mmaction.state_names import save_under
from epam_model.networks import epam, rgbpose_conv3d
from epam_model.weights.convert import load_pretrained
from epam_model.weights.epam_names import EPAM
from epam_model.weights.rgbpose_names import RGBPOSE_CONV3D

SixElements = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]
"""(rgb, pose, rgb1, pose1, gt, gt_coarse): features, copies of them for your own losses, the given labels."""


@MODELS.register_module()
class EPAMBackbone(epam.EPAMBackbone):
    """EPAM-Net's backbone; arguments as in `epam_model.networks.epam.EPAMBackbone`.

    Raises:
        ValueError: for `return_both_streams=False`, and as in the network itself.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        rgb_pretrained: str | None = None,
        pose_pretrained: str | None = None,
        attention_type: str = "CBAM_spatial_efficient_temporal",
        freeze_rgb: bool = False,
        freeze_pose: bool = False,
        return_both_streams: bool = True,
        num_joints: int = 17,
    ) -> None:
        if not return_both_streams:
            raise ValueError(
                "return_both_streams must be True in MMAction2, got False: its two-stream heads also read the pose "
                "features; to train only RGB, set loss_weights=[1.0, 0.0]"
            )
        super().__init__(
            num_classes,
            rgb_pretrained,
            pose_pretrained,
            attention_type,
            freeze_rgb,
            freeze_pose,
            return_both_streams,
            num_joints,
        )
        save_under(self, EPAM.backbone)

    def forward(  # type: ignore[override]  # MMAction2's names, and its tuple
        self, imgs: Tensor, heatmap_imgs: Tensor, gt: Tensor | None = None, gt_coarse: Tensor | None = None
    ) -> SixElements:
        """Computes the features of a batch.

        Args:
            imgs: normalised frames (N, 3, T, H, W), float; published (N, 3, 16, 224, 224).
            heatmap_imgs: heatmaps (N, V, r * T, h, w), float; published (N, 17, 48, 56, 56).
            gt: labels, handed on as they are; the network does not see them.
            gt_coarse: coarse labels, the same.

        Returns:
            rgb (N, 432, T, H / 32, W / 32), pose (N, 216, r * T, h / 8, w / 8), copies of both, gt, gt_coarse.

        Raises:
            ValueError: the clips do not fit the network or each other.
        """
        rgb, pose = super().forward(imgs, heatmap_imgs)
        return rgb, pose, rgb.clone(), pose.clone(), gt, gt_coarse


@MODELS.register_module()
class PCANRGBPoseConv3D(rgbpose_conv3d.RGBPoseConv3D):
    """RGBPoseConv3D with PCAN's interaction; MMAction2's own network keeps the name `RGBPoseConv3D`.

    Args:
        num_joints: joints of the heatmaps: 17 for COCO, 28 for MA-52.
        rgb_pretrained: checkpoint of the RGB path, ours or foreign, see `convert`; loaded strictly.
        pose_pretrained: the same for the pose path.
        interaction: whether to add PCAN's interaction; without it, this is MMAction2's own network.
        freeze_rgb: the RGB path gets no gradients, and its batch norms stay in evaluation mode.
        freeze_pose: the same for the pose path.

    Raises:
        ValueError: a checkpoint cannot be read, or does not fit.
    """

    def __init__(
        self,
        num_joints: int = 17,
        rgb_pretrained: str | None = None,
        pose_pretrained: str | None = None,
        interaction: bool = True,
        freeze_rgb: bool = False,
        freeze_pose: bool = False,
    ) -> None:
        super().__init__(num_joints=num_joints, interaction=interaction, freeze_rgb=freeze_rgb, freeze_pose=freeze_pose)
        self.rgb_pretrained, self.pose_pretrained = rgb_pretrained, pose_pretrained
        self._load_pretrained()
        save_under(self, RGBPOSE_CONV3D.backbone)

    def init_weights(self) -> None:
        """Resets to the published initialisation, then loads the pretrained paths, if any; MMEngine calls it."""
        super().init_weights()
        self._load_pretrained()

    def _load_pretrained(self) -> None:
        if self.rgb_pretrained is not None:
            load_pretrained(self.rgb_backbone, Path(self.rgb_pretrained), "rgb", RGBPOSE_CONV3D)
        if self.pose_pretrained is not None:
            load_pretrained(self.pose_backbone, Path(self.pose_pretrained), "pose", RGBPOSE_CONV3D)

    def forward(  # type: ignore[override]  # MMAction2's names, and its tuple
        self, imgs: Tensor, heatmap_imgs: Tensor, gt: Tensor | None = None, gt_coarse: Tensor | None = None
    ) -> SixElements:
        """Computes the features of a batch.

        Args:
            imgs: normalised frames (N, 3, T, H, W), float; published (N, 3, 8, 224, 224).
            heatmap_imgs: heatmaps (N, V, 4 * T, H / 4, W / 4), float; published (N, 17, 32, 56, 56).
            gt: labels, handed on as they are; the network does not see them.
            gt_coarse: coarse labels, the same.

        Returns:
            rgb (N, 2048, T, H / 32, W / 32), pose (N, 512, 4 * T, H / 32, W / 32), copies of both, gt, gt_coarse.

        Raises:
            ValueError: the clips do not fit the network or each other.
        """
        rgb, pose = super().forward(imgs, heatmap_imgs)
        return rgb, pose, rgb.clone(), pose.clone(), gt, gt_coarse
