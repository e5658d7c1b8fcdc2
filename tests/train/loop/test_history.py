"""The plot of a training."""

import io

from PIL import Image

from wmh_train.loop.history import plot_history


def test_sites_with_special_characters_are_drawn(tmp_path):
    sites = {r"$\x$": 0.2, "_": 0.4, "🧠": 0.6}
    row = {
        "epoch": 1,
        "losses": {"total": 1.0, "dice": 0.0},
        "validation": {"mean": 0.4, "by_site": sites},
    }
    plot_history([row], tmp_path / "curves.png")
    assert Image.open(io.BytesIO((tmp_path / "curves.png").read_bytes())).width > 900
