import pytest
import torch
from torch import nn

from epam_model.networks.fold import fold_batch_norms
from epam_model.networks.recogniser import build_epam
from epam_model.networks.resnet_path import pose_path


def awake(model: nn.Module) -> nn.Module:
    """Batch norms with statistics and weights of their own."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(std=0.2)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["epam", "path"])
def test_a_folded_model_gives_the_same_numbers_without_batch_norms(name):
    torch.manual_seed(0)
    model = awake(build_epam(6) if name == "epam" else pose_path(5)).double()
    clips = [torch.rand(2, 3, 2, 32, 32).double(), torch.rand(2, 17, 6, 8, 8).double()]
    clips = clips if name == "epam" else [torch.rand(2, 5, 2, 8, 8).double()]
    folded = fold_batch_norms(model)
    outputs = [each(*clips) for each in (model, folded)]
    if name == "epam":
        outputs = [torch.cat([logits.rgb, logits.pose]) for logits in outputs]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-9, atol=1e-9)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in folded.modules())
    assert not folded.training


def test_the_model_itself_is_left_alone():
    model = awake(pose_path(5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fold_batch_norms(model)
    assert model.training
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
