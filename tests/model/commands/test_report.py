import os
from pathlib import Path

import pytest

from epam_model.cli import main
from epam_model.commands.report import best_checkpoint
from tests.model.commands.untrained import save_untrained

pytestmark = pytest.mark.usefixtures("one_thread")


def test_report_tests_the_best_checkpoint_again(shards: Path, tmp_path: Path, capsys):
    assert main(["report", str(tmp_path), "--shards", str(shards)]) == 2
    assert "no best checkpoint (best*.pt) in this folder" in capsys.readouterr().err
    save_untrained(tmp_path / "best_top1_fused_epoch_1.pt", shards)
    save_untrained(tmp_path / "best_top1_fused_epoch_3.pt", shards)
    for older, newer in ((3, 1), (1, 3)):
        os.utime(tmp_path / f"best_top1_fused_epoch_{older}.pt", (0, 0))
        os.utime(tmp_path / f"best_top1_fused_epoch_{newer}.pt", (1, 1))
        assert best_checkpoint(tmp_path).name == f"best_top1_fused_epoch_{newer}.pt"
    (tmp_path / "best.pt").symlink_to("best_top1_fused_epoch_3.pt")
    assert main(["report", str(tmp_path), "--shards", str(shards), "--device", "cpu"]) == 0
    assert "best_top1_fused_epoch_3.pt, after epoch 1" in (tmp_path / "report.html").read_text()
    assert main(["report", str(tmp_path), "--shards", str(shards), "--split", "test"]) == 2
    assert "every label of test is hidden" in capsys.readouterr().err
