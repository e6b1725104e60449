"""The opt-in alias, in a process of its own: it changes the registry."""

import subprocess
import sys

from tests.mmaction.small import PIPELINES

CODE = """
from mmengine.config import Config
from mmengine.registry import DefaultScope
config = Config.fromstring('custom_imports = dict(imports=["{module}"])', ".py")
from mmaction.registry import MODELS
DefaultScope.get_instance("test", scope_name="mmaction")
import mmaction.models
head = dict(type="RGBPoseHead", num_classes=60, in_channels=[432, 216])
print(type(MODELS.build(head)).__name__)
"""


def head_class(module: str) -> str:
    code = CODE.format(module=module)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()[-1]


def test_the_doctor_looks_with_the_alias(workplace):
    base = PIPELINES / "pcan_ntu60_x3d_shards.py"
    (workplace / "config.py").write_text(
        f"_base_ = [{str(base)!r}]\n"
        'custom_imports = dict(_delete_=True, imports=["epam_model.mmaction.replace"])\n'
        'model = dict(cls_head=dict(type="RGBPoseHead"))\n'
    )
    words = [sys.executable, "-m", "epam_model.cli", "doctor", "--mmaction", "--config", "config.py"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert "[x] plug-in      custom_imports: epam_model.mmaction.replace" in done.stdout, done.stderr
    assert "[x] forward      features (1, 432, 16, 7, 7)" in done.stdout


def test_only_the_alias_replaces_their_head():
    assert head_class("epam_model.mmaction") == "RGBPoseHead"
    assert head_class("epam_model.mmaction.replace") == "PCANRGBPoseHead"
