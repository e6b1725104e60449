"""Opt-in: `custom_imports = dict(imports=["epam_model.mmaction.replace"])` makes `RGBPoseHead` mean our head.

For configs that say `type="RGBPoseHead"` with `num_coarse_classes`. MMAction2's own head is registered under that name
already, so this replaces it, for every config of the process.
"""

from mmaction.models import heads  # noqa: F401  # registers its own first
from mmaction.registry import MODELS

from epam_model.mmaction.heads import PCANRGBPoseHead

MODELS.register_module(name="RGBPoseHead", module=PCANRGBPoseHead, force=True)
