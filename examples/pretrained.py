"""Pretrained weights: load a checkpoint with published names into one stream, then into a complete network."""

from pathlib import Path

import torch

from epam_model import EPAMBackbone, build_epam
from epam_model.build import build_model
from epam_model.networks.settings import ModelSettings
from epam_model.weights.convert import to_published
from epam_model.weights.epam_names import EPAM

# In place of a file that you downloaded: a network for 60 classes, saved under the published names.
theirs = build_epam(num_classes=60)
Path("examples_out").mkdir(exist_ok=True)
published = to_published(theirs.state_dict(), EPAM, "both")
torch.save({"state_dict": published}, "examples_out/published.pth")
rgb_only = {name: weight for name, weight in published.items() if name.startswith("rgb_backbone.")}
torch.save({"state_dict": rgb_only}, "examples_out/published_rgb.pth")

# One stream of a backbone. Loading is strict: the error lists all missing or unknown names.
backbone = EPAMBackbone(rgb_pretrained="examples_out/published_rgb.pth")

# A network for six classes, as with `model.init_from` in a recipe. A head for other classes is not loaded.
settings = ModelSettings(init_from=["examples_out/published.pth"])
model = build_model(settings, num_classes=6, num_joints=17, tell=print)

for name, network in (("backbone", backbone), ("recogniser", model.get_submodule("backbone"))):
    stem = network.get_parameter("rgb_backbone.stem.conv.weight")
    print(
        f"{name} has their weights:", torch.equal(stem, theirs.backbone.get_parameter("rgb_backbone.stem.conv.weight"))
    )
