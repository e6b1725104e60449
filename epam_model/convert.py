"""Names of published checkpoints to ours, and back: an explicit table, nothing guessed.

Our names say what a layer does (`expand`, `depthwise`, `project`), the published ones number them (`conv1`,
`conv2`, `conv3`). Shapes and values are the same. The table lists every name of the published EPAM-Net, for
both kinds of attention, so a name that it lacks is an error and never passes silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Value = TypeVar("Value")

_RGB_BLOCKS = (3, 5, 11, 7)
_POSE_BLOCKS = (5, 11, 7)

_BLOCK_LAYERS = {"downsample": "shortcut", "conv1": "expand", "conv2": "depthwise", "conv3": "project"}
_SQUEEZE_LAYERS = {"se_module.fc1": "squeeze_excite.squeeze", "se_module.fc2": "squeeze_excite.excite"}
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _conv_norm(published: str, ours: str) -> dict[str, str]:
    """The names of a convolution without bias and its batch norm."""
    norm = {f"{published}.bn.{tensor}": f"{ours}.norm.{tensor}" for tensor in _NORM_TENSORS}
    return {f"{published}.conv.weight": f"{ours}.conv.weight"} | norm


def _weight_bias(published: str, ours: str) -> dict[str, str]:
    return {f"{published}.{tensor}": f"{ours}.{tensor}" for tensor in ("weight", "bias")}


def _stream_names(num_blocks: Sequence[int]) -> dict[str, str]:
    """The names of one stream, published to ours."""
    names = _conv_norm("conv1_s", "stem") | _conv_norm("conv5", "last")
    for stage, depth in enumerate(num_blocks):
        for block in range(depth):
            published, ours = f"layer{stage + 1}.{block}", f"stages.{stage}.{block}"
            for theirs, mine in _BLOCK_LAYERS.items():
                if theirs != "downsample" or block == 0:
                    names |= _conv_norm(f"{published}.{theirs}", f"{ours}.{mine}")
            if block % 2 == 0:
                for theirs, mine in _SQUEEZE_LAYERS.items():
                    names |= _weight_bias(f"{published}.{theirs}", f"{ours}.{mine}")
    return names


def _prefixed(names: Mapping[str, str], published: str, ours: str) -> dict[str, str]:
    return {f"{published}.{theirs}": f"{ours}.{mine}" for theirs, mine in names.items()}


_ATTENTION_NAMES = {
    # CBAM_spatial_efficient_temporal
    **_conv_norm("spatial", "spatial"),
    "conv_temporal_attention.weight": "temporal.weight",
    # spatial_temporal (the spelling is the published one)
    **_weight_bias("conv_ch_compress", "compress"),
    **_weight_bias("conv_sptial_attention", "spatial"),
    "fc1.weight": "squeeze.weight",
    "fc2.weight": "excite.weight",
}
_STREAM_NAMES = {"rgb": _stream_names(_RGB_BLOCKS), "pose": _stream_names(_POSE_BLOCKS)}
_EPAM_NAMES = {
    **_prefixed(_STREAM_NAMES["rgb"], "rgb_backbone", "backbone.rgb_backbone"),
    **_prefixed(_STREAM_NAMES["pose"], "pose_backbone", "backbone.pose_backbone"),
    **_prefixed(_ATTENTION_NAMES, "attention_module", "backbone.attention"),
    **_weight_bias("rgb_cls_head.fc_cls", "head.rgb_fc"),
    **_weight_bias("pose_cls_head.fc_cls", "head.pose_fc"),
}


def epam_from_published(state_dict: Mapping[str, Value]) -> dict[str, Value]:
    """Renames a published EPAM-Net state dict to the names of `build_epam`'s recogniser.

    Args:
        state_dict: published names (`rgb_backbone.`, `pose_backbone.`, `attention_module.`, `rgb_cls_head.`,
            `pose_cls_head.`) to tensors. Parts may be absent: a strict load then reports them.

    Returns:
        Our names (`backbone.`, `head.`) to the same tensors, in the same order.

    Raises:
        ValueError: if a name is not one of the published network's; the message lists all such names.
    """
    return _rename(state_dict, _EPAM_NAMES, "the published EPAM-Net")


def epam_to_published(state_dict: Mapping[str, Value]) -> dict[str, Value]:
    """Renames a state dict of `build_epam`'s recogniser to the published names; undoes the other direction.

    Raises:
        ValueError: if a name is not one of the recogniser's; the message lists all such names.
    """
    return _rename(state_dict, _inverse(_EPAM_NAMES), "our EPAM-Net")


def stream_from_published(state_dict: Mapping[str, Value], stream: str) -> dict[str, Value]:
    """Renames the state dict of one published stream to the names of `XShiftNet`.

    Args:
        state_dict: published names (`conv1_s.conv.weight`, ...) to tensors, without any prefix.
        stream: "rgb" or "pose".

    Raises:
        ValueError: for another stream, or if a name is not one of the published stream's.
    """
    if stream not in _STREAM_NAMES:
        raise ValueError(f"stream must be one of {list(_STREAM_NAMES)}, got {stream!r}")
    return _rename(state_dict, _STREAM_NAMES[stream], f"the published {stream} stream")


def _rename(state_dict: Mapping[str, Value], names: Mapping[str, str], source: str) -> dict[str, Value]:
    unknown = [name for name in state_dict if name not in names]
    if unknown:
        raise ValueError(f"state dict has {len(unknown)} names that {source} lacks: {unknown}")
    return {names[name]: value for name, value in state_dict.items()}


def _inverse(names: Mapping[str, str]) -> dict[str, str]:
    inverse = {ours: published for published, ours in names.items()}
    assert len(inverse) == len(names), "two published names share one of ours"
    return inverse
