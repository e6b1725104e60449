import pytest
import torch
from torch import nn

from epam_model.layers.conv_norm import ConvNorm
from epam_model.layers.frame_conv import FrameConv
from epam_model.layers.time_conv import TimeConv


@pytest.mark.parametrize("conv", [FrameConv(8, 16, 3), TimeConv(8, 16)])
def test_channels_last_is_kept(conv):
    x = torch.randn(2, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    assert ConvNorm(conv)(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_sync_batch_norm_conversion_reaches_the_norm():
    layer = nn.SyncBatchNorm.convert_sync_batchnorm(ConvNorm(FrameConv(3, 4), momentum=0.01))
    assert isinstance(layer.norm, nn.SyncBatchNorm)
    assert layer.norm.momentum == 0.01
