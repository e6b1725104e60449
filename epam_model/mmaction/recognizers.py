"""The recogniser: passes both clips to the backbone, and in training the labels, if the backbone takes them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from mmaction.models import BaseRecognizer
from mmaction.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class EPAMRecognizer(BaseRecognizer):
    """A backbone of two streams and its head, with MMAction2's modes `loss`, `predict` and `tensor`.

    Args:
        backbone: config of `EPAMBackbone`, `PCANRGBPoseConv3D`, or another whose forward takes imgs and heatmap_imgs.
        cls_head: config of `PCANRGBPoseHead`, or another that reads the backbone's tuple.
        data_preprocessor: config of a `MultiModalDataPreprocessor` for imgs and heatmap_imgs.
        train_cfg: as in MMAction2.
        test_cfg: as in MMAction2.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        cls_head: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            backbone, cls_head, train_cfg=train_cfg, test_cfg=test_cfg, data_preprocessor=data_preprocessor
        )
        self._takes_labels = "gt" in inspect.signature(self.backbone.forward).parameters

    def extract_feat(
        self,
        inputs: dict[str, Tensor],
        stage: str = "backbone",
        data_samples: Sequence[Any] | None = None,
        test_mode: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Features, or scores, of a batch of B samples of C clips.

        Args:
            inputs: imgs (B, C, 3, T, H, W) and heatmap_imgs (B, C, V, T', h, w), float.
            stage: `backbone`: return its features; `head`: return the scores of the head.
            data_samples: B `ActionDataSample`s with labels in training; else not needed.
            test_mode: whether to ignore labels.

        Returns:
            The output of the stage, and a dict without further arguments for the head.
        """
        clips = {name: clip.flatten(0, 1) for name, clip in inputs.items()}
        labels = {}
        if data_samples is not None and self._takes_labels and not test_mode:
            labels = self._labels(data_samples, clips["imgs"].device)
        feats = self.backbone(**clips, **labels)
        return (self.cls_head(feats) if stage == "head" else feats), {}

    def _labels(self, data_samples: Sequence[Any], device: torch.device) -> dict[str, Tensor]:
        """Fine labels (B,) int64, and coarse ones if the head has `coarse_of`."""
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(device)
        table = getattr(self.cls_head, "coarse_of", None)
        if table is None:
            return {"gt": labels}
        return {"gt": labels, "gt_coarse": torch.tensor(table, device=device)[labels]}
