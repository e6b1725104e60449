"""Published names of weights -> ours: explicit tables, nothing is guessed.

Our names say what a layer does (`expand`, `depthwise`, `project`), the published ones number them (`conv1`, `conv2`,
`conv3`). Each table lists every name of its network, so an unknown name is always reported. This module has the parts
that `epam_names` and `rgbpose_names` share. The names are those of checkpoints and code of EPAM-Net, PCAN and
MMAction2 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Names = dict[str, str]
"""Published name -> ours."""

_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def prefixed(names: Mapping[str, str], published: str, ours: str) -> Names:
    """The table with a prefix before the published names and one before ours (each ends with a dot, or is empty)."""
    return {f"{published}{theirs}": f"{ours}{mine}" for theirs, mine in names.items()}


def inverse(names: Mapping[str, str]) -> Names:
    """Our name -> published name."""
    inverted = {ours: published for published, ours in names.items()}
    assert len(inverted) == len(names), "two published names map to one of ours"
    return inverted


def weight_bias(published: str, ours: str) -> Names:
    """A layer with a bias."""
    return {f"{published}.{tensor}": f"{ours}.{tensor}" for tensor in ("weight", "bias")}


def norm(published: str, ours: str) -> Names:
    """A batch norm."""
    return {f"{published}.{tensor}": f"{ours}.{tensor}" for tensor in _NORM_TENSORS}


def conv_norm(published: str, ours: str) -> Names:
    """A convolution without bias and its batch norm, as MMAction2 names them."""
    return {f"{published}.conv.weight": f"{ours}.conv.weight"} | norm(f"{published}.bn", f"{ours}.norm")


def residual_stages(num_blocks: Sequence[int], layers: Mapping[str, str]) -> Names:
    """Stages of residual blocks with these layers (published -> ours); only first blocks have `downsample`."""
    names: Names = {}
    for stage, depth in enumerate(num_blocks):
        for block in range(depth):
            for theirs, mine in layers.items():
                if theirs != "downsample" or block == 0:
                    names |= conv_norm(f"layer{stage + 1}.{block}.{theirs}", f"stages.{stage}.{block}.{mine}")
    return names


def _pcan_stream_head(stream: str) -> Names:
    names = weight_bias(f"fc_{stream}", "fc") | weight_bias(f"fc_{stream}_coarse", "fc_coarse")
    for theirs, bank in ((f"fr_{stream}", "fine_bank"), (f"fr_coarse_{stream}", "coarse_bank")):
        net = f"{theirs}.spatio_cl_net"
        names |= weight_bias(f"{net}.cl_fc", f"{bank}.embed")
        names[f"{net}.avg_f"] = f"{bank}.prototypes"
    return names


LINEAR_HEAD = weight_bias("fc_rgb", "rgb.fc") | weight_bias("fc_pose", "pose.fc")
"""`RGBPoseHead` of MMAction2: one classifier per stream."""
PCAN_HEAD = prefixed(_pcan_stream_head("rgb"), "", "rgb.") | prefixed(_pcan_stream_head("pose"), "", "pose.")
"""`RGBPoseHead` of PCAN. Published checkpoints lack the coarse prototypes (`fr_coarse_*.spatio_cl_net.avg_f`)."""


@dataclass(frozen=True, kw_only=True)
class PublishedNames:
    """Published names of the weights of one network."""

    network: str
    """Its name in recipes."""
    streams: Mapping[str, Names]
    """Each stream by itself, without prefix."""
    backbone: Names
    """Both streams and the layers that join them, without prefix."""
    releases: Mapping[str, Names] = field(default_factory=dict)
    """Complete networks with plain heads, as their authors save them: name of the format -> names."""
    starts: Mapping[str, Mapping[str, Names]] = field(default_factory=dict)
    """Stream -> other networks that can initialise it -> their names."""

    @property
    def mmaction2(self) -> Names:
        """The recogniser as MMAction2 saves it, with PCAN's head or the plain one."""
        return prefixed(self.backbone, "backbone.", "backbone.") | prefixed(PCAN_HEAD, "cls_head.", "head.")

    @property
    def either_stream(self) -> Names:
        """The names of all streams in one table: they number blocks alike, but have other numbers of them."""
        return {theirs: ours for names in self.streams.values() for theirs, ours in names.items()}

    def alone(self, stream: str, *, pcan_head: bool = False) -> Names:
        """A single stream with MMAction2's plain head (`I3DHead`), or with this stream's half of PCAN's head."""
        if pcan_head:
            head = prefixed(_pcan_stream_head(stream), "cls_head.", "head.")
        else:
            head = weight_bias("cls_head.fc_cls", "head.fc")
        return prefixed(self.streams[stream], "backbone.", "backbone.") | head

    def recogniser(self, stream: str = "both") -> Names:
        """All names by which the weights of a recogniser of both streams, or of one, are known."""
        if stream != "both":
            return self.alone(stream) | self.alone(stream, pcan_head=True)
        return prefixed(self.backbone, "", "backbone.") | self.mmaction2 | self.heads

    @property
    def heads(self) -> Names:
        """All names by which heads of both streams are known: MMAction2's and PCAN's, and the authors' plain ones."""
        plain = [weight_bias(f"{stream}_cls_head.fc_cls", f"head.{stream}.fc") for stream in self.streams]
        return {**prefixed(PCAN_HEAD, "cls_head.", "head."), **plain[0], **plain[1]}

    def heads_alone(self, stream: str) -> Names:
        """All names by which the head of one stream is known, several for a tensor; ours are without prefix.

        Those of MMAction2's plain head, of this stream's half of PCAN's head, of the authors' plain heads.
        """
        plain = [weight_bias(f"{head}.fc_cls", "fc") for head in ("cls_head", f"{stream}_cls_head")]
        return plain[0] | plain[1] | prefixed(_pcan_stream_head(stream), "cls_head.", "")
