import copy

import pytest
import torch
from torch import nn

from epam_model.layers.checkpointing import run_blocks
from epam_model.networks.resnet_path import pose_path
from epam_model.networks.x_shift_net import pose_stream


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("make", [pose_stream, pose_path])
def test_a_checkpointed_step_is_the_plain_step(make, frozen: bool):
    """Features, gradients and batch-norm statistics, though each block runs twice."""
    plain = make(3).double().train()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.constant_(module.weight, 0.7)  # the zeros of a fresh block would hide it
            if frozen and module is not plain.stem.norm:  # the gradient of another stream may pass
                module.eval()
    saving = copy.deepcopy(plain)
    saving.checkpoint_activations = True
    clip = torch.randn(2, 3, 4, 16, 16, dtype=torch.float64)
    outputs = [network(clip) for network in (plain, saving)]
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(outputs[1], outputs[0])
    for (name, ours), theirs in zip(saving.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    for (name, ours), theirs in zip(saving.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
    assert plain.stem.norm.num_batches_tracked == 1


def test_blocks_keep_their_inputs_only():
    blocks = nn.Sequential(*(nn.Sequential(nn.Conv3d(2, 2, 1), nn.BatchNorm3d(2), nn.SiLU()) for _ in range(4)))

    def saved(checkpointed: bool) -> int:
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            run_blocks(blocks, torch.rand(1, 2, 2, 8, 8, requires_grad=True), checkpointed=checkpointed)
        return sum(kept)

    assert saved(True) < saved(False) / 2


def test_evaluation_is_never_checkpointed():
    stream = pose_stream(3).eval()
    stream.checkpoint_activations = True
    clip = torch.rand(1, 3, 2, 8, 8, requires_grad=True)
    assert "Checkpoint" not in str(stream(clip).grad_fn)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Conv3d(2, 2, 1), nn.BatchNorm3d(2), nn.SiLU()) for _ in range(3)]
        self.blocks, self.checkpointed = nn.Sequential(*layers), False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return run_blocks(self.blocks, x, checkpointed=self.checkpointed)


def test_a_compiled_step_is_the_plain_one_and_keeps_less():
    """All of the compiler but its generated kernels: the graphs of both passes, and what is kept between them."""
    plain, clip = Blocks().double(), torch.randn(1, 2, 2, 8, 8, dtype=torch.float64)
    kept: dict[bool, int] = {}
    networks = {False: copy.deepcopy(plain), True: copy.deepcopy(plain)}
    for checkpointed, network in networks.items():
        network.checkpointed = checkpointed
        called = torch.compile(network, backend="aot_eager_decomp_partition")
        for _ in range(2):
            sizes: list[int] = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, _same):
                called(clip).square().sum().backward()
            kept[checkpointed] = sum(sizes)
    for _ in range(2):
        plain(clip).square().sum().backward()
    for network in networks.values():
        for (name, ours), theirs in zip(network.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
        for (name, ours), theirs in zip(network.named_buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs, msg=name)
    assert kept[True] < 0.7 * kept[False]


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
