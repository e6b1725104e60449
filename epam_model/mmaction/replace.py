"""Optional: `custom_imports = dict(imports=["epam_model.mmaction.replace"])` registers our head as `RGBPoseHead`.

For configs that have `type="RGBPoseHead"` with `num_coarse_classes`. MMAction2's own head has that name in the
registry; this replaces it for every config in the process.
"""

from mmaction.models import heads  # noqa: F401  # first registers MMAction2's own head
from mmaction.registry import MODELS

from epam_model.mmaction.heads import PCANRGBPoseHead

MODELS.register_module(name="RGBPoseHead", module=PCANRGBPoseHead, force=True)
