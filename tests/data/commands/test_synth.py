from pathlib import Path

from epam_data.cli import main


def test_synth(tmp_path: Path, capsys):
    argv = ["synth", str(tmp_path), "--synth.train_clips", "6", "--synth.val_clips", "6", "--workers", "0"]
    assert main([*argv, "--synth.height_px", "64", "--synth.width_px", "64"]) == 0
    assert len(list((tmp_path / "videos").iterdir())) == 12
    assert str(tmp_path / "synthetic.pkl") in capsys.readouterr().out
