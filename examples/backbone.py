"""The backbone by itself: it takes clips and returns the features of both streams and the attention map."""

import torch

from epam_model import EPAMBackbone

backbone = EPAMBackbone().eval()  # as published: RGB + pose, CBAM attention, 17 joints
rgb = torch.randn(1, 3, 16, 224, 224)  # (B, 3, T, H, W), normalised frames
pose = torch.rand(1, 17, 48, 56, 56)  # (B, V, 3 T, h, w), heatmaps

with torch.inference_mode():
    rgb_features, pose_features, attention = backbone(rgb, pose, return_attention=True)

print("parameters", sum(weight.numel() for weight in backbone.parameters()))
print("rgb features", tuple(rgb_features.shape))
print("pose features", tuple(pose_features.shape))
print("attention", tuple(attention.shape))
